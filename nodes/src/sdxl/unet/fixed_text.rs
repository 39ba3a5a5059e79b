//! A text that stays the same from step to step.
//!
//! What the denoiser's attention makes of a text, its keys and values, does not depend on the latents: it is computed in
//! the first pass and kept for the others. At SDXL's size that is 340 million of 2.6 billion weights which later passes
//! need not read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;
use flow_engine::Result;

use crate::sdxl::TextEmbeds;

/// A text for several passes through one denoiser, without gradients.
#[derive(Debug)]
pub struct FixedText {
    embeds: TextEmbeds,
    /// Keys and values by the name of the attention.
    kept: Mutex<HashMap<String, KeysValues>>,
}

/// Keys and values of a text in one attention, `[b, tokens, d]` each.
pub(super) type KeysValues = (Tensor, Tensor);

impl FixedText {
    /// A text that no pass has seen.
    pub fn new(embeds: TextEmbeds) -> Self {
        Self { embeds, kept: Mutex::default() }
    }

    /// The text.
    pub fn embeds(&self) -> &TextEmbeds {
        &self.embeds
    }

    /// What the attention `name` kept of it, or what `make` gives, which is then kept.
    pub(super) fn keys_values(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<KeysValues>,
    ) -> Result<KeysValues> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept().get(name) {
            return Ok(found.clone());
        }
        let made = make()?;
        kept().insert(name.to_owned(), made.clone());
        Ok(made)
    }
}
