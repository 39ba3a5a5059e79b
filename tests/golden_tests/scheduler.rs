//! Noise schedules, timesteps and single steps.

use flow_nodes::sample::{Ddim, NoiseSchedule};
use flow_nodes::sdxl::config::Spacing;
use serde_json::{Value, json};

use super::support::{Golden, close, close_to_rms, scheduler};

/// Both tables are float32; the measured error of one against float64 is 5e-7.
const TABLE: f64 = 2e-6;
/// One step in float32, relative to the largest value.
const STEP: f64 = 1e-5;

fn spacing(name: &str) -> Spacing {
    serde_json::from_value(Value::String(name.into())).unwrap()
}

fn schedule(changes: &[(&str, Value)]) -> Option<NoiseSchedule> {
    scheduler(changes).map(|config| NoiseSchedule::new(&config))
}

#[test]
fn golden_shares_of_signal() {
    let Some(golden) = Golden::open("sampling/schedulers.safetensors") else { return };
    for (key, rescaled) in [("alphas_cumprod", false), ("alphas_cumprod.zero_snr", true)] {
        let Some(schedule) = schedule(&[("rescale_betas_zero_snr", rescaled.into())]) else { return };
        let expected = golden.get(key);
        let found = candle_core::Tensor::new(schedule.alphas_cumprod(), expected.device()).unwrap();
        close(key, &found, expected, TABLE);
    }
}

#[test]
fn golden_timesteps_of_ddim_in_every_spacing() {
    let (Some(golden), Some(schedule)) = (Golden::open("sampling/schedulers.safetensors"), schedule(&[]))
    else {
        return;
    };
    let mut seen = 0;
    for key in golden.tensors.keys() {
        let ["ddim", name, steps, "timesteps"] = key.split('.').collect::<Vec<_>>()[..] else { continue };
        let found = schedule.timesteps(steps.parse().unwrap(), spacing(name)).unwrap();
        assert_eq!(found, golden.timesteps(key), "{key}");
        seen += 1;
    }
    assert!(seen > 0);
}

/// `one.ddim.epsilon.t901.eta0.6.prev` to prediction, timestep and eta.
fn one_step(key: &str) -> Option<(&str, usize, f64)> {
    let (prediction, rest) = key.strip_prefix("one.ddim.")?.strip_suffix(".prev")?.split_once(".t")?;
    let (t, eta) = rest.split_once(".eta")?;
    Some((prediction, t.parse().ok()?, eta.parse().ok()?))
}

/// How many steps the single steps belong to: the walk that begins at the largest of their timesteps.
fn steps_of(golden: &Golden) -> usize {
    let first = golden.tensors.keys().filter_map(|key| Some(one_step(key)?.1)).max().unwrap();
    let walks = golden.tensors.keys().filter_map(|key| {
        let steps = key.strip_prefix("ddim.leading.")?.strip_suffix(".timesteps")?;
        (golden.timesteps(key)[0] == first).then(|| steps.parse().unwrap())
    });
    walks.min().expect("a walk that begins where the single steps do")
}

#[test]
fn golden_single_steps_of_ddim() {
    let Some(golden) = Golden::open("sampling/schedulers.safetensors") else { return };
    let (x, prediction, noise) =
        (golden.get("one.sample"), golden.get("one.model_output"), golden.get("one.noise"));
    let steps = steps_of(&golden);
    for (key, expected) in &golden.tensors {
        let Some((predicts, t, eta)) = one_step(key) else { continue };
        let Some(schedule) = schedule(&[("prediction_type", json!(predicts))]) else { return };
        let ddim = Ddim::new(&schedule, steps, spacing("leading"), eta).unwrap();
        close_to_rms(key, &ddim.step(x, prediction, t, Some(noise)).unwrap(), expected, STEP);

        let key = format!("one.ddim.{predicts}.t{t}.pred_x0");
        let denoised = schedule.split(x, prediction, t).unwrap().denoised;
        close_to_rms(&key, &denoised, golden.get(&key), STEP);
    }
}

#[test]
fn golden_noise_is_added_as_in_training() {
    let (Some(golden), Some(schedule)) = (Golden::open("sampling/schedulers.safetensors"), schedule(&[]))
    else {
        return;
    };
    let (x0, noise, t) = (golden.get("one.x0"), golden.get("one.noise"), golden.timesteps("one.timesteps"));
    close_to_rms("add_noise", &schedule.add_noise(x0, noise, &t).unwrap(), golden.get("one.add_noise"), STEP);
    close_to_rms("velocity", &schedule.velocity(x0, noise, &t).unwrap(), golden.get("one.velocity"), STEP);
}
