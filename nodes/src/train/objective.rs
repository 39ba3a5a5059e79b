//! What is minimized: the squared error of what the denoiser says of noisy latents (PaRa, arXiv 2406.05641, eq. 1).
//!
//! ```text
//! L = sum over samples of  w · mean((said - wanted)²)  /  samples of the subject
//! ```
//!
//! `wanted` is the noise, or the velocity where the checkpoint predicts that. `w` is 1; with min-SNR-γ (Hang et al. 2023,
//! arXiv 2303.09556) it is `min(snr, γ) / snr` for noise and `min(snr, γ) / (snr + 1)` for velocity; a picture of the
//! class, kept against forgetting (DreamBooth, arXiv 2208.12242), counts its own weight on top.

use candle_core::{DType, Tensor};
use flow_engine::{Problem, Result};

use crate::sample::NoiseSchedule;
use crate::sdxl::config::Prediction;

/// The loss of one step.
#[derive(Debug, Clone, Copy)]
pub struct Objective<'a> {
    /// The noise of training.
    pub schedule: &'a NoiseSchedule,
    /// What the checkpoint predicts.
    pub prediction: Prediction,
    /// The γ of min-SNR, if it is used.
    pub min_snr: Option<f64>,
}

/// What a denoiser is asked in a step.
#[derive(Debug, Clone)]
pub struct Question {
    /// Latents without noise, `[b, c, h, w]`.
    pub latents: Tensor,
    /// The noise that is added, `[b, c, h, w]`.
    pub noise: Tensor,
    /// One timestep for each sample.
    pub timesteps: Vec<usize>,
    /// What each sample counts: 1 for a picture of the subject.
    pub weights: Vec<f64>,
    /// How many samples are pictures of the subject; the others come on top, and do not make these count less.
    pub subjects: usize,
    /// What each latent pixel counts, `[b, 1, h, w]`, if not the same.
    pub mask: Option<Tensor>,
}

impl Objective<'_> {
    /// The latents with their noise, `[b, c, h, w]`.
    ///
    /// # Errors
    /// Shapes that do not fit each other.
    pub fn noisy(&self, question: &Question) -> Result<Tensor> {
        self.schedule.add_noise(&question.latents, &question.noise, &question.timesteps)
    }

    /// The loss of what the denoiser says, a number in float32.
    ///
    /// # Errors
    /// A checkpoint that predicts pictures; shapes that do not fit each other.
    pub fn loss(&self, question: &Question, said: &Tensor) -> Result<Tensor> {
        let Question { latents, noise, timesteps, weights, subjects, mask } = question;
        let wanted = match self.prediction {
            Prediction::Epsilon => noise.clone(),
            Prediction::VPrediction => self.schedule.velocity(latents, noise, timesteps)?,
            Prediction::Sample => {
                return Err(
                    Problem::new("the checkpoint predicts pictures, and training knows noise and v").into()
                );
            }
        };
        let squares = (said.to_dtype(DType::F32)? - wanted.to_dtype(DType::F32)?)?.sqr()?;
        let squares = match mask {
            Some(mask) => squares.broadcast_mul(&mask.to_dtype(DType::F32)?)?,
            None => squares,
        };
        let (b, ..) = squares.dims4()?;
        let shares: Vec<f32> =
            timesteps.iter().zip(weights).map(|(&t, weight)| (weight * self.share(t)) as f32).collect();
        let shares = Tensor::from_vec(shares, b, squares.device())?;
        let each = squares.flatten_from(1)?.mean(1)?;
        Ok(((each * shares)?.sum_all()? / (*subjects).max(1) as f64)?)
    }

    /// What a sample of this timestep counts.
    fn share(&self, timestep: usize) -> f64 {
        let Some(gamma) = self.min_snr else { return 1.0 };
        let alpha = self.schedule.alpha(timestep as i64);
        let snr = alpha / (1.0 - alpha);
        match self.prediction {
            Prediction::VPrediction => snr.min(gamma) / (snr + 1.0),
            // Pure noise has nothing to tell apart.
            _ if snr == 0.0 => 1.0,
            _ => snr.min(gamma) / snr,
        }
    }
}
