//! The transformer block of CLIP, which its text and its picture tower share (Radford et al. 2021, arXiv 2103.00020).

use candle_core::Tensor;
use flow_engine::Result;

use super::config::{TextActivation, TextConfig};
use super::weights::Weights;
use crate::ops::{LayerNorm, Linear, attention, gelu, quick_gelu};

/// How wide a block is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClipSizes {
    /// Features of a token.
    pub width: usize,
    /// Features inside the MLP.
    pub inner: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Epsilon of the layer norms.
    pub eps: f64,
    /// The MLP's activation.
    pub activation: TextActivation,
}

impl ClipSizes {
    /// Those of a text encoder.
    pub fn of_text(config: &TextConfig) -> Self {
        Self {
            width: config.hidden_size,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            eps: config.layer_norm_eps,
            activation: config.hidden_act,
        }
    }
}

/// One transformer block, norms first.
#[derive(Debug)]
pub(crate) struct ClipBlock {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    heads: usize,
    activation: fn(&Tensor) -> Result<Tensor>,
}

impl ClipBlock {
    /// All blocks of a tower, which are `layers.0`, `layers.1`, .. of its encoder.
    pub fn all(sizes: &ClipSizes, count: usize, encoder: &Weights<'_>) -> Result<Vec<Self>> {
        (0..count).map(|i| Self::new(sizes, &encoder.at(format!("layers.{i}")))).collect()
    }

    fn new(sizes: &ClipSizes, w: &Weights<'_>) -> Result<Self> {
        let ClipSizes { width: d, inner, heads, eps, activation } = *sizes;
        Ok(Self {
            norm1: w.layer_norm("layer_norm1", d, eps)?,
            query: w.linear("self_attn.q_proj", d, d, true)?,
            key: w.linear("self_attn.k_proj", d, d, true)?,
            value: w.linear("self_attn.v_proj", d, d, true)?,
            out: w.linear("self_attn.out_proj", d, d, true)?,
            norm2: w.layer_norm("layer_norm2", d, eps)?,
            up: w.linear("mlp.fc1", d, inner, true)?,
            down: w.linear("mlp.fc2", inner, d, true)?,
            heads,
            activation: match activation {
                TextActivation::QuickGelu => quick_gelu,
                TextActivation::Gelu => gelu,
            },
        })
    }

    /// `x` `[b, tokens, d]` to the same shape; `mask` as in [`attention`].
    pub fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let of = |layer: &Linear| layer.forward(&normed);
        let seen = attention(&of(&self.query)?, &of(&self.key)?, &of(&self.value)?, self.heads, mask)?;
        let x = (x + self.out.forward(&seen)?)?;
        let inner = (self.activation)(&self.up.forward(&self.norm2.forward(&x)?)?)?;
        Ok((x + self.down.forward(&inner)?)?)
    }
}
