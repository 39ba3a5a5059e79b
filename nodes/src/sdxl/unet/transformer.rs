//! Attention over the pixels and over the text (diffusers' `Transformer2DModel` with linear projections).

use candle_core::Tensor;
use flow_engine::Result;

use super::super::trace::Trace;
use super::super::weights::Weights;
use super::blocks::{LevelConfig, Pass};
use super::fixed_text::{FixedText, KeysValues};
use crate::ops::{GroupNorm, LayerNorm, Linear, attention, geglu};

/// Epsilon of the norm before the projection, whatever the configuration says of the others.
const GROUP_NORM_EPS: f64 = 1e-6;
/// Epsilon of the blocks' norms.
const LAYER_NORM_EPS: f64 = 1e-5;
/// Features inside the feed-forward, per feature outside.
const INNER: usize = 4;

/// Transformer blocks over a picture.
#[derive(Debug)]
pub(super) struct Transformer {
    name: String,
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Vec<Block>,
    proj_out: Linear,
}

impl Transformer {
    pub(super) fn new(level: &LevelConfig, blocks: usize, w: &Weights<'_>) -> Result<Self> {
        let c = level.channels;
        let blocks = (0..blocks).map(|k| Block::new(level, &w.at(format!("transformer_blocks.{k}"))));
        Ok(Self {
            norm: w.group_norm("norm", c, level.resnet.groups, GROUP_NORM_EPS)?,
            proj_in: w.linear("proj_in", c, c, true)?,
            blocks: blocks.collect::<Result<_>>()?,
            proj_out: w.linear("proj_out", c, c, true)?,
            name: w.path().to_owned(),
        })
    }

    /// `x` `[b, c, h, w]` to the same shape, looking at the text. Each block is a segment, and so are both ends.
    pub(super) fn forward<'n>(&'n self, x: &Tensor, pass: &Pass<'_, 'n>) -> Result<Tensor> {
        let (fixed, trace) = (pass.fixed, pass.trace);
        let mut tokens = pass.segments.run(&[x], move |inputs| self.tokens(&inputs[0]))?;
        for block in &self.blocks {
            tokens = pass.segments.run(&[&tokens, pass.text], move |inputs| {
                block.forward(&inputs[0], (&inputs[1], fixed), trace)
            })?;
        }
        let out = pass.segments.run(&[&tokens, x], move |inputs| self.picture(&inputs[0], &inputs[1]))?;
        trace.see(&self.name, &out);
        Ok(out)
    }

    /// `[b, c, h, w]` to `[b, h * w, c]`.
    fn tokens(&self, x: &Tensor) -> Result<Tensor> {
        self.proj_in.forward(&self.norm.forward(x)?.flatten_from(2)?.transpose(1, 2)?)
    }

    /// `[b, h * w, c]` back to `[b, c, h, w]`, with the way around everything, `x`.
    fn picture(&self, tokens: &Tensor, x: &Tensor) -> Result<Tensor> {
        let out = self.proj_out.forward(tokens)?.transpose(1, 2)?.reshape(x.shape())?;
        Ok((out + x)?)
    }
}

/// Attention among the pixels, attention to the text, and a gated feed-forward, norms first.
#[derive(Debug)]
struct Block {
    name: String,
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(level: &LevelConfig, w: &Weights<'_>) -> Result<Self> {
        let (d, eps) = (level.channels, LAYER_NORM_EPS);
        Ok(Self {
            norm1: w.layer_norm("norm1", d, eps)?,
            attn1: Attention::new(d, d, level.heads, &w.at("attn1"))?,
            norm2: w.layer_norm("norm2", d, eps)?,
            attn2: Attention::new(d, level.text, level.heads, &w.at("attn2"))?,
            norm3: w.layer_norm("norm3", d, eps)?,
            up: w.linear("ff.net.0.proj", d, 2 * INNER * d, true)?,
            down: w.linear("ff.net.2", INNER * d, d, true)?,
            name: w.path().to_owned(),
        })
    }

    /// `x` `[b, tokens, d]` to the same shape.
    fn forward(
        &self,
        x: &Tensor,
        (text, fixed): (&Tensor, Option<&FixedText>),
        trace: &Trace,
    ) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let x = (x + self.attn1.forward(&normed, self.attn1.keys_values(&normed)?, trace)?)?;
        let of_text = || self.attn2.keys_values(text);
        let of_text = fixed.map_or_else(of_text, |fixed| fixed.keys_values(&self.attn2.name, of_text))?;
        let x = (&x + self.attn2.forward(&self.norm2.forward(&x)?, of_text, trace)?)?;
        let fed = self.down.forward(&geglu(&self.up.forward(&self.norm3.forward(&x)?)?)?)?;
        trace.see(&format!("{}.ff", self.name), &fed);
        let x = (x + fed)?;
        trace.see(&self.name, &x);
        Ok(x)
    }
}

/// Multi-head attention with an output projection.
#[derive(Debug)]
struct Attention {
    name: String,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    heads: usize,
}

impl Attention {
    fn new(d: usize, d_seen: usize, heads: usize, w: &Weights<'_>) -> Result<Self> {
        Ok(Self {
            query: w.linear("to_q", d, d, false)?,
            key: w.linear("to_k", d_seen, d, false)?,
            value: w.linear("to_v", d_seen, d, false)?,
            out: w.linear("to_out.0", d, d, true)?,
            heads,
            name: w.path().to_owned(),
        })
    }

    /// Of what is looked at, `[b, tokens_k, d_seen]`; `[b, tokens_k, d]` each.
    fn keys_values(&self, seen: &Tensor) -> Result<KeysValues> {
        Ok((self.key.forward(seen)?, self.value.forward(seen)?))
    }

    /// `x` `[b, tokens, d]` looking at something; gives `[b, tokens, d]`.
    fn forward(&self, x: &Tensor, (keys, values): KeysValues, trace: &Trace) -> Result<Tensor> {
        let queries = self.query.forward(x)?;
        let out = self.out.forward(&attention(&queries, &keys, &values, self.heads, None)?)?;
        trace.see(&self.name, &out);
        Ok(out)
    }
}
