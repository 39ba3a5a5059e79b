//! The one way to ask a model: noisy latents in, an estimate of the clean ones out.
//!
//! With classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598) one prediction is made out of two.

use candle_core::{DType, Tensor};
use flow_engine::{Problem, Result};
use rayon::prelude::*;

use super::{Estimate, Step};
use crate::sdxl::config::Prediction;
use crate::sdxl::{FixedText, TextEmbeds, UNet};

/// The denoiser with everything settled but the latents and the time: what every sampler walks on.
#[derive(Debug)]
pub struct Denoiser<'a> {
    unet: &'a UNet,
    prediction: Prediction,
    text: FixedText,
    /// The same sample by sample, if the network is so narrow that each may have a thread of its own.
    each: Vec<FixedText>,
    time_ids: Tensor,
    /// How far to go from the negative prediction past the positive one; `None` leaves the negative out.
    guidance: Option<f64>,
    /// How much of the positive prediction's contrast the guided one is given back, 0 to 1.
    rescale: f64,
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
    /// `prediction` is what the network predicts, by its model's scheduler settings; `positive` and `negative` are of
    /// batch `b`, `time_ids` `[b, 6]`. A `guidance` of 1 or less runs without the
    /// negative half, as diffusers does.
    ///
    /// # Errors
    /// Guidance above 1 without a negative, or of another batch size.
    pub fn new(
        unet: &'a UNet,
        prediction: Prediction,
        positive: &TextEmbeds,
        negative: Option<&TextEmbeds>,
        time_ids: &Tensor,
        guidance: f64,
    ) -> Result<Self> {
        if !guidance.is_finite() {
            return Err(Problem::new(format!("`guidance` is {guidance}")).into());
        }
        if guidance <= 1.0 {
            return Self::of(unet, prediction, positive.clone(), time_ids.clone(), None);
        }
        let negative =
            negative.ok_or_else(|| Problem::new("guidance above 1 needs something to guide away from"))?;
        let (b, n) = (positive.pooled.dim(0)?, negative.pooled.dim(0)?);
        anyhow::ensure!(b == n, "{b} positive prompts, but {n} negative ones");
        let text = TextEmbeds::cat(&[negative, positive])?;
        Self::of(unet, prediction, text, Tensor::cat(&[time_ids, time_ids], 0)?, Some(guidance))
    }

    fn of(
        unet: &'a UNet,
        prediction: Prediction,
        text: TextEmbeds,
        time_ids: Tensor,
        guidance: Option<f64>,
    ) -> Result<Self> {
        let is_narrow = unet.config().block_out_channels.iter().all(|&c| c <= SMALL.0);
        let count = if is_narrow && time_ids.device().is_cpu() { text.pooled.dim(0)? } else { 0 };
        let each = (0..count).map(|i| Ok(FixedText::new(text.sample(i)?))).collect::<Result<_>>()?;
        Ok(Self { unet, prediction, text: FixedText::new(text), each, time_ids, guidance, rescale: 0.0 })
    }

    /// With the contrast that guidance adds taken back by this share, 0 to 1 (Lin et al. 2023, arXiv 2305.08891,
    /// section 3.4, where it is phi). Without guidance it changes nothing.
    ///
    /// # Errors
    /// A share outside of 0..=1.
    pub fn rescale(mut self, share: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Problem::new(format!("`guidance_rescale` is {share}")).hint("take 0 to 1").into());
        }
        self.rescale = share;
        Ok(self)
    }

    /// What the network finds in `x` `[b, c, h, w]` (float32), which are latents of the level that `step` begins at.
    pub fn denoise(&self, x: &Tensor, step: &Step) -> Result<Estimate> {
        let said = self.predict(&(x / step.from.scale())?, step.timestep)?;
        step.from.estimate(x, &said, self.prediction)
    }

    /// The guided prediction for variance preserving `x` `[b, c, h, w]` (float32) at `timestep`; gives `[b, c, h, w]` in
    /// float32.
    ///
    /// Both halves go through the network as one batch, the negative first.
    pub fn predict(&self, x: &Tensor, timestep: f64) -> Result<Tensor> {
        let input = if self.guidance.is_some() { Tensor::cat(&[x, x], 0)? } else { x.clone() };
        let out = self.said_of(&input, timestep)?.to_dtype(DType::F32)?;
        let Some(guidance) = self.guidance else { return Ok(out) };
        let halves = out.chunk(2, 0)?;
        let guided = guide(&halves[0], &halves[1], guidance)?;
        if self.rescale > 0.0 { rescale(&guided, &halves[1], self.rescale) } else { Ok(guided) }
    }
}

/// Channels and elements up to which a pass through the denoiser is too small to keep several threads busy with any of
/// its layers: then each sample has a thread of its own, and the whole network on it.
const SMALL: (usize, usize) = (512, 1 << 19);

impl Denoiser<'_> {
    /// What the network says of samples `[b, c, h, w]`.
    fn said_of(&self, x: &Tensor, timestep: f64) -> Result<Tensor> {
        let (b, _, h, w) = x.dims4()?;
        let timesteps = Tensor::full(timestep as f32, b, x.device())?;
        let Self { unet, text, time_ids, .. } = self;
        let outer = unet.config().block_out_channels.first().copied().unwrap_or_default();
        if b == 1 || self.each.len() != b || outer * h * w > SMALL.1 {
            return unet.forward_fixed(x, &timesteps, text, time_ids);
        }
        let one = |(i, text): (usize, &FixedText)| {
            let only = |x: &Tensor| x.narrow(0, i, 1)?.contiguous();
            unet.forward_fixed(&only(x)?, &only(&timesteps)?, text, &only(time_ids)?)
        };
        let all = self.each.par_iter().enumerate().map(one).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&all, 0)?)
    }
}

/// `u + g (c - u)`.
pub fn guide(negative: &Tensor, positive: &Tensor, guidance: f64) -> Result<Tensor> {
    Ok((negative + ((positive - negative)? * guidance)?)?)
}

/// `phi g std(c) / std(g) + (1 - phi) g`, with each sample's own standard deviations, over `[c, h, w]`.
fn rescale(guided: &Tensor, positive: &Tensor, share: f64) -> Result<Tensor> {
    let factor = ((deviations(positive)? / deviations(guided)?)? * share)?;
    Ok(guided.broadcast_mul(&(factor + (1.0 - share))?)?)
}

/// The standard deviation of each sample, `[b, 1, 1, 1]`, with one degree of freedom less than values.
fn deviations(x: &Tensor) -> Result<Tensor> {
    let variances = x.flatten_from(1)?.var_keepdim(1)?; // [b, 1]
    Ok(variances.sqrt()?.reshape((x.dim(0)?, 1, 1, 1))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Generator;

    #[test]
    fn a_full_rescale_gives_every_sample_the_contrast_of_its_positive_prediction() {
        let randn =
            |seed: u64, size: f64| (Generator::new(seed).randn(&[2, 4, 8, 8]).unwrap() * size).unwrap();
        let (positive, guided) = (randn(1, 1.0), randn(2, 3.0));
        let of = |x: &Tensor| deviations(x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (expected, before) = (of(&positive), of(&guided));
        let found = of(&rescale(&guided, &positive, 1.0).unwrap());
        let half = of(&rescale(&guided, &positive, 0.5).unwrap());
        for i in 0..2 {
            assert!((found[i] - expected[i]).abs() < 1e-5);
            assert!((half[i] - (expected[i] + before[i]) / 2.0).abs() < 1e-5);
        }
    }
}
