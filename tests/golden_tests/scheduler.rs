//! Noise schedules, timesteps and single steps.

use flow_nodes::sample::{Ddim, Dpmpp, Euler, Level, NoiseSchedule, Sampler};
use flow_nodes::sdxl::config::{Prediction, Spacing};
use serde_json::Value;

use super::support::{Golden, close, close_to_rms, json, scheduler};

/// Both tables are float32; the measured error of one against float64 is 5e-7.
const TABLE: f64 = 2e-6;
/// One step in float32, relative to the largest value.
const STEP: f64 = 1e-5;
/// Of a sigma, relative: a few roundings to float32 of a table that is within 5e-7.
const SIGMA: f64 = 2e-6;

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

fn sampler(name: &str, schedule: &NoiseSchedule, steps: usize, spacing: Spacing) -> Box<dyn Sampler> {
    match name {
        "ddim" => Box::new(Ddim::new(schedule, steps, spacing, 0.0).unwrap()),
        "euler" => Box::new(Euler::new(schedule, steps, spacing).unwrap()),
        "dpmpp2m" => Box::new(Dpmpp::new(schedule, steps, spacing, false).unwrap()),
        "dpmpp2m_karras" => Box::new(Dpmpp::new(schedule, steps, spacing, true).unwrap()),
        unknown => panic!("what is the sampler `{unknown}`?"),
    }
}

/// `euler.leading.10.sigmas` to the sampler and the name of the table; none for other keys.
fn table<'k>(key: &'k str, schedule: &NoiseSchedule) -> Option<(&'k str, Box<dyn Sampler>, &'k str)> {
    let [name, of, steps, table] = key.split('.').collect::<Vec<_>>()[..] else { return None };
    Some((name, sampler(name, schedule, steps.parse().ok()?, spacing(of)), table))
}

#[test]
fn golden_timesteps_and_sigmas_of_every_sampler_in_every_spacing() {
    let (Some(golden), Some(schedule)) = (Golden::open("sampling/schedulers.safetensors"), schedule(&[]))
    else {
        return;
    };
    let (mut seen, mut worst, mut moved) = (0, 0f64, 0);
    for key in golden.tensors.keys() {
        let Some((name, sampler, table)) = table(key, &schedule) else { continue };
        let (steps, expected) = (sampler.steps(), golden.numbers(key));
        if table == "timesteps" {
            // Karras' are roundings of an interpolation of logarithms: one off is allowed.
            let may_be_off = if name == "dpmpp2m_karras" { 1.0 } else { 0.0 };
            assert_eq!(steps.len(), expected.len(), "{key}");
            for (step, expected) in steps.iter().zip(expected) {
                let off = (step.timestep - expected).abs();
                assert!(off <= may_be_off, "{key}: {} for {expected}", step.timestep);
                moved += usize::from(off > 0.0);
            }
        } else {
            let sigma = |level: Level| level.noise / level.signal;
            let found =
                steps.iter().map(|step| sigma(step.from)).chain(steps.last().map(|step| sigma(step.to)));
            let found: Vec<f64> = found.collect();
            assert_eq!(found.len(), expected.len(), "{key}");
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() <= SIGMA * expected, "{key}: {found} for {expected}");
                worst = worst.max(if expected > 0.0 { (found - expected).abs() / expected } else { 0.0 });
            }
        }
        seen += 1;
    }
    println!("{seen} tables: sigmas off by {worst:.1e} of themselves, {moved} timesteps by one");
    assert!(seen > 0);
}

#[test]
fn golden_noise_that_euler_begins_with() {
    let (Some(golden), Some(schedule)) = (json("sampling/schedulers.json"), schedule(&[])) else { return };
    for (key, expected) in golden.as_object().unwrap() {
        let (_, sampler, _) = table(key, &schedule).unwrap();
        let (found, expected) = (sampler.initial_scale(), expected.as_f64().unwrap());
        assert!((found - expected).abs() <= SIGMA * expected, "{key}: {found} for {expected}");
    }
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
        let Some(schedule) = schedule(&[("prediction_type", predicts.into())]) else { return };
        let ddim = Ddim::new(&schedule, steps, spacing("leading"), eta).unwrap();
        let i = ddim.steps().iter().position(|step| step.timestep == t as f64).unwrap();
        let prediction_type: Prediction = serde_json::from_value(predicts.into()).unwrap();
        let now = ddim.steps()[i].from.estimate(x, prediction, prediction_type).unwrap();
        let found = ddim.step(i, x, &now, None, &mut |_| Ok(noise.clone())).unwrap();
        close_to_rms(key, &found, expected, STEP);

        let key = format!("one.ddim.{predicts}.t{t}.pred_x0");
        close_to_rms(&key, &now.denoised, golden.get(&key), STEP);
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
