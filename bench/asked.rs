//! What a network is asked while it is timed: noise for latents, and noise for what a prompt means.

use candle_core::{Device, Tensor};
use flow_engine::Result;
use flow_nodes::sample::guidance::TimeIds;
use flow_nodes::sample::{Denoiser, Generator};
use flow_nodes::sdxl::{Checkpoint, TextEmbeds, UNet};

const GUIDANCE: f64 = 5.0;

/// Latents of one square picture of so many pixels each way.
pub fn latents(checkpoint: &Checkpoint, size: usize) -> Result<Tensor> {
    let side = size / checkpoint.vae_config().pixels_per_latent();
    Generator::new(0).randn(&[1, checkpoint.unet_config().in_channels, side, side])
}

/// One prompt, encoded.
pub fn text(checkpoint: &Checkpoint) -> Result<TextEmbeds> {
    let [first, second] = checkpoint.text_configs();
    let (tokens, width) = (first.max_position_embeddings, first.hidden_size + second.hidden_size);
    let mut noise = Generator::new(1);
    Ok(TextEmbeds {
        prompt_embeds: noise.randn(&[1, tokens, width])?,
        pooled: noise.randn(&[1, second.projection_dim])?,
    })
}

/// The denoiser with guidance: each of its steps is a batch of two.
pub fn guided<'a>(checkpoint: &Checkpoint, unet: &'a UNet, size: usize) -> Result<Denoiser<'a>> {
    let (text, prediction) = (text(checkpoint)?, checkpoint.scheduler_config().prediction_type);
    let time_ids = TimeIds::whole(size, size).tensor(1, &Device::Cpu)?;
    Denoiser::new(unet, prediction, &text, Some(&text.zeros_like()?), &time_ids, GUIDANCE)
}
