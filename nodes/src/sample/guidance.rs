//! One prediction out of two: classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598).

use candle_core::{DType, Tensor};
use flow_engine::{Problem, Result};

use crate::sdxl::{TextEmbeds, UNet};

/// The denoiser with everything settled but the latents and the time: what every sampler walks on.
#[derive(Debug)]
pub struct Denoiser<'a> {
    unet: &'a UNet,
    text: TextEmbeds,
    time_ids: Tensor,
    /// How far to go from the negative prediction past the positive one; `None` leaves the negative out.
    guidance: Option<f64>,
}

/// The size a picture is to have, as SDXL is told it: six numbers in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeIds {
    /// Height and width of the picture before it was scaled for training.
    pub original: (usize, usize),
    /// Rows and columns cut off above and to the left.
    pub crop: (usize, usize),
    /// Height and width to draw at.
    pub target: (usize, usize),
}

impl TimeIds {
    /// Of a whole picture that was never scaled, in pixels.
    pub fn whole(height: usize, width: usize) -> Self {
        Self { original: (height, width), crop: (0, 0), target: (height, width) }
    }

    /// The same for `b` pictures, `[b, 6]`.
    pub fn tensor(self, b: usize, device: &candle_core::Device) -> Result<Tensor> {
        let pairs = [self.original, self.crop, self.target];
        let row = pairs.iter().flat_map(|&(y, x)| [y as f32, x as f32]).collect::<Vec<_>>();
        Ok(Tensor::from_vec(row.repeat(b), (b, 6), device)?)
    }
}

impl<'a> Denoiser<'a> {
    /// Settles what to draw.
    ///
    /// `positive` and `negative` of batch `b`, `time_ids` `[b, 6]`. A `guidance` of 1 or less runs without the
    /// negative half, as diffusers does.
    ///
    /// # Errors
    /// Guidance above 1 without a negative, or of another batch size.
    pub fn new(
        unet: &'a UNet,
        positive: &TextEmbeds,
        negative: Option<&TextEmbeds>,
        time_ids: &Tensor,
        guidance: f64,
    ) -> Result<Self> {
        if !guidance.is_finite() {
            return Err(Problem::new(format!("`guidance` is {guidance}")).into());
        }
        if guidance <= 1.0 {
            return Ok(Self { unet, text: positive.clone(), time_ids: time_ids.clone(), guidance: None });
        }
        let negative =
            negative.ok_or_else(|| Problem::new("guidance above 1 needs something to guide away from"))?;
        let (b, n) = (positive.pooled.dim(0)?, negative.pooled.dim(0)?);
        anyhow::ensure!(b == n, "{b} positive prompts, but {n} negative ones");
        Ok(Self {
            unet,
            text: TextEmbeds::cat(&[negative, positive])?,
            time_ids: Tensor::cat(&[time_ids, time_ids], 0)?,
            guidance: Some(guidance),
        })
    }

    /// The guided prediction for `x` `[b, c, h, w]` (float32) at `timestep`; gives `[b, c, h, w]` in float32.
    ///
    /// Both halves go through the network as one batch, the negative first.
    pub fn predict(&self, x: &Tensor, timestep: usize) -> Result<Tensor> {
        let input = if self.guidance.is_some() { Tensor::cat(&[x, x], 0)? } else { x.clone() };
        let timesteps = Tensor::full(timestep as f32, input.dim(0)?, x.device())?;
        let out = self.unet.forward(&input, &timesteps, &self.text, &self.time_ids)?.to_dtype(DType::F32)?;
        let Some(guidance) = self.guidance else { return Ok(out) };
        let halves = out.chunk(2, 0)?;
        guide(&halves[0], &halves[1], guidance)
    }
}

/// `u + g (c - u)`.
pub fn guide(negative: &Tensor, positive: &Tensor, guidance: f64) -> Result<Tensor> {
    Ok((negative + ((positive - negative)? * guidance)?)?)
}
