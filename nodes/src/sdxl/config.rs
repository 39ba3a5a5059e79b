//! The settings in a diffusers folder, as its JSON files have them.
//!
//! Keys that Flow does not know are passed over (diffusers writes many that change nothing). A setting that changes
//! numbers in a way Flow does not follow is refused by name: a wrong picture is worse than none.

use std::path::Path;

use flow_engine::{Problem, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One value for every block, or one per block.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum PerBlock<T> {
    /// The same everywhere.
    All(T),
    /// In the order of the blocks, from the outside in.
    Each(Vec<T>),
}

impl<T: Clone> PerBlock<T> {
    /// The value of block `i`; a list that is too short gives its last.
    pub fn at(&self, i: usize) -> Option<T> {
        match self {
            Self::All(value) => Some(value.clone()),
            Self::Each(values) => values.get(i).or(values.last()).cloned(),
        }
    }

    fn fits(&self, blocks: usize) -> bool {
        match self {
            Self::All(_) => true,
            Self::Each(values) => values.len() == blocks,
        }
    }
}

/// `model_index.json`: what the folder is.
#[derive(Debug, Clone, Deserialize)]
pub struct ModelIndex {
    /// The pipeline's class.
    #[serde(rename = "_class_name")]
    pub class: String,
    /// Whether no negative prompt means zeros instead of the encoded empty text.
    #[serde(default = "yes")]
    pub force_zeros_for_empty_prompt: bool,
}

/// `unet/config.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct UNetConfig {
    /// Channels of the latents that go in.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Channels of each level, from the outside in.
    pub block_out_channels: Vec<usize>,
    /// Kinds of the levels on the way down.
    pub down_block_types: Vec<String>,
    /// Kinds of the levels on the way up.
    pub up_block_types: Vec<String>,
    /// Residual blocks per level on the way down; one more on the way up.
    pub layers_per_block: PerBlock<usize>,
    /// Transformer blocks per attention.
    #[serde(default = "one")]
    pub transformer_layers_per_block: PerBlock<usize>,
    /// The **number** of heads per level: the name is diffusers' own mistake, kept for its files.
    #[serde(default = "eight")]
    pub attention_head_dim: PerBlock<usize>,
    /// The number of heads per level, where a folder says it rightly.
    #[serde(default)]
    pub num_attention_heads: Option<PerBlock<usize>>,
    /// Features of the text that attention looks at.
    pub cross_attention_dim: PerBlock<usize>,
    /// Sinusoid features of each of the six time ids.
    pub addition_time_embed_dim: usize,
    /// Features of pooled text and time ids together.
    pub projection_class_embeddings_input_dim: usize,
    /// Groups of every group norm.
    #[serde(default = "thirty_two")]
    pub norm_num_groups: usize,
    /// Epsilon of the residual blocks' norms.
    #[serde(default = "norm_eps")]
    pub norm_eps: f64,
    /// Whether the cosines come first.
    #[serde(default = "yes")]
    pub flip_sin_to_cos: bool,
    /// Shift of the sinusoids' exponent.
    #[serde(default)]
    pub freq_shift: f64,
    /// Width and height of the latents it was made for.
    #[serde(default)]
    pub sample_size: Option<usize>,
    /// What every setting below must say is in [`UNetConfig::check`].
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl UNetConfig {
    /// Features of the timestep embedding.
    pub fn time_embed_dim(&self) -> usize {
        4 * self.block_out_channels.first().copied().unwrap_or_default()
    }

    /// Heads of level `i`.
    pub fn heads(&self, i: usize) -> usize {
        self.num_attention_heads.as_ref().unwrap_or(&self.attention_head_dim).at(i).unwrap_or(1)
    }

    /// Every setting that Flow cannot follow, in words.
    fn check(&self) -> Vec<String> {
        let mut wrong = refused(
            &self.rest,
            &[
                ("act_fn", &["silu", "swish"]),
                ("addition_embed_type", &["text_time"]),
                ("attention_type", &["default"]),
                ("mid_block_type", &["UNetMidBlock2DCrossAttn"]),
                ("resnet_time_scale_shift", &["default"]),
                ("time_embedding_type", &["positional"]),
                ("use_linear_projection", &["true"]),
                ("downsample_padding", &["1"]),
                ("conv_in_kernel", &["3"]),
                ("conv_out_kernel", &["3"]),
                ("mid_block_scale_factor", &["1", "1.0"]),
                ("resnet_out_scale_factor", &["1", "1.0"]),
                ("center_input_sample", &["false"]),
                ("class_embed_type", &[]),
                ("class_embeddings_concat", &["false"]),
                ("cross_attention_norm", &[]),
                ("dual_cross_attention", &["false"]),
                ("encoder_hid_dim", &[]),
                ("encoder_hid_dim_type", &[]),
                ("mid_block_only_cross_attention", &["false"]),
                ("num_class_embeds", &[]),
                ("only_cross_attention", &["false"]),
                ("resnet_skip_time_act", &["false"]),
                ("reverse_transformer_layers_per_block", &[]),
                ("time_cond_proj_dim", &[]),
                ("time_embedding_act_fn", &[]),
                ("time_embedding_dim", &[]),
                ("timestep_post_act", &[]),
            ],
        );
        for must in ["addition_embed_type", "use_linear_projection"] {
            if !self.rest.contains_key(must) {
                wrong.push(format!("`{must}` is not set: this is not an SDXL denoiser"));
            }
        }
        wrong.extend(self.check_levels());
        wrong
    }

    fn check_levels(&self) -> Vec<String> {
        let levels = self.block_out_channels.len();
        let mut wrong = Vec::new();
        let lists = [
            ("down_block_types", self.down_block_types.len() == levels),
            ("up_block_types", self.up_block_types.len() == levels),
            ("layers_per_block", self.layers_per_block.fits(levels)),
            ("transformer_layers_per_block", self.transformer_layers_per_block.fits(levels)),
            ("attention_head_dim", self.attention_head_dim.fits(levels)),
            ("cross_attention_dim", self.cross_attention_dim.fits(levels)),
        ];
        wrong.extend(lists.iter().filter(|(_, fits)| !fits).map(|(key, _)| {
            format!("`{key}` does not have one entry for each of the {levels} `block_out_channels`")
        }));
        if levels == 0 {
            wrong.push("`block_out_channels` is empty".into());
        }
        let kinds = ["DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"];
        let unknown =
            self.down_block_types.iter().chain(&self.up_block_types).filter(|k| !kinds.contains(&k.as_str()));
        wrong.extend(unknown.map(|kind| format!("blocks of the kind `{kind}` are not supported")));
        for (i, &channels) in self.block_out_channels.iter().enumerate() {
            let (groups, heads) = (self.norm_num_groups, self.heads(i));
            if groups == 0 || channels % groups != 0 {
                wrong.push(format!("`norm_num_groups` {groups} does not divide {channels} channels"));
            }
            if heads == 0 || channels % heads != 0 {
                wrong.push(format!("{heads} heads do not divide {channels} channels"));
            }
        }
        wrong
    }
}

/// `vae/config.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct VaeConfig {
    /// Channels of the pictures.
    pub in_channels: usize,
    /// Channels of the decoded pictures.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of each level, from the picture inwards.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per level of the encoder; one more in the decoder.
    pub layers_per_block: usize,
    /// Groups of every group norm.
    #[serde(default = "thirty_two")]
    pub norm_num_groups: usize,
    /// Latents are the encoder's output times this.
    #[serde(default = "scaling_factor")]
    pub scaling_factor: f64,
    /// Taken from the encoder's output before scaling.
    #[serde(default)]
    pub shift_factor: Option<f64>,
    /// Whether the middle has an attention.
    #[serde(default = "yes")]
    pub mid_block_add_attention: bool,
    /// Whether a 1x1 convolution follows the encoder.
    #[serde(default = "yes")]
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    #[serde(default = "yes")]
    pub use_post_quant_conv: bool,
    #[serde(default)]
    down_block_types: Vec<String>,
    #[serde(default)]
    up_block_types: Vec<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl VaeConfig {
    /// Pixels per latent, on each axis.
    pub fn pixels_per_latent(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }

    fn check(&self) -> Vec<String> {
        let mut wrong =
            refused(&self.rest, &[("act_fn", &["silu"]), ("latents_mean", &[]), ("latents_std", &[])]);
        let kinds = ["DownEncoderBlock2D", "UpDecoderBlock2D"];
        let unknown =
            self.down_block_types.iter().chain(&self.up_block_types).filter(|k| !kinds.contains(&k.as_str()));
        wrong.extend(unknown.map(|kind| format!("blocks of the kind `{kind}` are not supported")));
        let groups = self.norm_num_groups;
        if self.block_out_channels.is_empty() {
            wrong.push("`block_out_channels` is empty".into());
        }
        for c in self.block_out_channels.iter().filter(|&&c| groups == 0 || c % groups != 0) {
            wrong.push(format!("`norm_num_groups` {groups} does not divide {c} channels"));
        }
        if !(self.scaling_factor.is_finite() && self.scaling_factor != 0.0) {
            wrong.push(format!("`scaling_factor` is {}", self.scaling_factor));
        }
        wrong
    }
}

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
    /// The token that ends a text; 2 is the mark of old files, see [`super::text_encoder::pooled_position`].
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
    fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let (heads, width) = (self.num_attention_heads, self.hidden_size);
        if heads == 0 || width % heads != 0 {
            wrong.push(format!("{heads} heads do not divide {width} features"));
        }
        if self.num_hidden_layers == 0 {
            wrong.push("`num_hidden_layers` is 0: there is no penultimate layer".into());
        }
        wrong
    }
}

/// `scheduler/scheduler_config.json`: the noise of training, and habits of sampling.
#[derive(Debug, Clone, Deserialize)]
pub struct SchedulerConfig {
    /// Timesteps of training.
    #[serde(default = "thousand")]
    pub num_train_timesteps: usize,
    /// First beta.
    #[serde(default = "beta_start")]
    pub beta_start: f64,
    /// Last beta.
    #[serde(default = "beta_end")]
    pub beta_end: f64,
    /// How the betas run between them.
    #[serde(default)]
    pub beta_schedule: BetaSchedule,
    /// The betas themselves, instead of the three above.
    #[serde(default)]
    pub trained_betas: Option<Vec<f32>>,
    /// What the network predicts.
    #[serde(default)]
    pub prediction_type: Prediction,
    /// Where the timesteps of sampling lie.
    #[serde(default)]
    pub timestep_spacing: Spacing,
    /// Added to the timesteps of [`Spacing::Leading`].
    #[serde(default)]
    pub steps_offset: usize,
    /// Whether the last step of DDIM lands on alpha 1 instead of the first timestep's.
    #[serde(default = "yes")]
    pub set_alpha_to_one: bool,
    /// Whether predicted pictures are clipped. Absent means no: only DDIM's own files carry it.
    #[serde(default)]
    pub clip_sample: bool,
    /// The bound of the clipping.
    #[serde(default = "unit")]
    pub clip_sample_range: f64,
    /// Whether the last timestep is made pure noise.
    #[serde(default)]
    pub rescale_betas_zero_snr: bool,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// How betas run from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly.
    #[default]
    Linear,
    /// Their square roots evenly: Stable Diffusion's.
    ScaledLinear,
    /// From a squared cosine of the signal (Nichol and Dhariwal 2021, arXiv 2102.09672).
    SquaredcosCapV2,
}

/// What the network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    #[default]
    Epsilon,
    /// `sqrt(alpha) noise - sqrt(1 - alpha) signal` (Salimans and Ho 2022, arXiv 2202.00512).
    VPrediction,
    /// The signal.
    Sample,
}

/// Where the timesteps of sampling lie among those of training (Lin et al. 2023, arXiv 2305.08891, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// From the first one on, at whole distances.
    #[default]
    Leading,
    /// From the last one back.
    Trailing,
    /// From the first to the last.
    Linspace,
}

impl SchedulerConfig {
    fn check(&self) -> Vec<String> {
        let mut wrong = refused(&self.rest, &[("thresholding", &["false"])]);
        if self.trained_betas.as_ref().map_or(self.num_train_timesteps, Vec::len) != self.num_train_timesteps
        {
            wrong.push(format!("`trained_betas` are not {} numbers", self.num_train_timesteps));
        }
        if self.num_train_timesteps < 2 {
            wrong.push(format!("`num_train_timesteps` is {}", self.num_train_timesteps));
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

/// A configuration that can say what Flow does not follow.
pub(crate) trait Config: DeserializeOwned {
    /// Every setting that is refused, in words.
    fn refusals(&self) -> Vec<String>;
}

macro_rules! checked {
    ($($config:ty),*) => {$(
        impl Config for $config {
            fn refusals(&self) -> Vec<String> {
                self.check()
            }
        }
    )*};
}
checked!(UNetConfig, VaeConfig, TextConfig, SchedulerConfig);

impl Config for ModelIndex {
    fn refusals(&self) -> Vec<String> {
        if self.class.starts_with("StableDiffusionXL") {
            return Vec::new();
        }
        vec![format!("it is a {}, not a StableDiffusionXLPipeline", self.class)]
    }
}

impl Config for TokenizerConfig {
    fn refusals(&self) -> Vec<String> {
        if (2..1 << 20).contains(&self.model_max_length) {
            return Vec::new();
        }
        vec![format!("`model_max_length` is {}", self.model_max_length)]
    }
}

/// Reads a JSON file of a folder.
///
/// # Errors
/// A file that is absent, is no JSON, lacks a key, or has settings that Flow does not follow.
pub(crate) fn read<T: Config>(file: &Path) -> Result<T> {
    let config: T = read_json(file)?;
    let refusals = config.refusals();
    if refusals.is_empty() {
        return Ok(config);
    }
    let message = format!("`{}` asks for what Flow cannot do:\n  {}", file.display(), refusals.join("\n  "));
    Err(Problem::new(message).hint("Flow runs models built like SDXL base 1.0, of any size").into())
}

/// Reads a JSON file of a folder, whatever is in it.
pub(crate) fn read_json<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = std::fs::read_to_string(file).map_err(|cause| {
        Problem::new(format!("cannot read `{}`: {cause}", file.display())).hint(
            "a model is a folder as diffusers saves it, with `model_index.json` and a folder for each part",
        )
    })?;
    serde_json::from_str(&text).map_err(|cause| {
        Problem::new(format!("`{}` is not the file it should be: {cause}", file.display())).into()
    })
}

/// What `settings` say that is not among the `allowed`; absent and null are always allowed.
fn refused(
    settings: &serde_json::Map<String, serde_json::Value>,
    allowed: &[(&str, &[&str])],
) -> Vec<String> {
    let told = allowed.iter().filter_map(|(key, values)| Some((key, settings.get(*key)?, values)));
    told.filter(|(_, found, values)| !found.is_null() && !values.contains(&plain(found).as_str()))
        .map(|(key, found, values)| match values {
            [] => format!("`{key}` is {found}; only null is supported"),
            [only, ..] => format!("`{key}` is {found}; only {only} is supported"),
        })
        .collect()
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn yes() -> bool {
    true
}
fn one() -> PerBlock<usize> {
    PerBlock::All(1)
}
fn eight() -> PerBlock<usize> {
    PerBlock::All(8)
}
fn thirty_two() -> usize {
    32
}
fn thousand() -> usize {
    1000
}
fn norm_eps() -> f64 {
    1e-5
}
fn scaling_factor() -> f64 {
    0.18215
}
fn beta_start() -> f64 {
    1e-4
}
fn beta_end() -> f64 {
    0.02
}
fn unit() -> f64 {
    1.0
}
fn quick_gelu() -> TextActivation {
    TextActivation::QuickGelu
}
/// What transformers assumes where the file is silent.
fn legacy_eos() -> u32 {
    49407
}
