//! SDXL's denoiser: diffusers' `UNet2DConditionModel` with `text_time` conditioning (Podell et al. 2023, arXiv
//! 2307.01952).
//!
//! [`embedding`] tells it the time and the picture's size, `blocks` are the levels, `transformer` looks at text, of which
//! `fixed_text` keeps what stays the same from step to step.
//!
//! It predicts whatever it was trained to predict: what that is, and what noise is, the samplers know.

mod blocks;
pub mod embedding;
mod fixed_text;
mod transformer;

use candle_core::Tensor;
use flow_engine::{Problem, Result};

use self::blocks::{DownBlock, LevelConfig, MidBlock, Pass, UpBlock};
use self::embedding::{TimeEmbedding, sinusoids};
pub use self::fixed_text::FixedText;
use super::config::UNetConfig;
use super::resnet::ResnetConfig;
use super::text_encoder::TextEmbeds;
use super::trace::Trace;
use super::weights::Weights;
use crate::ops::{Conv2d, GroupNorm, Segments, silu};

/// The denoiser.
#[derive(Debug)]
pub struct UNet {
    config: UNetConfig,
    time: TimeEmbedding,
    added: TimeEmbedding,
    conv_in: Conv2d,
    down: Vec<DownBlock>,
    mid: MidBlock,
    up: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl UNet {
    /// Builds it from weights.
    pub fn new(config: &UNetConfig, w: &Weights<'_>) -> Result<Self> {
        let (channels, groups, eps) = (&config.block_out_channels, config.norm_num_groups, config.norm_eps);
        let (Some(&outer), Some(&inner)) = (channels.first(), channels.last()) else {
            return Err(Problem::new("a denoiser without levels").into());
        };
        let (levels, time) = (channels.len(), config.time_embed_dim());
        let down = (0..levels).map(|i| {
            let c_in = channels[i.saturating_sub(1)];
            let last = i + 1 == levels;
            DownBlock::new(
                &level(config, i, &config.down_block_types[i]),
                c_in,
                !last,
                &w.at(format!("down_blocks.{i}")),
            )
        });
        let up = (0..levels).map(|i| {
            let mirrored = levels - 1 - i;
            let below = channels[(mirrored + 1).min(levels - 1)];
            let skip = channels[mirrored.saturating_sub(1)];
            let level = level(config, mirrored, &config.up_block_types[i]);
            UpBlock::new(&level, (below, skip), mirrored > 0, &w.at(format!("up_blocks.{i}")))
        });
        Ok(Self {
            time: TimeEmbedding::new(outer, time, &w.at("time_embedding"))?,
            added: TimeEmbedding::new(
                config.projection_class_embeddings_input_dim,
                time,
                &w.at("add_embedding"),
            )?,
            conv_in: w.conv2d("conv_in", (config.in_channels, outer), 3, 1, 1)?,
            down: down.collect::<Result<_>>()?,
            mid: MidBlock::new(&level(config, levels - 1, "CrossAttn"), inner, &w.at("mid_block"))?,
            up: up.collect::<Result<_>>()?,
            norm_out: w.group_norm("conv_norm_out", outer, groups, eps)?,
            conv_out: w.conv2d("conv_out", (outer, config.out_channels), 3, 1, 1)?,
            config: config.clone(),
        })
    }

    /// Its settings.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Predicts for noisy latents.
    ///
    /// `sample` `[b, c, h, w]`, `timesteps` `[b]` of any number type in 0..1000 (one per sample), `text` of batch `b`,
    /// `time_ids` `[b, 6]`: original height and width, crop top and left, target height and width, in pixels.
    /// Gives `[b, c, h, w]` in the type of `sample`.
    ///
    /// # Errors
    /// Shapes that do not fit the model or each other.
    pub fn forward(
        &self,
        sample: &Tensor,
        timesteps: &Tensor,
        text: &TextEmbeds,
        time_ids: &Tensor,
    ) -> Result<Tensor> {
        self.forward_traced(sample, timesteps, text, time_ids, &Trace::off())
    }

    /// [`Self::forward`], showing every module's output to `trace`.
    pub fn forward_traced(
        &self,
        sample: &Tensor,
        timesteps: &Tensor,
        text: &TextEmbeds,
        time_ids: &Tensor,
        trace: &Trace,
    ) -> Result<Tensor> {
        self.walk([sample, timesteps, time_ids], (text, None), &Segments::whole(), trace)
    }

    /// [`Self::forward`] for a text that is the same in every pass of this denoiser.
    pub fn forward_fixed(
        &self,
        sample: &Tensor,
        timesteps: &Tensor,
        text: &FixedText,
        time_ids: &Tensor,
    ) -> Result<Tensor> {
        let fixed = (text.embeds(), Some(text));
        self.walk([sample, timesteps, time_ids], fixed, &Segments::whole(), Trace::none())
    }

    /// [`Self::forward`] for a gradient, which is then that of `segments`.
    pub fn forward_in<'n>(
        &'n self,
        sample: &Tensor,
        timesteps: &Tensor,
        text: &TextEmbeds,
        time_ids: &Tensor,
        segments: &Segments<'n>,
    ) -> Result<Tensor> {
        self.walk([sample, timesteps, time_ids], (text, None), segments, Trace::none())
    }

    fn walk<'n>(
        &'n self,
        [sample, timesteps, time_ids]: [&Tensor; 3],
        (text, fixed): (&TextEmbeds, Option<&'n FixedText>),
        segments: &Segments<'n>,
        trace: &'n Trace,
    ) -> Result<Tensor> {
        let dtype = self.conv_in.weight.dtype();
        let embedded = self.embed(timesteps, &text.pooled, time_ids, trace)?;
        let time = silu(&embedded)?; // every residual block begins with it
        let text = text.prompt_embeds.to_dtype(dtype)?;
        let pass = Pass { time: &time, text: &text, fixed, segments, trace };

        let mut h = self.conv_in.forward(&sample.to_dtype(dtype)?)?;
        trace.see("conv_in", &h);
        let mut skips = vec![h.clone()];
        for block in &self.down {
            h = block.forward(&h, &mut skips, &pass)?;
        }
        h = self.mid.forward(&h, &pass)?;
        for block in &self.up {
            h = block.forward(&h, &mut skips, &pass)?;
        }
        let h = self.norm_out.forward(&h)?;
        trace.see("conv_norm_out", &h);
        let out = self.conv_out.forward(&silu(&h)?)?;
        trace.see("conv_out", &out);
        Ok(out.to_dtype(sample.dtype())?)
    }

    /// Time, pooled text and picture size as one vector `[b, d]`.
    fn embed(&self, timesteps: &Tensor, pooled: &Tensor, time_ids: &Tensor, trace: &Trace) -> Result<Tensor> {
        let (config, dtype) = (&self.config, self.conv_in.weight.dtype());
        let waves =
            |x: &Tensor, d| Ok(sinusoids(x, d, config.flip_sin_to_cos, config.freq_shift)?.to_dtype(dtype)?);
        let time: Result<_> = waves(timesteps, config.block_out_channels[0]);
        let time = time?;
        trace.see("time_proj", &time);
        let time = self.time.forward(&time)?;
        trace.see("time_embedding", &time);

        let (b, ids) = time_ids.dims2()?;
        let size: Result<_> = waves(&time_ids.flatten_all()?, config.addition_time_embed_dim); // [b * 6, d]
        let size = size?;
        trace.see("add_time_proj", &size);
        let size = size.reshape((b, ids * config.addition_time_embed_dim))?;
        let added = self.added.forward(&Tensor::cat(&[&pooled.to_dtype(dtype)?, &size], 1)?)?;
        trace.see("add_embedding", &added);
        Ok((time + added)?)
    }
}

fn level(config: &UNetConfig, i: usize, kind: &str) -> LevelConfig {
    let resnet = ResnetConfig {
        groups: config.norm_num_groups,
        eps: config.norm_eps,
        time: Some(config.time_embed_dim()),
    };
    LevelConfig {
        resnet,
        channels: config.block_out_channels[i],
        layers: config.layers_per_block.at(i).unwrap_or(1),
        transformers: kind
            .starts_with("CrossAttn")
            .then(|| config.transformer_layers_per_block.at(i).unwrap_or(1)),
        heads: config.heads(i),
        text: config.cross_attention_dim.at(i).unwrap_or_default(),
    }
}
