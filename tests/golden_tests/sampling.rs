//! Whole walks from noise to a picture.

use candle_core::{DType, Device, Tensor};
use flow_nodes::sample::guidance::TimeIds;
use flow_nodes::sample::{Ddim, Denoiser, Dpmpp, Estimate, Euler, NoiseSchedule, Sampler, start_of, walk};
use flow_nodes::sdxl::TextEmbeds;

use super::support::{Golden, Tiny, close, close_to_rms, file, files, same_picture, scheduler_of, tiny};

/// Errors of ten and more steps add up: measured 5e-5 of the rms in PyTorch.
const WALK: f64 = 5e-4;
/// One step from stored latents.
const STEP: f64 = 1e-4;
/// Of a picture in 0..=1, measured 4e-6; here it is in -1..=1.
const PICTURE: f64 = 2e-4;

fn embeds(golden: &Golden, name: &str) -> TextEmbeds {
    let get = |key: String| golden.get(&key).clone();
    TextEmbeds { prompt_embeds: get(format!("{name}prompt_embeds")), pooled: get(format!("{name}pooled")) }
}

/// What to draw on latents of a shape.
fn denoiser<'a>(tiny: &'a Tiny, golden: &Golden, shape: &[usize]) -> Denoiser<'a> {
    let conditioning = Golden::open("sampling/conditioning.safetensors").unwrap();
    let positive = embeds(&conditioning, "");
    let negative = match golden.meta("negative") {
        "neg" => embeds(&conditioning, "negative_"),
        "empty" => embeds(&conditioning, "empty_"),
        "zeros" => positive.zeros_like().unwrap(),
        unknown => panic!("what is the negative `{unknown}`?"),
    };
    let pixels = tiny.vae.config().pixels_per_latent();
    let time_ids =
        TimeIds::whole(shape[2] * pixels, shape[3] * pixels).tensor(shape[0], &Device::Cpu).unwrap();
    let rescale = golden.number_or("rescale", 0.0);
    let (prediction, guidance) = (scheduler_of(golden).prediction_type, golden.number("guidance_scale"));
    let denoiser = Denoiser::new(&tiny.unet, prediction, &positive, Some(&negative), &time_ids, guidance);
    denoiser.unwrap().rescale(rescale).unwrap()
}

/// The sampler of a file, and the step at which its walk begins; none if it holds no walk.
fn sampler(golden: &Golden) -> Option<(Box<dyn Sampler>, usize)> {
    let class = golden.metadata.get("scheduler")?.as_str();
    if !golden.tensors.contains_key("initial_latents") {
        return None;
    }
    let config = scheduler_of(golden);
    let (schedule, spacing) = (NoiseSchedule::new(&config), config.timestep_spacing);
    let steps = golden.number("steps") as usize;
    let sampler: Box<dyn Sampler> = match class {
        "DDIMScheduler" => {
            Box::new(Ddim::new(&schedule, steps, spacing, golden.number_or("eta", 0.0)).unwrap())
        }
        "EulerDiscreteScheduler" => Box::new(Euler::new(&schedule, steps, spacing).unwrap()),
        "DPMSolverMultistepScheduler" => {
            let karras = golden.meta("config.use_karras_sigmas") == "True";
            Box::new(Dpmpp::new(&schedule, steps, spacing, karras).unwrap())
        }
        unknown => panic!("what is the sampler `{unknown}` of `{}`?", golden.name),
    };
    // A picture of its own to begin with takes the last steps only.
    let expected = golden.numbers("timesteps");
    let start = sampler.steps().len() - expected.len();
    let timesteps: Vec<f64> = sampler.steps()[start..].iter().map(|step| step.timestep).collect();
    assert_eq!(timesteps, expected, "timesteps of {}", golden.name);
    Some((sampler, start))
}

/// What the latents of a file begin as.
fn begin(golden: &Golden, sampler: &dyn Sampler, start: usize) -> Tensor {
    let given = golden.get("initial_latents");
    if start > 0 { given.clone() } else { (given * sampler.initial_scale()).unwrap() }
}

/// The `i`-th of stacked latents, as a batch of one.
fn at(stack: &Tensor, i: usize) -> Tensor {
    stack.narrow(0, i, 1).unwrap()
}

#[test]
fn golden_walks_of_every_sampler_stay_on_the_path() {
    let Some(tiny) = tiny() else { return };
    let mut seen = 0;
    for name in files("sampling") {
        let golden = Golden::open(&name).unwrap();
        let Some((sampler, start)) = sampler(&golden) else { continue };
        let (begin, latents) = (begin(&golden, &*sampler, start), golden.get("latents"));
        close_to_rms(&format!("{name} at its start"), &begin, &at(latents, 0), STEP);
        let mut noises = 0;
        let mut draw = |_: &[usize]| {
            noises += 1;
            Ok(at(golden.get("step_noises"), noises - 1))
        };
        let denoiser = denoiser(tiny, &golden, begin.dims());
        let mut on_step = |done: usize, x: &Tensor| {
            close_to_rms(&format!("{name} after step {done}"), x, &at(latents, done), WALK);
            Ok(())
        };
        let end = walk(&*sampler, start, &denoiser, &begin, &mut draw, &mut on_step).unwrap();
        if let Some(decoded) = golden.tensors.get("decoded") {
            let picture = tiny.vae.decode(&end).unwrap();
            close(&format!("{name} decoded"), &picture, decoded, PICTURE);
            if let Some(png) = file(&name.replace(".safetensors", ".png")) {
                same_picture(&name, &picture, &png, 1e-3);
            }
        }
        seen += 1;
    }
    assert!(seen > 0, "no walk in the set");
}

#[test]
fn golden_steps_of_every_sampler_from_stored_latents() {
    let Some(tiny) = tiny() else { return };
    for name in files("sampling") {
        let golden = Golden::open(&name).unwrap();
        let Some(outputs) = golden.tensors.get("model_outputs") else { continue };
        let Some((sampler, start)) = sampler(&golden) else { continue };
        let (latents, prediction) = (golden.get("latents"), scheduler_of(&golden).prediction_type);
        let denoiser = denoiser(tiny, &golden, golden.get("initial_latents").dims());
        let mut before: Option<Estimate> = None;
        for (i, step) in sampler.steps()[start..].iter().enumerate() {
            let (x, output, next) = (at(latents, i), at(outputs, i), at(latents, i + 1));
            let input = (&x / step.from.scale()).unwrap();
            let said = denoiser.predict(&input, step.timestep).unwrap();
            close_to_rms(&format!("{name} prediction {i}"), &said, &output, STEP);

            let now = step.from.estimate(&x, &output, prediction).unwrap();
            let mut draw = |_: &[usize]| Ok(at(golden.get("step_noises"), i));
            let found = sampler.step(start + i, &x, &now, before.as_ref(), &mut draw).unwrap();
            close_to_rms(&format!("{name} step {i}"), &found, &next, STEP);
            before = Some(now);
        }
    }
}

#[test]
fn golden_inversion_goes_there_and_comes_back() {
    let (Some(golden), Some(tiny)) = (Golden::open("sampling/ddim_inversion_10.safetensors"), tiny()) else {
        return;
    };
    let begin = golden.get("latents0");
    let (_, _, h, w) = begin.dims4().unwrap();
    let conditioning = Golden::open("sampling/conditioning.safetensors").unwrap();
    let config = tiny.checkpoint.scheduler_config();
    let pixels = tiny.vae.config().pixels_per_latent();
    let time_ids = TimeIds::whole(h * pixels, w * pixels).tensor(1, &Device::Cpu).unwrap();
    let (guidance, positive) = (golden.number("guidance_scale"), embeds(&conditioning, ""));
    let denoiser =
        Denoiser::new(&tiny.unet, config.prediction_type, &positive, None, &time_ids, guidance).unwrap();

    let steps = golden.timesteps("timesteps").len();
    let ddim = Ddim::new(&NoiseSchedule::new(config), steps, config.timestep_spacing, 0.0).unwrap();
    let go = |sampler: &Ddim, begin: &Tensor, timesteps: &str, latents: &str| {
        let asked: Vec<f64> = sampler.steps().iter().map(|step| step.timestep).collect();
        assert_eq!(asked, golden.numbers(timesteps));
        let mut on_step = |done: usize, x: &Tensor| {
            close_to_rms(&format!("{latents} {done}"), x, &at(golden.get(latents), done), WALK);
            Ok(())
        };
        walk(sampler, 0, &denoiser, begin, &mut |_| unreachable!(), &mut on_step).unwrap()
    };
    let noise = go(&ddim.clone().inverse(), begin, "timesteps", "inverse_latents");
    go(&ddim, &noise, "back_timesteps", "back_latents");
}

#[test]
fn golden_latents_begin_with_a_picture_in_them() {
    let (Some(golden), Some(tiny)) = (Golden::open("sampling/img2img_inputs.safetensors"), tiny()) else {
        return;
    };
    let posterior = tiny.vae.encode(golden.get("image")).unwrap();
    let latents = tiny.vae.scale(&posterior.sample(golden.get("vae_noise")).unwrap()).unwrap();
    close("latents of the picture", &latents, golden.get("latents"), STEP);

    let config = tiny.checkpoint.scheduler_config();
    let (schedule, timesteps) = (NoiseSchedule::new(config), golden.timesteps("start_timestep"));
    let (picture, noise) = (golden.get("latents"), golden.get("noise"));
    let noised = schedule.add_noise(picture, noise, &timesteps).unwrap();
    close("noised latents, as in training", &noised, golden.get("noised_latents"), 1e-5);

    let steps = golden.number("steps") as usize;
    let ddim = Ddim::new(&schedule, steps, config.timestep_spacing, 0.0).unwrap();
    let first = ddim.steps()[start_of(steps, golden.number("strength"))];
    assert_eq!([first.timestep as usize], timesteps[..]);
    let noised = first.from.mix(picture, noise).unwrap();
    close("noised latents, as in a walk", &noised, golden.get("noised_latents"), 1e-5);
    // Euler walks the same latents in another scale.
    let euler = Euler::new(&schedule, steps, config.timestep_spacing).unwrap();
    let first = euler.steps()[start_of(steps, golden.number("strength"))].from;
    let noised = (first.mix(picture, noise).unwrap() / first.scale()).unwrap();
    close("noised latents of Euler", &noised, golden.get("noised_latents"), 1e-5);
}

#[test]
fn golden_picture_of_the_whole_pipeline() {
    let (Some(golden), Some(tiny)) = (Golden::open("forward/pipeline_ddim10.safetensors"), tiny()) else {
        return;
    };
    close("the picture", &whole_pipeline(tiny, &golden), golden.get("image"), PICTURE / 2.0);
}

/// The picture `[3, h, w]` in 0..=1 that a model makes of a golden pipeline's latents and prompts.
pub(crate) fn whole_pipeline(tiny: &Tiny, golden: &Golden) -> Tensor {
    let latents = golden.get("latents");
    let (positive, negative) =
        (tiny.encode(&[golden.meta("prompt")]), tiny.encode(&[golden.meta("negative_prompt")]));
    let pixels = tiny.vae.config().pixels_per_latent();
    let (_, _, h, w) = latents.dims4().unwrap();
    let time_ids = TimeIds::whole(h * pixels, w * pixels).tensor(1, &Device::Cpu).unwrap();
    let guidance = golden.number("guidance_scale");
    let config = tiny.checkpoint.scheduler_config();
    let prediction = config.prediction_type;
    let denoiser =
        Denoiser::new(&tiny.unet, prediction, &positive, Some(&negative), &time_ids, guidance).unwrap();
    let steps = golden.number("steps") as usize;
    let ddim = Ddim::new(&NoiseSchedule::new(config), steps, config.timestep_spacing, 0.0).unwrap();
    let end = walk(&ddim, 0, &denoiser, latents, &mut |_| unreachable!(), &mut |_, _| Ok(())).unwrap();
    let picture = ((tiny.vae.decode(&end).unwrap() / 2.0).unwrap() + 0.5).unwrap().clamp(0f32, 1f32).unwrap();
    picture.squeeze(0).unwrap().to_dtype(DType::F32).unwrap()
}
