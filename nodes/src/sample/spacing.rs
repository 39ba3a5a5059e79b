//! Where the steps of sampling lie among the timesteps of training, and how much noise they have.
//!
//! Samplers differ in this by small things that change every picture; each rule here is one of diffusers', whose
//! timesteps are rounded as numpy rounds, half to even, and whose sigmas are rounded to float32.

use flow_engine::{Problem, Result};

use super::walk::Step;
use super::{Level, NoiseSchedule};
use crate::sdxl::config::Spacing;

/// The exponent of Karras et al. 2022, arXiv 2206.00364, formula 5.
const RHO: f64 = 7.0;
/// The share of signal at a timestep of pure noise, for samplers that divide by it, as in diffusers.
const LEAST_SIGNAL: f32 = 1.0 / (1 << 24) as f32;

impl NoiseSchedule {
    /// The timesteps of `steps` steps, falling: DDIM's.
    ///
    /// # Errors
    /// No step, or more than there are timesteps.
    pub fn timesteps(&self, steps: usize, spacing: Spacing) -> Result<Vec<usize>> {
        self.check_steps(steps, self.config().num_train_timesteps)?;
        Ok(self.rounded(&self.spread(steps, spacing)))
    }

    /// The same, but [`Spacing::Linspace`] is not rounded: Euler's. Rounded to float32.
    ///
    /// # Errors
    /// No step, or more than there are timesteps.
    pub fn timesteps_unrounded(&self, steps: usize, spacing: Spacing) -> Result<Vec<f64>> {
        self.check_steps(steps, self.config().num_train_timesteps)?;
        let last = (self.config().num_train_timesteps - 1) as f64;
        let spread = self.spread(steps, spacing);
        Ok(spread.into_iter().map(|t| f64::from(t.clamp(0.0, last) as f32)).collect())
    }

    /// The timesteps at which `steps` intervals begin, falling: DPM-Solver++'s. [`Spacing::Leading`] and
    /// [`Spacing::Linspace`] spread one point more, at which nothing is asked.
    ///
    /// # Errors
    /// No step, or as many as there are timesteps.
    pub fn timesteps_of_intervals(&self, steps: usize, spacing: Spacing) -> Result<Vec<usize>> {
        self.check_steps(steps, self.config().num_train_timesteps - 1)?;
        let points = if spacing == Spacing::Trailing { steps } else { steps + 1 };
        let mut spread = self.spread(points, spacing);
        spread.truncate(spread.len() - (points - steps));
        Ok(self.rounded(&spread))
    }

    fn check_steps(&self, steps: usize, most: usize) -> Result<()> {
        let train = self.config().num_train_timesteps;
        match steps {
            0 => Err(Problem::new("0 steps are no walk").hint(format!("write 1 to {most}")).into()),
            _ if steps > train => {
                let message = format!("{steps} steps are more than the {train} timesteps of the model");
                Err(Problem::new(message).hint(format!("write at most {most}")).into())
            }
            _ if steps > most => {
                let message = format!("{steps} steps have no room among the {train} timesteps of the model");
                Err(Problem::new(message).hint(format!("write at most {most}")).into())
            }
            _ => Ok(()),
        }
    }

    /// So many timesteps, falling.
    fn spread(&self, points: usize, spacing: Spacing) -> Vec<f64> {
        let train = self.config().num_train_timesteps;
        let (all, n) = (train as f64, points as f64);
        match spacing {
            Spacing::Leading => {
                let offset = self.config().steps_offset;
                (0..points).rev().map(|i| (i * (train / points) + offset) as f64).collect()
            }
            Spacing::Trailing => {
                // numpy's arange: as many as fit, each the first plus a multiple of the distance
                let distance = (all - all / n) - all;
                let count = (-all / -(all / n)).ceil() as usize;
                (0..count).map(|i| (all + i as f64 * distance).round_ties_even() - 1.0).collect()
            }
            Spacing::Linspace => {
                let distance = if points > 1 { (all - 1.0) / (n - 1.0) } else { 0.0 };
                let at = |i: usize| if i > 0 && i + 1 == points { all - 1.0 } else { i as f64 * distance };
                (0..points).rev().map(at).collect()
            }
        }
    }

    fn rounded(&self, timesteps: &[f64]) -> Vec<usize> {
        let last = self.config().num_train_timesteps - 1;
        timesteps.iter().map(|t| (t.round_ties_even().max(0.0) as usize).min(last)).collect()
    }

    /// The noise to signal ratio of a timestep of training.
    fn sigma_at(&self, timestep: usize) -> f32 {
        let mut alpha = self.alphas_cumprod()[timestep];
        if self.config().rescale_betas_zero_snr && timestep + 1 == self.alphas_cumprod().len() {
            alpha = LEAST_SIGNAL;
        }
        ((1.0 - alpha) / alpha).sqrt()
    }

    /// The noise to signal ratio of any `timestep` from 0 to the last one, on straight lines between the whole ones.
    pub fn sigma(&self, timestep: f64) -> f64 {
        let below = timestep.floor() as usize;
        let at = |t: usize| f64::from(self.sigma_at(t.min(self.alphas_cumprod().len() - 1)));
        let (low, high) = (at(below), at(below + 1));
        f64::from((low + (high - low) * timestep.fract()) as f32)
    }

    /// So many noise to signal ratios from the largest of training to the smallest, falling, whose `1 / RHO`-th powers
    /// lie evenly.
    pub fn karras_sigmas(&self, steps: usize) -> Vec<f64> {
        let root = |sigma: f32| f64::from(sigma).powf(1.0 / RHO);
        let (most, least) = (root(self.sigma_at(self.alphas_cumprod().len() - 1)), root(self.sigma_at(0)));
        let at = |i: usize| if steps > 1 { i as f64 / (steps - 1) as f64 } else { 0.0 };
        (0..steps).map(|i| (most + at(i) * (least - most)).powf(RHO)).collect()
    }

    /// The timestep of a noise to signal ratio, on straight lines between the logarithms of the whole ones.
    pub fn timestep_of(&self, sigma: f64) -> f64 {
        let log = |t: usize| f64::from(self.sigma_at(t).ln());
        let (sigma, last) = (sigma.max(1e-10).ln(), self.alphas_cumprod().len() - 1);
        let below = (0..last).rev().find(|&t| log(t) <= sigma).unwrap_or(0);
        let (low, high) = (log(below), log(below + 1));
        below as f64 + ((low - sigma) / (low - high)).clamp(0.0, 1.0)
    }
}

impl Step {
    /// Steps from each of the falling `sigmas` to the next, the last one to 0. One timestep for each.
    pub(super) fn down(timesteps: &[f64], sigmas: &[f64], level: fn(f64) -> Level) -> Vec<Self> {
        let sigmas: Vec<f64> = sigmas.iter().map(|&sigma| f64::from(sigma as f32)).chain([0.0]).collect();
        let pairs = sigmas.windows(2).zip(timesteps);
        pairs.map(|(pair, &timestep)| Self { timestep, from: level(pair[0]), to: level(pair[1]) }).collect()
    }
}
