//! DPM-Solver++ 2M (Lu et al. 2022, arXiv 2211.01095, algorithm 2), as diffusers' `DPMSolverMultistepScheduler` walks
//! it: order 2, midpoint, a last step of order 1 to no noise.
//!
//! With `lambda = ln(signal / noise)`, `h` its growth in this step and `r` the growth of the step before divided by `h`:
//!
//! ```text
//! d  = x0 + (x0 - x0_before) / (2 r)
//! x' = noise' / noise x - signal' (exp(-h) - 1) d
//! ```

use candle_core::Tensor;
use flow_engine::Result;

use super::walk::{Draw, Sampler, Step};
use super::{Estimate, Level, NoiseSchedule};
use crate::sdxl::config::Spacing;

/// A walk of DPM-Solver++ 2M, in variance preserving latents.
#[derive(Debug, Clone)]
pub struct Dpmpp {
    steps: Vec<Step>,
    karras: bool,
}

impl Dpmpp {
    /// A walk of `steps` steps, down to no noise. With `karras` the levels lie as in Karras et al. 2022, formula 5, and
    /// the spacing does not matter.
    ///
    /// # Errors
    /// No step or too many.
    pub fn new(schedule: &NoiseSchedule, steps: usize, spacing: Spacing, karras: bool) -> Result<Self> {
        let timesteps = schedule.timesteps_of_intervals(steps, spacing)?;
        let (timesteps, sigmas) = if karras {
            let sigmas = schedule.karras_sigmas(steps);
            (sigmas.iter().map(|&sigma| schedule.timestep_of(sigma).round_ties_even()).collect(), sigmas)
        } else {
            let timesteps: Vec<_> = timesteps.into_iter().map(|t| t as f64).collect();
            let sigmas = timesteps.iter().map(|&t| schedule.sigma(t)).collect();
            (timesteps, sigmas)
        };
        Ok(Self { steps: Step::down(&timesteps, &sigmas, Level::preserving_sigma), karras })
    }

    /// By how much `lambda` grows in step `i`; infinite in the last one.
    fn growth(&self, i: usize) -> f64 {
        let Step { from, to, .. } = self.steps[i];
        to.lambda() - from.lambda()
    }

    /// The picture to go towards: the estimate, carried on along the line from the last one.
    fn target(&self, i: usize, now: &Estimate, before: Option<&Estimate>) -> Result<Tensor> {
        let Some(before) = before else { return Ok(now.denoised.clone()) };
        let (h, h_before) = (self.growth(i), self.growth(i - 1));
        if h.is_infinite() || h_before == 0.0 {
            return Ok(now.denoised.clone()); // order 1
        }
        let line = (&now.denoised - &before.denoised)?;
        Ok((&now.denoised + (line * (h / (2.0 * h_before)))?)?)
    }
}

impl Sampler for Dpmpp {
    fn name(&self) -> &'static str {
        "DPM++ 2M"
    }

    fn schedule_type(&self) -> Option<&'static str> {
        self.karras.then_some("Karras")
    }

    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn step(
        &self,
        i: usize,
        x: &Tensor,
        now: &Estimate,
        before: Option<&Estimate>,
        _: &mut Draw<'_>,
    ) -> Result<Tensor> {
        let Step { from, to, .. } = self.steps[i];
        let share = to.signal * -(-self.growth(i)).exp_m1();
        Ok(((x * (to.noise / from.noise))? + (self.target(i, now, before)? * share)?)?)
    }
}
