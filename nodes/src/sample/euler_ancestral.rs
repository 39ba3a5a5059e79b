//! Euler steps with fresh noise (k-diffusion's `sample_euler_ancestral`), as diffusers'
//! `EulerAncestralDiscreteScheduler` takes them.
//!
//! A step goes down to `down`, further than it should, and noise of `up` brings it back to `sigma'`. Of all ways to do
//! that, this is the one of DDPM's posterior (Ho et al. 2020, arXiv 2006.11239):
//!
//! ```text
//! up^2   = sigma'^2 (sigma^2 - sigma'^2) / sigma^2
//! down^2 = sigma'^2 - up^2
//! x'     = x + (down - sigma) e + up noise
//! ```

use candle_core::Tensor;
use flow_engine::Result;

use super::walk::{Draw, Sampler, Step, fresh};
use super::{Estimate, Euler, NoiseSchedule};
use crate::sdxl::config::Spacing;

/// A walk of Euler steps with fresh noise in all but the last.
#[derive(Debug, Clone)]
pub struct EulerAncestral {
    /// The levels that the walk passes, and where it begins.
    euler: Euler,
}

impl EulerAncestral {
    /// A walk of `steps` steps, down to no noise.
    ///
    /// # Errors
    /// No step or too many.
    pub fn new(schedule: &NoiseSchedule, steps: usize, spacing: Spacing) -> Result<Self> {
        Ok(Self { euler: Euler::new(schedule, steps, spacing)? })
    }
}

/// How far a step from `sigma` to `next` goes down, and the standard deviation of the noise that brings it up again.
fn down_and_up(sigma: f64, next: f64) -> (f64, f64) {
    let up = next * ((sigma * sigma - next * next).max(0.0)).sqrt() / sigma;
    ((next * next - up * up).max(0.0).sqrt(), up)
}

impl Sampler for EulerAncestral {
    fn name(&self) -> &'static str {
        "Euler a"
    }

    fn steps(&self) -> &[Step] {
        self.euler.steps()
    }

    fn initial_scale(&self) -> f64 {
        self.euler.initial_scale()
    }

    fn step(
        &self,
        i: usize,
        x: &Tensor,
        now: &Estimate,
        _: Option<&Estimate>,
        draw: &mut Draw<'_>,
    ) -> Result<Tensor> {
        let Step { from, to, .. } = self.steps()[i];
        let (down, up) = down_and_up(from.noise, to.noise);
        let next = (x + (&now.noise * (down - from.noise))?)?;
        if up == 0.0 {
            return Ok(next);
        }
        Ok((next + (fresh(x, draw)? * up)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Generator;
    use crate::sample::testing::{apart, schedule};

    #[test]
    fn what_a_step_takes_too_much_the_noise_gives_back() {
        for (sigma, next) in [(14.6, 8.3), (1.0, 0.999), (0.5, 0.01), (0.3, 0.0)] {
            let (down, up) = down_and_up(sigma, next);
            assert!((up * up + down * down - next * next).abs() < 1e-12, "{sigma} to {next}");
            // DDPM's posterior mean keeps next^2 / sigma of the noise.
            assert!((down - next * next / sigma).abs() < 1e-12, "{sigma} to {next}");
        }
    }

    /// With an estimate that is right, a step ends at the right level: x0 + down e + up noise.
    #[test]
    fn a_step_ends_at_its_level_and_the_last_one_at_the_picture_without_noise() {
        let randn = |seed| Generator::new(seed).randn(&[1, 4, 32, 32]).unwrap();
        let (x0, e) = (randn(1), randn(2));
        let sampler = EulerAncestral::new(&schedule(), 5, Spacing::Trailing).unwrap();
        let now = Estimate { denoised: x0.clone(), noise: e.clone() };
        for (i, step) in sampler.steps().iter().enumerate() {
            let x = step.from.mix(&x0, &e).unwrap();
            let mut drawn = 0;
            let mut draw = |shape: &[usize]| {
                drawn += 1;
                Generator::new(3 + i as u64).randn(shape)
            };
            let found = sampler.step(i, &x, &now, None, &mut draw).unwrap();
            let (down, up) = down_and_up(step.from.noise, step.to.noise);
            let expected =
                ((&x0 + (&e * down).unwrap()).unwrap() + (randn(3 + i as u64) * up).unwrap()).unwrap();
            assert!(apart(&found, &expected) < 1e-4, "step {i}");
            assert_eq!(drawn, usize::from(i + 1 < sampler.steps().len()), "step {i}");
            if drawn == 0 {
                assert!(apart(&found, &x0) < 1e-5);
            }
            let noise =
                ((found - &x0).unwrap().sqr().unwrap().mean_all().unwrap()).to_scalar::<f32>().unwrap();
            let sigma = step.to.noise as f32;
            assert!((noise.sqrt() - sigma).abs() <= 0.05 * sigma + 1e-5, "step {i}: {noise} for {sigma}");
        }
    }

    #[test]
    fn without_its_noise_it_is_an_euler_step_to_the_lower_level() {
        let x = Generator::new(1).randn(&[1, 1, 4, 4]).unwrap();
        let e = Generator::new(2).randn(&[1, 1, 4, 4]).unwrap();
        let sampler = EulerAncestral::new(&schedule(), 4, Spacing::Leading).unwrap();
        let now = Estimate { denoised: x.clone(), noise: e.clone() };
        let found =
            sampler.step(1, &x, &now, None, &mut |shape| Ok(Tensor::zeros(shape, x.dtype(), x.device())?));
        let Step { from, to, .. } = sampler.steps()[1];
        let (down, _) = down_and_up(from.noise, to.noise);
        let expected = (&x + (e * (down - from.noise)).unwrap()).unwrap();
        assert_eq!(apart(&found.unwrap(), &expected), 0.0);
    }
}
