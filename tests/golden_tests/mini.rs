//! Pictures that diffusers makes with the model in the repository, from prompt and seed alone.

use candle_core::{Device, Tensor};
use flow_engine::{Document, Project, Ready, Run, Session, Status, read_ron};
use flow_nodes::sample::guidance::TimeIds;
use flow_nodes::sample::{Ddim, Denoiser, Generator, NoiseSchedule, walk};
use serde::Deserialize;
use std::path::Path;

use super::support::{Golden, Tiny, close, close_to_rms, file, json, load, repository, same_picture};

/// The reference is float32 too: two different float32 against each other.
const CONDITIONING: f64 = 1e-4;
/// As in `noise.rs`.
const NOISE: f64 = 2e-6;
/// Thirty steps of two different float32, with guidance.
const LATENTS: f64 = 2e-3;
/// Rounding to bytes shows what is left: on one pixel in a thousand at most.
const BYTES: f64 = 1e-3;

#[derive(Deserialize)]
struct Case {
    name: String,
    prompt: String,
    negative: Option<String>,
    seed: u64,
    steps: usize,
    guidance: f64,
    width: usize,
    height: usize,
}

fn picture_agrees(mini: &Tiny, case: &Case) {
    let Some(golden) = Golden::open(&format!("mini/{}.safetensors", case.name)) else { return };
    let what = |thing: &str| format!("{}: {thing}", case.name);
    let positive = mini.encode(&[&case.prompt]);
    let negative = match &case.negative {
        Some(text) => mini.encode(&[text]),
        None => positive.zeros_like().unwrap(),
    };
    close(&what("prompt"), &positive.prompt_embeds, golden.get("prompt_embeds"), CONDITIONING);
    close(&what("pooled"), &positive.pooled, golden.get("pooled"), CONDITIONING);
    close(&what("negative"), &negative.prompt_embeds, golden.get("negative_prompt_embeds"), CONDITIONING);
    close(&what("negative pooled"), &negative.pooled, golden.get("negative_pooled"), CONDITIONING);

    let pixels = mini.vae.config().pixels_per_latent();
    let shape = [1, mini.unet.config().in_channels, case.height / pixels, case.width / pixels];
    let noise = Generator::new(case.seed).randn(&shape).unwrap();
    close(&what("noise"), &noise, golden.get("noise"), NOISE);

    let time_ids = TimeIds::whole(case.height, case.width).tensor(1, &Device::Cpu).unwrap();
    let config = mini.checkpoint.scheduler_config();
    let prediction = config.prediction_type;
    let denoiser =
        Denoiser::new(&mini.unet, prediction, &positive, Some(&negative), &time_ids, case.guidance).unwrap();
    let ddim = Ddim::new(&NoiseSchedule::new(config), case.steps, config.timestep_spacing, 0.0).unwrap();
    let started = std::time::Instant::now();
    let latents =
        walk(&ddim, 0, &denoiser, &noise, &mut |_| unreachable!(), &mut |_, _: &Tensor| Ok(())).unwrap();
    let picture = mini.vae.decode(&latents).unwrap();
    println!("{}: {} steps and decoding in {:.2} s", case.name, case.steps, started.elapsed().as_secs_f64());
    close_to_rms(&what("latents"), &latents, golden.get("latents"), LATENTS);
    if let Some(png) = file(&format!("mini/{}.png", case.name)) {
        same_picture(&case.name, &picture, &png, BYTES);
    }
}

#[test]
fn golden_pictures_of_mini_sdxl_from_prompt_and_seed() {
    let Some(set) = json("mini/mini.json") else { return };
    let cases: Vec<Case> = serde_json::from_value(set["cases"].clone()).unwrap();
    assert!(!cases.is_empty());
    let mini = load(&repository().join("models/mini-sdxl"));
    cases.iter().for_each(|case| picture_agrees(&mini, case));
}

/// The same pictures out of a whole graph, through the nodes and the files that a person gets.
#[test]
fn golden_pictures_of_mini_sdxl_from_a_graph() {
    let Some(set) = json("mini/mini.json") else { return };
    let cases: Vec<Case> = serde_json::from_value(set["cases"].clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    run_graph(&graph_of(&cases, folder.path()));
    for case in &cases {
        let Some(golden) = file(&format!("mini/{}.png", case.name)) else { continue };
        let open = |path: &Path| image::open(path).unwrap().into_rgb8();
        let (ours, theirs) = (open(&folder.path().join(format!("{}.png", case.name))), open(&golden));
        assert_eq!(ours.dimensions(), theirs.dimensions(), "{}", case.name);
        let far = ours
            .pixels()
            .zip(theirs.pixels())
            .filter(|(a, b)| (0..3).any(|c| a[c].abs_diff(b[c]) > 1))
            .count();
        let share = far as f64 / (case.width * case.height) as f64;
        assert!(share <= BYTES, "{}: {share} of the pixels are more than one level off", case.name);
    }
}

/// A graph with a sampler and a file for each case.
fn graph_of(cases: &[Case], folder: &Path) -> String {
    let mut nodes = format!("\"base\": LoadSDXL(path: {:?}),\n", repository().join("models/mini-sdxl"));
    for Case { name, prompt, negative, seed, steps, guidance, width, height } in cases {
        let negative =
            negative.as_ref().map(|text| format!("negative_prompt: {text:?}, ")).unwrap_or_default();
        nodes.push_str(&format!(
            "\"{name}\": DDIMSample(model: \"base\", prompt: {prompt:?}, {negative}seed: {seed}, steps: {steps}, \
             guidance: {guidance:?}, width: {width}, height: {height}),\n\
             \"save {name}\": SaveImages(images: \"{name}\", path: {:?}),\n",
            folder.join(format!("{name}.png")),
        ));
    }
    format!("Graph(nodes: {{\n{nodes}}})")
}

fn run_graph(text: &str) {
    let settings = flow_nodes::settle(Some(flow_engine::Device::Cpu), Some(flow_engine::Dtype::F32)).unwrap();
    let session = Session::new(flow_nodes::registry(), settings, Project::at(repository()));
    let source = read_ron(Document::new("golden.ron", text), &[], &session.registry);
    let ready = Ready::checked(source, &session).unwrap_or_else(|problems| panic!("{problems:?}"));
    let run = Run::new(&ready, &session);
    assert_eq!(run.execute().status, Status::Done);
}
