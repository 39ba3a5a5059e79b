//! Settings of the text encoders and their tokenizers.

use serde::Deserialize;

use super::{MOST_LAYERS, norm_eps};

/// `text_encoder/config.json` and `text_encoder_2/config.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct TextConfig {
    /// Tokens in the table.
    pub vocab_size: usize,
    /// Features of a token.
    pub hidden_size: usize,
    /// Features inside a block's MLP.
    pub intermediate_size: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// Heads of every attention.
    pub num_attention_heads: usize,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Features of the pooled text, in the second encoder.
    #[serde(default)]
    pub projection_dim: usize,
    /// Epsilon of the layer norms.
    #[serde(default = "norm_eps")]
    pub layer_norm_eps: f64,
    /// The MLP's activation.
    #[serde(default = "quick_gelu")]
    pub hidden_act: TextActivation,
    /// The token that ends a text; 2 is the mark of old files, see [`pooled_position`](crate::sdxl::text_encoder::pooled_position).
    #[serde(default = "legacy_eos")]
    pub eos_token_id: u32,
}

/// The activation of a text encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextActivation {
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    /// The exact one.
    Gelu,
}

impl TextConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let (heads, width) = (self.num_attention_heads, self.hidden_size);
        if heads == 0 || width % heads != 0 {
            wrong.push(format!("{heads} heads do not divide {width} features"));
        }
        if self.num_hidden_layers > MOST_LAYERS {
            wrong.push(format!(
                "`num_hidden_layers` is {}, expected at most {MOST_LAYERS}",
                self.num_hidden_layers
            ));
        }
        if self.num_hidden_layers == 0 {
            wrong.push("`num_hidden_layers` is 0: there is no penultimate layer".into());
        }
        wrong
    }
}

/// `tokenizer/tokenizer_config.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct TokenizerConfig {
    /// Every text is made this long, in tokens.
    pub model_max_length: usize,
    /// Starts a text.
    #[serde(default)]
    pub bos_token: Option<SpecialToken>,
    /// Ends a text.
    #[serde(default)]
    pub eos_token: Option<SpecialToken>,
    /// Fills up a text.
    #[serde(default)]
    pub pad_token: Option<SpecialToken>,
}

/// `tokenizer/special_tokens_map.json`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SpecialTokens {
    /// Starts a text.
    #[serde(default)]
    pub bos_token: Option<SpecialToken>,
    /// Ends a text.
    #[serde(default)]
    pub eos_token: Option<SpecialToken>,
    /// Fills up a text.
    #[serde(default)]
    pub pad_token: Option<SpecialToken>,
}

/// A token, bare or with the ways it is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum SpecialToken {
    /// Its text.
    Text(String),
    /// Its text in a table.
    Table {
        /// Its text.
        content: String,
    },
}

impl SpecialToken {
    /// The token's text.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Table { content: text } => text,
        }
    }
}

fn quick_gelu() -> TextActivation {
    TextActivation::QuickGelu
}
/// What transformers assumes where the file is silent.
fn legacy_eos() -> u32 {
    49407
}
