//! Euler steps (Karras et al. 2022, arXiv 2206.00364, algorithm 2 without churn), as diffusers'
//! `EulerDiscreteScheduler` takes them.
//!
//! In variance exploding latents `x = x0 + sigma e` the path has slope `dx/dsigma = (x - x0) / sigma = e`:
//!
//! ```text
//! x' = x + (sigma' - sigma) e
//! ```

use candle_core::Tensor;
use flow_engine::Result;

use super::walk::{Draw, Sampler, Step};
use super::{Estimate, Level, NoiseSchedule};
use crate::sdxl::config::Spacing;

/// A walk of Euler steps.
#[derive(Debug, Clone)]
pub struct Euler {
    steps: Vec<Step>,
    initial_scale: f64,
}

impl Euler {
    /// A walk of `steps` steps, down to no noise.
    ///
    /// # Errors
    /// No step or too many.
    pub fn new(schedule: &NoiseSchedule, steps: usize, spacing: Spacing) -> Result<Self> {
        let steps = steps_down(schedule, steps, spacing)?;
        Ok(Self { initial_scale: initial_scale(&steps, spacing), steps })
    }
}

/// Steps between the levels of Euler's timesteps, the last one to no noise.
fn steps_down(schedule: &NoiseSchedule, steps: usize, spacing: Spacing) -> Result<Vec<Step>> {
    let timesteps = schedule.timesteps_unrounded(steps, spacing)?;
    let sigmas: Vec<f64> = timesteps.iter().map(|&t| schedule.sigma(t)).collect();
    Ok(Step::down(&timesteps, &sigmas, Level::exploding))
}

/// diffusers' `init_noise_sigma`: the size of the latents at the first step, or where the walk begins at the very last
/// timestep, of the noise alone.
fn initial_scale(steps: &[Step], spacing: Spacing) -> f64 {
    let first = steps[0].from;
    match spacing {
        Spacing::Leading => first.scale(),
        Spacing::Trailing | Spacing::Linspace => first.noise,
    }
}

impl Sampler for Euler {
    fn name(&self) -> &'static str {
        "Euler"
    }

    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn initial_scale(&self) -> f64 {
        self.initial_scale
    }

    fn step(
        &self,
        i: usize,
        x: &Tensor,
        now: &Estimate,
        _: Option<&Estimate>,
        _: &mut Draw<'_>,
    ) -> Result<Tensor> {
        let Step { from, to, .. } = self.steps[i];
        Ok((x + (&now.noise * (to.noise - from.noise))?)?)
    }
}
