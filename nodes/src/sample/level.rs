//! How much of latents is picture and how much is noise, and what a prediction says of both.
//!
//! Two ways to write the same latents are in use (Song et al. 2021, arXiv 2011.13456): **variance preserving**,
//! `sqrt(a) x0 + sqrt(1 - a) e`, which is what the network takes; and **variance exploding**, `x0 + sigma e`, which is
//! the first divided by `sqrt(a)`. Both are a [`Level`], so a sampler walks in whichever its paper is written in.

use candle_core::Tensor;
use flow_engine::{Problem, Result};

use crate::sdxl::config::Prediction;

/// Latents of this level are `signal x0 + noise e`, with `x0` the picture and `e` standard normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The factor of the picture.
    pub signal: f64,
    /// The factor of the noise.
    pub noise: f64,
}

/// What the network finds in noisy latents; it does not depend on the way in which they are written.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// The latents as they would be without noise, `[b, c, h, w]`.
    pub denoised: Tensor,
    /// The noise in them, `[b, c, h, w]`.
    pub noise: Tensor,
}

impl Level {
    /// Variance preserving, with the share `alpha` of signal (`alphas_cumprod`), 0 to 1.
    pub fn preserving(alpha: f64) -> Self {
        Self { signal: alpha.sqrt(), noise: (1.0 - alpha).sqrt() }
    }

    /// Variance exploding, with noise of standard deviation `sigma`.
    pub fn exploding(sigma: f64) -> Self {
        Self { signal: 1.0, noise: sigma }
    }

    /// Variance preserving, with the noise to signal ratio `sigma`.
    pub fn preserving_sigma(sigma: f64) -> Self {
        let signal = 1.0 / (sigma * sigma + 1.0).sqrt();
        Self { signal, noise: sigma * signal }
    }

    /// By how much these latents are larger than the network takes them, whose variance is 1.
    pub fn scale(self) -> f64 {
        self.signal.hypot(self.noise)
    }

    /// Half the logarithm of the signal to noise ratio, `ln(signal / noise)`; infinite without noise.
    pub fn lambda(self) -> f64 {
        self.signal.ln() - self.noise.ln()
    }

    /// Latents of this level from a picture's `x0` and standard normal `noise`, of one shape.
    pub fn mix(self, x0: &Tensor, noise: &Tensor) -> Result<Tensor> {
        Ok(((x0 * self.signal)? + (noise * self.noise)?)?)
    }

    /// Takes latents `x` of this level apart by what the network said of `x / scale`, all `[b, c, h, w]`.
    ///
    /// From noise `e`, `x0 = (x - noise e) / signal`; from a velocity `v` of variance preserving latents,
    /// `x0 = signal x - noise v` and `e = signal v + noise x`.
    ///
    /// # Errors
    /// Pure noise, if the network predicts noise, and none at all, if it predicts the picture: there is nothing to learn.
    pub fn estimate(self, x: &Tensor, said: &Tensor, prediction: Prediction) -> Result<Estimate> {
        let Self { signal, noise } = self;
        match prediction {
            Prediction::Epsilon if signal == 0.0 => Err(Problem::new(
                "the walk begins at pure noise, and a network that predicts noise says nothing there",
            )
            .hint("`rescale_betas_zero_snr` is for networks that predict v")
            .into()),
            Prediction::Epsilon => {
                Ok(Estimate { denoised: ((x - (said * noise)?)? / signal)?, noise: said.clone() })
            }
            Prediction::Sample if noise == 0.0 => Err(Problem::new(
                "the walk begins without noise, and a network that predicts pictures says nothing there",
            )
            .into()),
            Prediction::Sample => {
                Ok(Estimate { denoised: said.clone(), noise: ((x - (said * signal)?)? / noise)? })
            }
            Prediction::VPrediction => {
                let scale = self.scale();
                let (x, signal, noise) = ((x / scale)?, signal / scale, noise / scale);
                Ok(Estimate {
                    denoised: ((&x * signal)? - (said * noise)?)?,
                    noise: ((said * signal)? + (x * noise)?)?,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Generator;

    fn randn(seed: u64) -> Tensor {
        Generator::new(seed).randn(&[1, 2, 4, 4]).unwrap()
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        let apart = (a - b).unwrap().abs().unwrap().max_all().unwrap();
        apart.to_scalar::<f32>().unwrap()
    }

    /// Every kind of network tells the same two parts, however the latents are written.
    #[test]
    fn what_was_mixed_is_taken_apart_again() {
        let (x0, e) = (randn(1), randn(2));
        for alpha in [0.99, 0.5, 0.02] {
            let here = Level::preserving(alpha);
            let velocity = ((&e * here.signal).unwrap() - (&x0 * here.noise).unwrap()).unwrap();
            let sigma = here.noise / here.signal;
            for level in [here, Level::exploding(sigma), Level::preserving_sigma(sigma)] {
                let x = level.mix(&x0, &e).unwrap();
                for (prediction, said) in [
                    (Prediction::Epsilon, &e),
                    (Prediction::Sample, &x0),
                    (Prediction::VPrediction, &velocity),
                ] {
                    let found = level.estimate(&x, said, prediction).unwrap();
                    let worst = apart(&found.denoised, &x0).max(apart(&found.noise, &e));
                    assert!(worst < 2e-5, "{level:?} {prediction:?}: {worst}");
                }
            }
        }
    }

    #[test]
    fn pure_noise_is_the_noise_and_hides_the_picture() {
        let level = Level::preserving(0.0);
        assert_eq!(apart(&level.mix(&randn(1), &randn(2)).unwrap(), &randn(2)), 0.0);
        let said = level.estimate(&randn(1), &randn(2), Prediction::Epsilon).unwrap_err().to_string();
        assert!(said.starts_with("the walk begins at pure noise"), "{said}");
        let velocity = level.estimate(&randn(1), &randn(2), Prediction::VPrediction).unwrap();
        assert_eq!(apart(&velocity.noise, &randn(1)), 0.0);
    }
}
