//! DDIM (Song et al. 2020, arXiv 2010.02502), as diffusers' `DDIMScheduler` walks it, and back again.
//!
//! One step, formula 12: with `a` the share of signal now and `a'` after the step,
//!
//! ```text
//! sigma = eta sqrt((1 - a') / (1 - a)) sqrt(1 - a / a')          formula 16
//! x'    = sqrt(a') x0 + sqrt(1 - a' - sigma^2) e + sigma noise
//! ```
//!
//! Inversion takes the same steps from their ends to their beginnings, still asking the network at the timestep of the
//! noisier side (diffusers' `DDIMInverseScheduler`): what the walk would have begun with to end at a picture.

use candle_core::Tensor;
use flow_engine::{Problem, Result};

use super::walk::{Draw, Sampler, Step, fresh};
use super::{Estimate, Level, NoiseSchedule};
use crate::sdxl::config::Spacing;

/// A walk of DDIM, in variance preserving latents.
#[derive(Debug, Clone)]
pub struct Ddim {
    steps: Vec<Step>,
    eta: f64,
    /// The bound of predicted pictures, if they are clipped.
    clip: Option<f64>,
}

impl Ddim {
    /// A walk of `steps` steps. `eta` is the share of fresh noise: 0 adds none, 1 is DDPM's.
    ///
    /// Every step goes back `train / steps` timesteps, whatever the spacing.
    ///
    /// # Errors
    /// No step or too many, an `eta` outside of 0..=1.
    pub fn new(schedule: &NoiseSchedule, steps: usize, spacing: Spacing, eta: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&eta) {
            return Err(Problem::new(format!("`eta` is {eta}")).hint("take 0 to 1").into());
        }
        let config = schedule.config();
        let timesteps = schedule.timesteps(steps, spacing)?;
        let stride = (config.num_train_timesteps / steps) as i64;
        let level = |timestep: i64| Level::preserving(schedule.alpha(timestep));
        let step =
            |t: usize| Step { timestep: t as f64, from: level(t as i64), to: level(t as i64 - stride) };
        let clip = config.clip_sample.then_some(config.clip_sample_range);
        Ok(Self { steps: timesteps.into_iter().map(step).collect(), eta, clip })
    }

    /// The walk from a picture to the noise that it could have come from. It adds no noise.
    #[must_use]
    pub fn inverse(mut self) -> Self {
        self.eta = 0.0;
        self.steps.reverse();
        for step in &mut self.steps {
            std::mem::swap(&mut step.from, &mut step.to);
        }
        self
    }

    /// The standard deviation of a step's fresh noise.
    fn sigma(&self, Step { from, to, .. }: Step) -> f64 {
        let kept = (from.signal / to.signal).powi(2);
        self.eta * to.noise / from.noise * (1.0 - kept).max(0.0).sqrt()
    }
}

impl Sampler for Ddim {
    fn name(&self) -> &'static str {
        "DDIM"
    }

    fn eta(&self) -> f64 {
        self.eta
    }

    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn step(
        &self,
        i: usize,
        x: &Tensor,
        now: &Estimate,
        _: Option<&Estimate>,
        draw: &mut Draw<'_>,
    ) -> Result<Tensor> {
        let step = self.steps[i];
        let sigma = if self.eta > 0.0 { self.sigma(step) } else { 0.0 };
        let towards = (step.to.noise.powi(2) - sigma * sigma).max(0.0).sqrt();
        let denoised = match self.clip {
            Some(range) => now.denoised.clamp(-range, range)?,
            None => now.denoised.clone(),
        };
        let next = ((denoised * step.to.signal)? + (&now.noise * towards)?)?;
        if self.eta == 0.0 {
            return Ok(next);
        }
        Ok((next + (fresh(x, draw)? * sigma)?)?)
    }
}
