//! What every sampler must do, whatever its formula.

use std::path::Path;

use candle_core::{Device, Tensor};
use flow_engine::Cancelled;
use serde_json::json;

use super::noise::randn_each;
use super::testing::{apart, schedule, schedule_with};
use super::*;
use crate::sample::guidance::TimeIds;
use crate::sdxl::config::{Prediction, Spacing};
use crate::sdxl::{Checkpoint, Compute, TextEmbeds, UNet};

const SPACINGS: [Spacing; 3] = [Spacing::Leading, Spacing::Trailing, Spacing::Linspace];

/// Every sampler with so many steps, without DDIM's fresh noise.
fn samplers(schedule: &NoiseSchedule, steps: usize, spacing: Spacing) -> Vec<Box<dyn Sampler>> {
    vec![
        Box::new(Ddim::new(schedule, steps, spacing, 0.0).unwrap()),
        Box::new(Euler::new(schedule, steps, spacing).unwrap()),
        Box::new(EulerAncestral::new(schedule, steps, spacing).unwrap()),
        Box::new(Dpmpp::new(schedule, steps, spacing, false).unwrap()),
        Box::new(Dpmpp::new(schedule, steps, spacing, true).unwrap()),
    ]
}

fn randn(seed: u64) -> Tensor {
    Generator::new(seed).randn(&[1, 1, 4, 4]).unwrap()
}

#[test]
fn a_perfect_estimate_walks_home_from_noise_and_from_every_later_start() {
    let schedule = schedule_with(json!({ "set_alpha_to_one": true }));
    let (x0, e) = (randn(1), randn(2));
    for spacing in SPACINGS {
        for sampler in samplers(&schedule, 10, spacing) {
            for start in [0, 4, 9] {
                let mut x = sampler.steps()[start].from.mix(&x0, &e).unwrap();
                let mut before = None;
                for (i, step) in sampler.steps().iter().enumerate().skip(start) {
                    // What a perfect network says of these latents, whatever noise was added on the way.
                    let noise =
                        ((&x - (&x0 * step.from.signal).unwrap()).unwrap() / step.from.noise).unwrap();
                    let now = Estimate { denoised: x0.clone(), noise };
                    let mut draw = |shape: &[usize]| Generator::new(i as u64).randn(shape);
                    x = sampler.step(i, &x, &now, before.as_ref(), &mut draw).unwrap();
                    before = Some(now);
                }
                let lands = sampler.steps()[9].to;
                let apart = apart(&x, &x0);
                // DDIM's strides leave a little noise where the last step is not to the end.
                let left = 5.0 * lands.noise as f32 + (1.0 - lands.signal as f32) * 5.0;
                assert!(apart <= left + 1e-4, "{} {spacing:?} from {start}: {apart}", sampler.name());
            }
        }
    }
}

#[test]
fn levels_fall_from_step_to_step_and_joined_steps_meet() {
    for rescale in [false, true] {
        let schedule = schedule_with(json!({ "rescale_betas_zero_snr": rescale }));
        for spacing in SPACINGS {
            for steps in [1, 2, 7, 50, 999] {
                for sampler in samplers(&schedule, steps, spacing) {
                    let of = format!("{} {spacing:?} {steps}", sampler.name());
                    assert!(sampler.steps().len() >= steps, "{of}");
                    assert!(sampler.initial_scale().is_finite(), "{of}");
                    for step in sampler.steps() {
                        let finite = [step.timestep, step.from.signal, step.from.noise, step.to.noise];
                        assert!(finite.iter().all(|x| x.is_finite()), "{of}: {step:?}");
                        assert!((0.0..=999.0).contains(&step.timestep), "{of}: {step:?}");
                        assert!(step.from.noise >= step.to.noise, "{of}: {step:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn no_walk_of_any_length_makes_a_number_that_is_none() {
    let (x, e) = (randn(1), randn(2));
    for prediction in ["epsilon", "v_prediction"] {
        let changes =
            json!({ "prediction_type": prediction, "rescale_betas_zero_snr": prediction == "v_prediction" });
        for steps in [1, 2, 3, 500, 999] {
            for spacing in SPACINGS {
                for sampler in samplers(&schedule_with(changes.clone()), steps, spacing) {
                    let (mut x, mut before) = ((&x * sampler.initial_scale()).unwrap(), None);
                    for (i, step) in sampler.steps().iter().enumerate() {
                        let prediction = if prediction == "epsilon" {
                            Prediction::Epsilon
                        } else {
                            Prediction::VPrediction
                        };
                        let now = step.from.estimate(&x, &e, prediction).unwrap();
                        x = sampler.step(i, &x, &now, before.as_ref(), &mut |_| Ok(e.clone())).unwrap();
                        before = Some(now);
                    }
                    let sum = x.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
                    assert!(sum.is_finite(), "{} {spacing:?} {steps} {prediction}", sampler.name());
                }
            }
        }
    }
}

#[test]
fn ddim_without_noise_and_euler_walk_the_same_path() {
    // x / sqrt(a) of DDIM is Euler's x (Song et al. 2020, formula 14), where their levels agree.
    let schedule = schedule();
    let (ddim, euler) = (
        Ddim::new(&schedule, 10, Spacing::Leading, 0.0).unwrap(),
        Euler::new(&schedule, 10, Spacing::Leading).unwrap(),
    );
    for i in 0..9 {
        let (a, b) = (ddim.steps()[i], euler.steps()[i]);
        let (x, e) = (randn(1), randn(2));
        let step = |sampler: &dyn Sampler, step: Step| {
            let x = (&x * step.from.scale()).unwrap();
            let now = step.from.estimate(&x, &e, Prediction::Epsilon).unwrap();
            let x = sampler.step(i, &x, &now, None, &mut |_| unreachable!()).unwrap();
            (x / step.to.signal).unwrap()
        };
        // Both see the same x in the network's scale; compare in Euler's.
        let worst = apart(&step(&ddim, a), &step(&euler, b));
        assert!(worst < 1e-4 * b.from.noise as f32 + 1e-5, "step {i}: {worst}");
    }
}

#[test]
fn inversion_of_a_constant_prediction_comes_back() {
    let ddim = Ddim::new(&schedule(), 10, Spacing::Leading, 0.0).unwrap();
    let inverse = ddim.clone().inverse();
    let (x0, e) = (randn(1), randn(2));
    let go = |sampler: &Ddim, mut x: Tensor| {
        for (i, step) in sampler.steps().iter().enumerate() {
            let now = step.from.estimate(&x, &e, Prediction::Epsilon).unwrap();
            x = sampler.step(i, &x, &now, None, &mut |_| unreachable!()).unwrap();
        }
        x
    };
    let noised = go(&inverse, x0.clone());
    assert!(apart(&noised, &x0) > 0.5);
    assert!(apart(&go(&ddim, noised), &x0) < 1e-5);
}

#[test]
fn strength_takes_the_last_steps_as_diffusers_counts_them() {
    let starts =
        [(10, 0.6), (10, 1.0), (10, 0.05), (100, 0.29), (30, 0.75), (1, 1.0)].map(|(n, s)| start_of(n, s));
    assert_eq!(starts, [4, 0, 10, 72, 8, 0]); // 100 * 0.29 is 28.999999999999996
}

#[test]
fn settings_out_of_range_are_refused() {
    let schedule = schedule();
    for (steps, eta) in [(0, 0.0), (1001, 0.0), (10, 1.5), (10, f64::NAN)] {
        assert!(Ddim::new(&schedule, steps, Spacing::Leading, eta).is_err(), "{steps} steps, eta {eta}");
    }
    for steps in [0, 1000, 1001] {
        assert!(Dpmpp::new(&schedule, steps, Spacing::Leading, true).is_err(), "{steps} steps");
    }
    assert_eq!(schedule.timesteps(1, Spacing::Linspace).unwrap(), [0]);
    assert_eq!(schedule.timesteps(1000, Spacing::Trailing).unwrap()[0], 999);
}

/// The embedded model and two prompts.
fn mini() -> (Checkpoint, UNet, TextEmbeds) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini-sdxl");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let unet = checkpoint.load_unet(&Compute::cpu()).unwrap();
    let text = checkpoint.load_text_encoders(&Compute::cpu()).unwrap();
    let (ids, ids_2) = checkpoint.tokenizers().unwrap().encode(&["a cat", "a dog"]).unwrap();
    let text = text.forward(&ids, &ids_2).unwrap();
    (checkpoint, unet, text)
}

#[test]
fn a_walk_stops_where_it_is_told_to_and_draws_each_picture_from_its_own_seed() {
    let (checkpoint, unet, text) = mini();
    let time_ids = TimeIds::whole(32, 32).tensor(2, &Device::Cpu).unwrap();
    let denoiser = Denoiser::new(&unet, Prediction::Epsilon, &text, None, &time_ids, 1.0).unwrap();

    let shape = [4, 8, 8];
    let mut generators = [Generator::new(1), Generator::new(2)];
    let latents = randn_each(&mut generators, &shape).unwrap();
    assert_eq!(apart(&latents.get(1).unwrap(), &Generator::new(2).randn(&shape).unwrap()), 0.0);

    let mut steps = Vec::new();
    let mut on_step = |done: usize, x: &Tensor| {
        steps.push((done, x.dims().to_vec()));
        if done == 2 { Err(Cancelled.into()) } else { Ok(()) }
    };
    let ddim =
        Ddim::new(&NoiseSchedule::new(checkpoint.scheduler_config()), 10, Spacing::Leading, 1.0).unwrap();
    let mut draw = |shape: &[usize]| randn_each(&mut generators, &shape[1..]);
    let stopped = walk(&ddim, 0, &denoiser, &latents, &mut draw, &mut on_step).unwrap_err();
    assert!(stopped.is::<Cancelled>());
    assert_eq!(steps, [(1, vec![2, 4, 8, 8]), (2, vec![2, 4, 8, 8])]);
}

#[test]
fn guidance_needs_something_to_guide_away_from() {
    let (_, unet, text) = mini();
    let time_ids = TimeIds::whole(64, 64).tensor(2, &Device::Cpu).unwrap();
    let denoiser = |guidance| Denoiser::new(&unet, Prediction::Epsilon, &text, None, &time_ids, guidance);
    assert!(denoiser(5.0).is_err());
    assert!(denoiser(f64::NAN).is_err());
    assert!(denoiser(1.0).is_ok());
    assert!(denoiser(1.0).unwrap().rescale(1.5).is_err());
}
