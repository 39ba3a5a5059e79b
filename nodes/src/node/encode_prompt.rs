//! `EncodePrompt`: turns words into what a denoiser is told.

use flow_engine::{Check, Cx, Estimate, In, Node, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditioning::{Conditioning, Request, Sizes, check_clip_skip, check_prompts, prompts};
use crate::estimate;
use crate::model::Model;

/// Encode a prompt once, for several samplers.
///
/// Both text encoders read it. What is longer than they read at once, 75 tokens in SDXL, is read in
/// chunks.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncodePrompt {
    /// Model whose text encoders read the prompt.
    pub model: In<Model>,
    /// What to show. May be empty.
    ///
    /// Brackets weigh words: `(word:1.2)` counts 1.2 times, `(word)` 1.1 times, `[word]` 1 / 1.1
    /// times, and nested brackets multiply. A weight moves a word's features away from those of the
    /// empty text, as in ComfyUI. For a bracket that is meant as one, or a colon before a closing
    /// bracket, write a backslash before it: `r"a bear \(plush\)"`. A bracket without its other half
    /// is an error. A text without brackets is taken as it is.
    pub prompt: String,
    /// What not to show, written like `prompt`. Without one, the model's own default: zeros for
    /// SDXL. The empty text is not the same as none.
    #[serde(default)]
    pub negative_prompt: Option<String>,
    /// Cut off what is longer than the text encoders read at once, as diffusers does, and warn of it.
    #[serde(default)]
    pub truncate: bool,
    /// Blocks of each text encoder to skip, counted as diffusers counts: the features are
    /// `hidden_states[-(clip_skip + 2)]`. 0 is SDXL's own, which other programs call "clip skip 2".
    #[serde(default)]
    pub clip_skip: usize,
    /// Size of the photo before it was scaled, `(height, width)` in pixels, as the model is told it.
    /// One smaller than the picture gives the look of an enlarged picture. The picture's size, if not
    /// set.
    #[serde(default)]
    #[schemars(inner(range(min = 1, max = 65536)))]
    pub original_size: Option<[usize; 2]>,
    /// Pixels cut off, `(above, left)`, as the model is told it.
    #[serde(default)]
    #[schemars(inner(range(min = 0, max = 65536)))]
    pub crop: [usize; 2],
    /// Size after scaling and cutting, `(height, width)` in pixels, as the model is told it. The
    /// picture's size, if not set.
    #[serde(default)]
    #[schemars(inner(range(min = 1, max = 65536)))]
    pub target_size: Option<[usize; 2]>,
}

impl Node for EncodePrompt {
    const KIND: &'static str = "EncodePrompt";
    const HOLDS_DEVICE: bool = true;
    type Output = Conditioning;

    fn check(&self, cx: &mut Check<'_>) {
        check_prompts(Some(&self.prompt), self.negative_prompt.as_deref(), cx);
        if let Some(model) = cx.input(&self.model) {
            check_clip_skip(self.clip_skip, &model, cx);
        }
    }

    fn estimate(&self, cx: &Check<'_>) -> Option<Estimate> {
        let model = cx.input(&self.model)?;
        Some(estimate::prompts(&model, prompts(self.negative_prompt.as_deref(), &model), cx.settings()))
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Conditioning> {
        let request = Request {
            prompt: &self.prompt,
            negative_prompt: self.negative_prompt.as_deref(),
            truncate: self.truncate,
            clip_skip: self.clip_skip,
            sizes: Sizes { original: self.original_size, crop: self.crop, target: self.target_size },
        };
        request.encode(&*cx.input(&self.model)?, cx)
    }
}
