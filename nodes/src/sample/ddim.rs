//! DDIM (Song et al. 2020, arXiv 2010.02502), as diffusers' `DDIMScheduler` walks it.
//!
//! One step, formula 12: with `a` the share of signal now and `a'` after the step,
//!
//! ```text
//! sigma = eta sqrt((1 - a') / (1 - a)) sqrt(1 - a / a')          formula 16
//! x'    = sqrt(a') x0 + sqrt(1 - a' - sigma^2) e + sigma noise
//! ```

use candle_core::{DType, Tensor};
use flow_engine::{Problem, Result};

use super::guidance::Denoiser;
use super::schedule::NoiseSchedule;
use super::{OnStep, schedule};
use crate::sdxl::config::Spacing;

/// A walk of DDIM.
#[derive(Debug, Clone)]
pub struct Ddim {
    schedule: NoiseSchedule,
    timesteps: Vec<usize>,
    /// Timesteps of training that one step goes back.
    stride: usize,
    eta: f64,
}

impl Ddim {
    /// A walk of `steps` steps. `eta` is the share of fresh noise: 0 adds none, 1 is DDPM's.
    ///
    /// # Errors
    /// No step or too many, an `eta` outside of 0..=1.
    pub fn new(schedule: &NoiseSchedule, steps: usize, spacing: Spacing, eta: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&eta) {
            return Err(Problem::new(format!("`eta` is {eta}")).hint("take 0 to 1").into());
        }
        let timesteps = schedule.timesteps(steps, spacing)?;
        let stride = schedule.config().num_train_timesteps / steps;
        Ok(Self { schedule: schedule.clone(), timesteps, stride, eta })
    }

    /// The walk from its step `start` on, for latents that begin with a picture in them.
    #[must_use]
    pub fn skip(mut self, start: usize) -> Self {
        self.timesteps.drain(..start.min(self.timesteps.len()));
        self
    }

    /// The timesteps at which the network is asked, falling.
    pub fn timesteps(&self) -> &[usize] {
        &self.timesteps
    }

    /// One step from `timestep`: `x` and `prediction` `[b, c, h, w]`, and standard normal `noise` if `eta` is not 0.
    ///
    /// # Errors
    /// No `noise` where it is needed.
    pub fn step(
        &self,
        x: &Tensor,
        prediction: &Tensor,
        timestep: usize,
        noise: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (a, a_next) = self.alphas(timestep);
        let schedule::Split { denoised, noise: inside } = self.schedule.split(x, prediction, timestep)?;
        let sigma = self.sigma(a, a_next);
        let towards = (1.0 - a_next - sigma * sigma).max(0.0).sqrt();
        let next = ((denoised * a_next.sqrt())? + (inside * towards)?)?;
        match noise {
            _ if sigma == 0.0 => Ok(next),
            Some(noise) => Ok((next + (noise * sigma)?)?),
            None => Err(Problem::new("a step of DDIM with `eta` needs noise").into()),
        }
    }

    fn alphas(&self, timestep: usize) -> (f64, f64) {
        let next = timestep as i64 - self.stride as i64;
        (self.schedule.alpha(timestep as i64), self.schedule.alpha(next))
    }

    fn sigma(&self, a: f64, a_next: f64) -> f64 {
        let variance = (1.0 - a_next) / (1.0 - a) * (1.0 - a / a_next);
        self.eta * variance.max(0.0).sqrt()
    }

    /// Walks `latents` `[b, c, h, w]` to the end; gives latents of the same shape in float32.
    ///
    /// `draw` gives standard normal noise of a shape, and is asked once per step if `eta` is not 0.
    ///
    /// # Errors
    /// Whatever `draw` and `on_step` say, and shapes that do not fit the network.
    pub fn sample(
        &self,
        denoiser: &Denoiser<'_>,
        latents: &Tensor,
        draw: &mut dyn FnMut(&[usize]) -> Result<Tensor>,
        on_step: &mut OnStep<'_>,
    ) -> Result<Tensor> {
        let mut x = latents.to_dtype(DType::F32)?;
        for (i, &timestep) in self.timesteps.iter().enumerate() {
            let prediction = denoiser.predict(&x, timestep)?;
            let noise = (self.eta > 0.0).then(|| -> Result<_> { Ok(draw(x.dims())?.to_device(x.device())?) });
            x = self.step(&x, &prediction, timestep, noise.transpose()?.as_ref())?;
            on_step(i + 1, &x)?;
        }
        Ok(x)
    }
}
