//! Textual inversion (arXiv 2208.01618): a new word is learned, and no weight changes.
//!
//! Its vectors stand behind the tables of both text encoders, which run in every step; the gradient goes through the
//! denoiser's attention to the text, through the encoders, to the vectors.

use std::collections::BTreeMap;

use anyhow::Context as _;
use candle_core::{DType, Device, Tensor, Var};
use flow_engine::{Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chance::{Chance, Purpose};
use super::layer::parameter;
use super::method::{Method, Writing};
use crate::adapter::layers::Layers;
use crate::adapter::textual_inversion as word;
use crate::adapter::write::{FileDtype, Metadata};
use crate::adapter::{Single, read};
use crate::conditioning::encode;
use crate::model::{Model, TextPart};
use crate::sdxl::write::bytes;
use crate::sdxl::{Compute, TextEmbeds, TextEncoders};

/// Learn a word for prompts (arXiv 2208.01618).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextualInversion {
    /// The word, which prompts must not know yet: `"<bear>"` say.
    pub token: String,
    /// How many vectors it has in each text encoder.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 75))]
    pub vectors: usize,
    /// A word that says about what it is, such as `"toy"`: its vectors start there. Anywhere, if not set.
    #[serde(default)]
    pub start: Option<String>,
}

fn one() -> usize {
    1
}

impl Method for TextualInversion {
    fn name(&self) -> &'static str {
        "textual inversion"
    }

    fn rate(&self) -> f64 {
        // diffusers' script for SDXL.
        5e-3
    }

    fn layers(&self) -> Option<&Layers> {
        None
    }

    fn words(&self) -> Option<&TextualInversion> {
        Some(self)
    }

    fn writing(&self) -> Writing {
        Writing { architecture: "textual-inversion", kohya_names: false, says: Vec::new() }
    }
}

/// A word in training, with what reads it.
#[derive(Debug)]
pub struct Words {
    token: String,
    text: TextPart,
    /// `[n, d1]` and `[n, d2]`, in float32.
    vectors: [Var; 2],
}

/// What the vectors of both encoders are called.
pub const NAMES: [&str; 2] = ["clip_l", "clip_g"];

impl Words {
    /// A word of a model before training.
    ///
    /// # Errors
    /// A token that prompts know already, a start that the tokenizers read as nothing.
    pub fn new(settings: &TextualInversion, model: &Model, seed: u64, compute: &Compute) -> Result<Self> {
        let mut text = model.build_text(compute)?;
        let sizes = [text.tokenizers.first.size(), text.tokenizers.second.size()];
        let starts = [
            start(settings, seed, 0, &text.tokenizers.first, &text.encoders.first)?,
            start(settings, seed, 1, &text.tokenizers.second, &text.encoders.second)?,
        ];
        // Refuses what no prompt can say.
        word::TextualInversion::new(&settings.token, &starts[0], &starts[1])?;
        text.tokenizers = text.tokenizers.with_words(&[(settings.token.as_str(), settings.vectors)])?;
        let [first, second] = [0, 1].map(|at: usize| parameter(&starts[at], &compute.device));
        Ok(Self::with(&settings.token, text, sizes, [first?, second?]))
    }

    /// A word with these vectors, for encoders whose tables end where `sizes` say; the tokenizers know it already.
    pub fn with(token: &str, text: TextPart, sizes: [usize; 2], vectors: [Var; 2]) -> Self {
        let TextPart { tokenizers, mut encoders } = text;
        encoders.first = encoders.first.learning(sizes[0], &vectors[0]);
        encoders.second = encoders.second.learning(sizes[1], &vectors[1]);
        Self { token: token.to_owned(), text: TextPart { tokenizers, encoders }, vectors }
    }

    /// What prompts mean now, each of batch 1 and all of one length.
    ///
    /// # Errors
    /// A prompt whose brackets do not close.
    pub fn encode(&self, prompts: &[String]) -> Result<Vec<TextEmbeds>> {
        encode::together(&self.text, prompts)
    }

    /// The encoders that read it.
    pub fn encoders(&self) -> &TextEncoders {
        &self.text.encoders
    }

    /// Its parameters by name.
    pub fn parameters(&self) -> impl Iterator<Item = (String, Var)> {
        NAMES.into_iter().zip(&self.vectors).map(|(name, vectors)| (name.to_owned(), vectors.clone()))
    }

    /// Whether a prompt says the word.
    pub fn is_said_in(&self, prompt: &str) -> bool {
        prompt.contains(&self.token)
    }

    /// The word.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The file of the word with these vectors.
    ///
    /// # Errors
    /// Vectors that are no numbers, or that the file's type does not hold.
    pub fn file(
        &self,
        name: &str,
        values: &BTreeMap<String, Tensor>,
        dtype: FileDtype,
        says: Metadata,
    ) -> Result<Single> {
        let rounded = |name: &str| {
            let vectors = values.get(name).with_context(|| format!("there is no value of `{name}`"))?;
            Ok::<_, anyhow::Error>(vectors.to_device(&Device::Cpu)?.to_dtype(dtype.dtype())?)
        };
        let [first, second] = NAMES.map(rounded);
        let (first, second) = (first?, second?);
        let word = word::TextualInversion::new(&self.token, &first, &second)?;
        let tensors = NAMES.map(str::to_owned).into_iter().zip([first, second]).collect();
        let mut metadata = says;
        metadata.extend(word.metadata());
        metadata.insert("modelspec.title".into(), name.to_owned());
        metadata.insert("modelspec.implementation".into(), "flow".into());
        read::word_of_bytes(name, bytes(&tensors, &metadata)?, word)
    }
}

/// The first vectors `[n, d]` of a word in one encoder.
fn start(
    settings: &TextualInversion,
    seed: u64,
    which: u64,
    tokenizer: &crate::sdxl::Tokenizer,
    encoder: &crate::sdxl::TextEncoder,
) -> Result<Tensor> {
    let n = settings.vectors;
    let Some(like) = &settings.start else {
        // As long as the vectors that there are.
        let deviation = encoder.table_deviation()?;
        let mut chance = Chance::new(seed, Purpose::Start, &[which]);
        return Ok((chance.normal(&[n, encoder.width()])? * deviation)?);
    };
    let ids: Vec<u32> = tokenizer.words(like)?.iter().map(|word| word.id).collect();
    let Some(last) = ids.last() else {
        return Err(Problem::new(format!("`start` is {like:?}, which no token stands for")).into());
    };
    // A word of fewer tokens is repeated to its end.
    let ids: Vec<u32> = (0..n).map(|at| *ids.get(at).unwrap_or(last)).collect();
    Ok(encoder.vectors_of(&ids)?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
}
