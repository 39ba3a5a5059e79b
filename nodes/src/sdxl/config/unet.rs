//! Settings of the denoiser.

use serde::Deserialize;

use super::{MOST_LAYERS, MOST_LEVELS, PerBlock, norm_eps, refused, thirty_two, yes};

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
    pub(super) fn check(&self) -> Vec<String> {
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
        if levels > MOST_LEVELS {
            wrong.push(format!("{levels} `block_out_channels`, expected at most {MOST_LEVELS}"));
        }
        for (name, counts) in [
            ("layers_per_block", &self.layers_per_block),
            ("transformer_layers_per_block", &self.transformer_layers_per_block),
        ] {
            if (0..levels).filter_map(|level| counts.at(level)).any(|count| count > MOST_LAYERS) {
                wrong.push(format!("`{name}` has more than {MOST_LAYERS}"));
            }
        }
        if levels == 0 {
            wrong.push("`block_out_channels` is empty".into());
        }
        for (kinds, known) in [
            (&self.down_block_types, ["DownBlock2D", "CrossAttnDownBlock2D"]),
            (&self.up_block_types, ["UpBlock2D", "CrossAttnUpBlock2D"]),
        ] {
            let unknown = kinds.iter().filter(|kind| !known.contains(&kind.as_str()));
            wrong.extend(
                unknown
                    .map(|kind| format!("a `{kind}` is not supported there; only {}", known.join(" and "))),
            );
        }
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

fn one() -> PerBlock<usize> {
    PerBlock::All(1)
}
fn eight() -> PerBlock<usize> {
    PerBlock::All(8)
}
