//! Settings of the autoencoder.

use serde::Deserialize;

use super::{MOST_LAYERS, MOST_LEVELS, refused, thirty_two, yes};

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

    pub(super) fn check(&self) -> Vec<String> {
        let mut wrong =
            refused(&self.rest, &[("act_fn", &["silu"]), ("latents_mean", &[]), ("latents_std", &[])]);
        let kinds = ["DownEncoderBlock2D", "UpDecoderBlock2D"];
        let unknown =
            self.down_block_types.iter().chain(&self.up_block_types).filter(|k| !kinds.contains(&k.as_str()));
        wrong.extend(unknown.map(|kind| format!("blocks of the kind `{kind}` are not supported")));
        let groups = self.norm_num_groups;
        let levels = self.block_out_channels.len();
        if levels > MOST_LEVELS || self.layers_per_block > MOST_LAYERS {
            wrong.push(format!("more than {MOST_LEVELS} levels or {MOST_LAYERS} layers in each"));
        }
        for (name, channels) in [("in_channels", self.in_channels), ("out_channels", self.out_channels)] {
            if channels != 3 {
                wrong.push(format!("`{name}` is {channels}; pictures have 3, red, green and blue"));
            }
        }
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

fn scaling_factor() -> f64 {
    0.18215
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::VaeConfig;

    #[test]
    fn pictures_have_three_channels() {
        let wrong = |changes: serde_json::Value| {
            let mut config = json!({
                "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2,
                "block_out_channels": [32, 64],
            });
            config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            serde_json::from_value::<VaeConfig>(config).unwrap().check()
        };
        assert_eq!(wrong(json!({})), [""; 0]);
        assert_eq!(
            wrong(json!({ "out_channels": 4 })),
            ["`out_channels` is 4; pictures have 3, red, green and blue"]
        );
        assert_eq!(
            wrong(json!({ "in_channels": 1 })),
            ["`in_channels` is 1; pictures have 3, red, green and blue"]
        );
    }
}
