//! The levels of the denoiser: down, middle and up, with or without attention.

use candle_core::Tensor;
use flow_engine::{Problem, Result};

use super::super::resnet::{ResnetBlock, ResnetConfig};
use super::super::trace::Trace;
use super::super::weights::Weights;
use super::fixed_text::FixedText;
use super::transformer::Transformer;
use crate::ops::{Conv2d, Segments, nearest};

/// What every block of one forward pass sees. `'n` is how long the network is there.
pub(super) struct Pass<'p, 'n> {
    /// The timestep embedding through SiLU, `[b, d]`.
    pub(super) time: &'p Tensor,
    /// The text, `[b, tokens, d]`.
    pub(super) text: &'p Tensor,
    /// What is kept of the text from pass to pass, if it stays the same.
    pub(super) fixed: Option<&'n FixedText>,
    /// What is kept for the gradient.
    pub(super) segments: &'p Segments<'n>,
    pub(super) trace: &'n Trace,
}

/// The settings of one level.
#[derive(Debug, Clone)]
pub(super) struct LevelConfig {
    pub(super) resnet: ResnetConfig,
    /// Channels inside the level.
    pub(super) channels: usize,
    /// Residual blocks on the way down.
    pub(super) layers: usize,
    /// Transformer blocks behind each residual block, if the level has attention.
    pub(super) transformers: Option<usize>,
    pub(super) heads: usize,
    /// Features of the text.
    pub(super) text: usize,
}

impl LevelConfig {
    fn layer(&self, j: usize, c_in: usize, w: &Weights<'_>) -> Result<Layer> {
        let attention = self.transformers.map(|_| self.transformer(j, w)).transpose()?;
        Ok(Layer { resnet: self.resnet(j, c_in, w)?, attention })
    }

    fn resnet(&self, j: usize, c_in: usize, w: &Weights<'_>) -> Result<ResnetBlock> {
        ResnetBlock::new(self.resnet, c_in, self.channels, &w.at(format!("resnets.{j}")))
    }

    fn transformer(&self, j: usize, w: &Weights<'_>) -> Result<Transformer> {
        Transformer::new(self, self.transformers.unwrap_or(1), &w.at(format!("attentions.{j}")))
    }
}

/// A residual block and the attention behind it.
#[derive(Debug)]
struct Layer {
    resnet: ResnetBlock,
    attention: Option<Transformer>,
}

impl Layer {
    /// `x` `[b, c_in, h, w]`, or several such that are joined by their channels.
    fn forward<'n>(&'n self, x: &[&Tensor], pass: &Pass<'_, 'n>) -> Result<Tensor> {
        let h = resnet(&self.resnet, x, pass)?;
        match &self.attention {
            Some(attention) => attention.forward(&h, pass),
            None => Ok(h),
        }
    }
}

/// A residual block as a segment of its own; `x` is joined inside, so that what is joined is not kept.
fn resnet<'n>(block: &'n ResnetBlock, x: &[&Tensor], pass: &Pass<'_, 'n>) -> Result<Tensor> {
    let (trace, inputs) = (pass.trace, [&[pass.time], x].concat());
    pass.segments
        .run(&inputs, move |inputs| block.forward(&Tensor::cat(&inputs[1..], 1)?, Some(&inputs[0]), trace))
}

/// A level on the way down.
#[derive(Debug)]
pub(super) struct DownBlock {
    name: String,
    layers: Vec<Layer>,
    downsampler: Option<Conv2d>,
}

impl DownBlock {
    pub(super) fn new(level: &LevelConfig, c_in: usize, shrinks: bool, w: &Weights<'_>) -> Result<Self> {
        let c = level.channels;
        let layers = (0..level.layers).map(|j| level.layer(j, if j == 0 { c_in } else { c }, w));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            downsampler: shrinks.then(|| w.conv2d("downsamplers.0.conv", (c, c), 3, 2, 1)).transpose()?,
            name: w.path().to_owned(),
        })
    }

    /// `[b, c_in, h, w]` to `[b, c, h / 2, w / 2]` (or `[b, c, h, w]`); leaves every layer's output in `skips`.
    pub(super) fn forward<'n>(
        &'n self,
        x: &Tensor,
        skips: &mut Vec<Tensor>,
        pass: &Pass<'_, 'n>,
    ) -> Result<Tensor> {
        let (mut h, before) = (x.clone(), skips.len());
        for layer in &self.layers {
            h = layer.forward(&[&h], pass)?;
            skips.push(h.clone());
        }
        if let Some(conv) = &self.downsampler {
            h = pass.segments.run(&[&h], move |inputs| conv.forward(&inputs[0]))?;
            pass.trace.see(&format!("{}.downsamplers.0", self.name), &h);
            skips.push(h.clone());
        }
        for (k, skip) in skips[before..].iter().enumerate() {
            pass.trace.see(&format!("{}.res{k}", self.name), skip);
        }
        pass.trace.see(&self.name, &h);
        Ok(h)
    }
}

/// The innermost level.
#[derive(Debug)]
pub(super) struct MidBlock {
    name: String,
    first: ResnetBlock,
    attention: Transformer,
    second: ResnetBlock,
}

impl MidBlock {
    pub(super) fn new(level: &LevelConfig, c: usize, w: &Weights<'_>) -> Result<Self> {
        let (first, attention, second) =
            (level.resnet(0, c, w)?, level.transformer(0, w)?, level.resnet(1, c, w)?);
        Ok(Self { first, attention, second, name: w.path().to_owned() })
    }

    /// `[b, c, h, w]` to the same shape.
    pub(super) fn forward<'n>(&'n self, x: &Tensor, pass: &Pass<'_, 'n>) -> Result<Tensor> {
        let h = resnet(&self.first, &[x], pass)?;
        let h = self.attention.forward(&h, pass)?;
        let h = resnet(&self.second, &[&h], pass)?;
        pass.trace.see(&self.name, &h);
        Ok(h)
    }
}

/// A level on the way up.
#[derive(Debug)]
pub(super) struct UpBlock {
    name: String,
    layers: Vec<Layer>,
    upsampler: Option<Conv2d>,
}

impl UpBlock {
    /// `below` and `skip` are the channels of what comes from below and of the last skip, which is one level further
    /// out than the others.
    pub(super) fn new(
        level: &LevelConfig,
        (below, skip): (usize, usize),
        grows: bool,
        w: &Weights<'_>,
    ) -> Result<Self> {
        let (c, n) = (level.channels, level.layers + 1);
        let layers = (0..n).map(|j| {
            let from_below = if j == 0 { below } else { c };
            let from_aside = if j + 1 == n { skip } else { c };
            level.layer(j, from_below + from_aside, w)
        });
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            upsampler: grows.then(|| w.conv2d("upsamplers.0.conv", (c, c), 3, 1, 1)).transpose()?,
            name: w.path().to_owned(),
        })
    }

    /// `[b, c_in, h, w]` to `[b, c, 2 h, 2 w]` (or `[b, c, h, w]`), taking one of `skips` for every layer.
    ///
    /// It grows to the size of the next skip, so that latents of odd sizes come back to what they were.
    pub(super) fn forward<'n>(
        &'n self,
        x: &Tensor,
        skips: &mut Vec<Tensor>,
        pass: &Pass<'_, 'n>,
    ) -> Result<Tensor> {
        let mut h = x.clone();
        for layer in &self.layers {
            let skip =
                skips.pop().ok_or_else(|| Problem::new("the levels up have more layers than those down"))?;
            h = layer.forward(&[&h, &skip], pass)?;
        }
        if let (Some(conv), Some(next)) = (&self.upsampler, skips.last()) {
            let (height, width) = (next.dim(2)?, next.dim(3)?);
            h = pass.segments.run(&[&h], move |inputs| conv.forward(&nearest(&inputs[0], height, width)?))?;
            pass.trace.see(&format!("{}.upsamplers.0", self.name), &h);
        }
        pass.trace.see(&self.name, &h);
        Ok(h)
    }
}
