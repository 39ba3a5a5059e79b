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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;
    use flow_engine::Cancelled;

    use super::*;
    use crate::sample::guidance::TimeIds;
    use crate::sample::noise::{Generator, randn_each};
    use crate::sdxl::config::SchedulerConfig;
    use crate::sdxl::{Checkpoint, Compute};

    fn schedule(settings: serde_json::Value) -> NoiseSchedule {
        NoiseSchedule::new(&serde_json::from_value::<SchedulerConfig>(settings).unwrap())
    }

    fn numbers(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_perfect_prediction_walks_home() {
        let schedule =
            schedule(serde_json::json!({ "beta_schedule": "scaled_linear", "set_alpha_to_one": true }));
        let (x0, e) = (
            Generator::new(1).randn(&[1, 1, 4, 4]).unwrap(),
            Generator::new(2).randn(&[1, 1, 4, 4]).unwrap(),
        );
        let ddim = Ddim::new(&schedule, 10, Spacing::Trailing, 0.0).unwrap();
        let mut x = schedule.add_noise(&x0, &e, &ddim.timesteps()[..1]).unwrap();
        for &t in ddim.timesteps() {
            x = ddim.step(&x, &e, t, None).unwrap();
        }
        let worst = numbers(&(x - x0).unwrap()).into_iter().fold(0f32, |worst, d| worst.max(d.abs()));
        assert!(worst < 1e-4, "{worst}");
    }

    #[test]
    fn pure_noise_says_nothing_to_a_network_that_predicts_noise() {
        let schedule = schedule(serde_json::json!({ "rescale_betas_zero_snr": true }));
        let x = Generator::new(1).randn(&[1, 1, 4, 4]).unwrap();
        let ddim = Ddim::new(&schedule, 5, Spacing::Trailing, 0.0).unwrap();
        let said = format!("{:#}", ddim.step(&x, &x, ddim.timesteps()[0], None).unwrap_err());
        assert!(said.starts_with("timestep 999 is pure noise"), "{said}");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let schedule = schedule(serde_json::json!({}));
        for (steps, eta) in [(0, 0.0), (1001, 0.0), (10, 1.5), (10, f64::NAN)] {
            assert!(Ddim::new(&schedule, steps, Spacing::Leading, eta).is_err(), "{steps} steps, eta {eta}");
        }
        assert_eq!(schedule.timesteps(1, Spacing::Linspace).unwrap(), [0]);
        assert_eq!(schedule.timesteps(1000, Spacing::Trailing).unwrap()[0], 999);
    }

    #[test]
    fn a_walk_stops_where_it_is_told_to_and_draws_each_picture_from_its_own_seed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini-sdxl");
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let (unet, text) =
            (checkpoint.load_unet(&Compute::cpu()), checkpoint.load_text_encoders(&Compute::cpu()));
        let (ids, ids_2) = checkpoint.tokenizers().unwrap().encode(&["a cat", "a dog"]).unwrap();
        let text = text.unwrap().forward(&ids, &ids_2).unwrap();
        let (unet, time_ids) = (unet.unwrap(), TimeIds::whole(32, 32).tensor(2, &Device::Cpu).unwrap());
        let denoiser = Denoiser::new(&unet, &text, None, &time_ids, 1.0).unwrap();

        let shape = [4, 8, 8];
        let mut generators = [Generator::new(1), Generator::new(2)];
        let latents = randn_each(&mut generators, &shape).unwrap();
        assert_eq!(numbers(&latents.get(1).unwrap()), numbers(&Generator::new(2).randn(&shape).unwrap()));

        let mut steps = Vec::new();
        let mut on_step = |done: usize, x: &Tensor| {
            steps.push((done, x.dims().to_vec()));
            if done == 2 { Err(Cancelled.into()) } else { Ok(()) }
        };
        let ddim =
            Ddim::new(&NoiseSchedule::new(checkpoint.scheduler_config()), 10, Spacing::Leading, 1.0).unwrap();
        let mut draw = |shape: &[usize]| randn_each(&mut generators, &shape[1..]);
        let stopped = ddim.sample(&denoiser, &latents, &mut draw, &mut on_step).unwrap_err();
        assert!(stopped.is::<Cancelled>());
        assert_eq!(steps, [(1, vec![2, 4, 8, 8]), (2, vec![2, 4, 8, 8])]);
    }

    #[test]
    fn guidance_needs_something_to_guide_away_from() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini-sdxl");
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let unet = checkpoint.load_unet(&Compute::cpu()).unwrap();
        let text = checkpoint.load_text_encoders(&Compute::cpu()).unwrap();
        let (ids, ids_2) = checkpoint.tokenizers().unwrap().encode(&["a cat"]).unwrap();
        let text = text.forward(&ids, &ids_2).unwrap();
        let time_ids = TimeIds::whole(64, 64).tensor(1, &Device::Cpu).unwrap();
        assert!(Denoiser::new(&unet, &text, None, &time_ids, 5.0).is_err());
        assert!(Denoiser::new(&unet, &text, None, &time_ids, f64::NAN).is_err());
        assert!(Denoiser::new(&unet, &text, None, &time_ids, 1.0).is_ok());
    }
}
