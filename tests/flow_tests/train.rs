//! Training with the real program: interrupted, gone on with, and refused.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::store::with_mounts;
use super::{Workshop, flow_in, root};

/// A graph that trains so and saves what comes out.
fn graph(workshop: &Workshop, fields: &str) {
    let photos = root().join("data/mini-dreambooth/bear_plushie");
    let train = format!(
        r#""base": MODEL, "photos": LoadImages(path: {photos:?}),
        "bear": Train(model: "base", images: "photos", prompt: "a photo of sks", sample_every: 0, {fields}),
        "file": SaveAdapter(adapter: "bear", path: "out/bear.safetensors")"#
    );
    workshop.graph(&train);
}

fn trained(workshop: &Workshop) -> Vec<u8> {
    fs::read(workshop.path("out/bear.safetensors")).unwrap()
}

/// Everything that a training may be interrupted in: accumulation, smoothing, several sizes of passes.
const COURSES: [&str; 2] = [
    r#"method: Para(rank: 4, gamma: "1/8", ramp: 3), checkpoint_every: 3"#,
    r#"method: Lora(rank: 2, layers: SAO), batch: 2, accumulate: 2, ema: 0.9, flip: true, checkpoint_every: 3,
       schedule: Cosine, warmup: 2, weight_decay: 0.01, caption_dropout: 0.3, noise_offset: 0.1, min_snr: 5"#,
];

#[test]
#[cfg(unix)]
fn a_training_that_is_killed_goes_on_to_the_same_bytes() {
    for course in COURSES {
        let fields = format!("{course}, steps: 30");
        let whole = Workshop::new();
        graph(&whole, &fields);
        whole.run(&[]);
        let killed = Workshop::new();
        graph(&killed, &fields);
        kill_after_step(&killed, 7);
        let events = events(&killed);
        let first = events.iter().find(|event| event["type"] == "metric").unwrap();
        let first = first["step"].as_u64().unwrap();
        // A step or two may pass until the kill arrives.
        assert!(
            first >= 7 && first % 3 == 1,
            "step {first} is none behind a checkpoint of those from step 6 on"
        );
        assert!(trained(&whole) == trained(&killed), "{course}");
    }
}

/// Runs a training and kills it, without a word, as soon as it tells of a step.
fn kill_after_step(workshop: &Workshop, step: u64) {
    let mut command = flow_in(&workshop.path(""), &["run", "graphs/test.ron", "--ui", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let events = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let is_there = |event: &Value| event["type"] == "metric" && event["step"] == step;
    assert!(events.into_iter().any(|event| is_there(&event)));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn events(workshop: &Workshop) -> Vec<Value> {
    let call = workshop.run(&["--ui", "json"]);
    call.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_a_checkpoint_and_the_next_run_goes_on_behind_it() {
    let workshop = Workshop::new();
    graph(&workshop, r#"method: Lora(rank: 1, layers: SAO), steps: 4000"#);
    let mut command = flow_in(&workshop.path(""), &["run", "graphs/test.ron", "--ui", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("\"metric\"") && line.contains("\"step\":3,")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let saved: Vec<String> = lines.filter(|line| line.contains("\"type\":\"checkpoint\"")).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let saved: Value = serde_json::from_str(&saved[0]).unwrap();
    let step = saved["step"].as_u64().unwrap();
    assert!((3..4000).contains(&step) && fs::metadata(saved["path"].as_str().unwrap()).is_ok(), "{saved}");
    let call = workshop.run(&["--ui", "json", "--set", &format!("bear.steps={}", step + 1)]);
    let metrics = call.stdout.lines().filter(|line| line.contains("\"name\":\"loss\""));
    assert_eq!(metrics.count(), 1, "only one step was left");
}

#[test]
fn raising_the_steps_goes_on_from_the_end() {
    let [whole, raised] = [Workshop::new(), Workshop::new()];
    let fields = r#"method: Para(rank: 2, gamma: "1/8", layers: SAO, ramp: 2)"#;
    graph(&whole, &format!("{fields}, steps: 6"));
    whole.run(&[]);
    graph(&raised, &format!("{fields}, steps: 3"));
    raised.run(&[]);
    let short = trained(&raised);
    graph(&raised, &format!("{fields}, steps: 6"));
    raised.run(&[]);
    assert!(short != trained(&raised) && trained(&raised) == trained(&whole));
}

#[test]
fn a_full_disk_below_the_checkpoints_loses_none_and_spoils_no_training() {
    let whole = Workshop::new();
    let fields = r#"method: Lora(rank: 1, layers: SAO), steps: 6, checkpoint_every: 2"#;
    graph(&whole, fields);
    whole.run(&[]);
    let full = Workshop::new();
    graph(&full, fields);
    let script = "mkdir -p .flow/train && mount -t tmpfs -o size=9m tmpfs .flow/train && \
        $FLOW run graphs/test.ron --set bear.steps=2 && head -c 20m /dev/zero > .flow/train/full; \
        $FLOW run graphs/test.ron && rm .flow/train/full && ls .flow/train/*";
    let Some(call) = with_mounts(&full, script) else { return };
    assert_eq!(call.code, Some(0), "{}", call.stderr);
    for step in [4, 6] {
        assert!(call.stderr.contains(&format!("no checkpoint after step {step}: ")), "{}", call.stderr);
    }
    let kept: Vec<&str> = call.stdout.lines().filter(|line| line.starts_with("step-")).collect();
    assert_eq!(kept, ["step-00000002.safetensors"]);
    assert!(trained(&whole) == trained(&full));
}

#[test]
fn a_training_draws_curves_for_tensorboard_and_into_its_file() {
    let workshop = Workshop::new();
    graph(&workshop, r#"method: Lora(rank: 1, layers: SAO), steps: 4, held_out: "photos""#);
    workshop.run(&["--set", "bear.sample_every=2"]);
    let folder = fs::read_dir(workshop.path(".flow/train")).unwrap().next().unwrap().unwrap().path();
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let is_curves = |path: &std::path::PathBuf| path.to_string_lossy().contains("events.out.tfevents.");
    let curves = files.filter(is_curves).map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let said = String::from_utf8_lossy(&curves[0]).into_owned();
    let count = |name: &str| said.matches(name).count();
    assert_eq!((curves.len(), count("learning rate"), count("validation loss")), (1, 4, 2));
    let header = String::from_utf8_lossy(&trained(&workshop)).into_owned();
    assert!(header.contains(r#""loss_curve":"[[1,0."#) && header.contains(",[4,0."), "{}", &header[..400]);
}

#[test]
fn loss_curves_are_drawn_of_adapters_that_say_how_they_were_trained() {
    let workshop = Workshop::new();
    graph(&workshop, r#"method: Lora(rank: 1, layers: SAO), steps: 3"#);
    let text = fs::read_to_string(workshop.path("graphs/test.ron")).unwrap();
    let other = adapter("red_cartoon.lora");
    let curves = format!(
        r#", "curves": SaveImages(images: "plot", path: "out/curves.png"), "plot": LossCurves(adapters: ["bear"]),
        "other": LoadAdapter(path: {other:?}) }})"#
    );
    let text = text.replace("\n})", &curves);
    fs::write(workshop.path("graphs/test.ron"), &text).unwrap();
    workshop.run(&[]);
    let plot = image::open(workshop.path("out/curves.png")).unwrap();
    assert_eq!((plot.width(), plot.height()), (800, 480));
    fs::write(workshop.path("graphs/test.ron"), text.replace(r#"["bear"]"#, r#"["bear", "other"]"#)).unwrap();
    let call = workshop.call("run", &[]);
    assert!(call.stderr.contains("`red_cartoon` does not say how its loss went"), "{}", call.stderr);
}

#[test]
fn every_method_trains_and_its_file_is_applied_as_it_was_trained() {
    for method in [
        r#"Para(gamma: "1/8", ramp: 0)"#,
        r#"Para(gamma: "1/8", ramp: 0, orthonormalize: Qr, init: Bottom, bound: Convolutions)"#,
        "Lora()",
        "Locon(alpha: 4)",
        "Loha(rank: 2)",
        "Lokr()",
        "Oft()",
        "SvDiff(layers: SAO)",
        "DreamBooth(layers: SAO)",
    ] {
        let workshop = Workshop::new();
        graph(&workshop, &format!("method: {method}, steps: 2"));
        let text = fs::read_to_string(workshop.path("graphs/test.ron")).unwrap();
        let sample = r#""model": ApplyAdapter(model: "base", adapter: "bear"),
            "picture": DDIMSample(model: "model", prompt: "a photo of sks", steps: 2) })"#;
        fs::write(workshop.path("graphs/test.ron"), text.replace("\n})", &format!(",\n{sample}"))).unwrap();
        workshop.run(&[]);
        assert!(trained(&workshop).len() > 1000, "{method}");
    }
}

#[test]
fn a_word_is_learned_and_said_in_prompts() {
    let workshop = Workshop::new();
    graph(&workshop, r#"method: TextualInversion(token: "<bear>", vectors: 2, start: "toy"), steps: 3"#);
    let text = fs::read_to_string(workshop.path("graphs/test.ron")).unwrap();
    let text = text.replace("a photo of sks", "a photo of <bear>");
    let sample = r#""model": ApplyAdapter(model: "base", adapter: "bear"),
        "picture": DDIMSample(model: "model", prompt: "a photo of <bear>", steps: 2) })"#;
    fs::write(workshop.path("graphs/test.ron"), text.replace("\n})", &format!(",\n{sample}"))).unwrap();
    workshop.run(&[]);
    let header = String::from_utf8_lossy(&trained(&workshop)).into_owned();
    assert!(header.contains(r#""modelspec.trigger_phrase":"<bear>""#), "{}", &header[..300]);
}

fn adapter(name: &str) -> String {
    root().join(format!("models/adapters/{name}.safetensors")).display().to_string()
}

#[test]
fn what_cannot_be_trained_is_refused_with_what_to_do() {
    for (fields, expected) in [
        (r#"prompt: "x", method: Para(rank: 0)"#, "rank` must be at least 1"),
        (r#"prompt: "x", method: Para(gamma: "1/1000"), steps: 1"#, "take a larger `gamma`"),
        (
            r#"prompt: "x", method: Para(gamma: "1/40", layers: Matching("conv_in"))"#,
            "leaves no layer a direction",
        ),
        (r#"prompt: "x", method: Lora(layers: Matching("nowhere"))"#, "`layers` names no layer"),
        (
            r#"prompt: "x", method: Lora(layers: Matching("text_model.*q_proj"))"#,
            "layers of the text encoders",
        ),
        (r#"prompt: "x", method: TextualInversion(token: "x", start: "  ")"#, "which no token stands for"),
        (r#"prompt: "x", method: TextualInversion(token: "")"#, "token"),
        (
            r#"prompt: "x", method: Para(init: Given("nowhere.safetensors"))"#,
            "`nowhere.safetensors` does not exist",
        ),
        (r#"prompt: "x", method: Para(init: Given("LORA"))"#, "and a PaRa is wanted"),
        (r#"prompt: "x", method: Para(init: Given("PARA"), rank: 3)"#, "where 0 would be trained"),
        (r#"prompt: "x", method: Para(init: Given("PARA"), layers: SAO)"#, "which is not among `layers`"),
        (r#"method: Lora()"#, "nothing says what the pictures show"),
        (r#"captions: true, method: Lora()"#, "these pictures have no caption: `00`, `01`"),
        (r#"prompt: "x", captions: true, method: Lora()"#, "leave one of them out"),
        (r#"prompt: "x", method: TextualInversion(token: "<bear>")"#, "does not say `<bear>`"),
        (r#"prompt: "a toy", method: TextualInversion(token: "toy"), steps: 1"#, "toy"),
        (r#"prompt: "x", method: Lora(), class_prompt: "a toy""#, "belong together"),
        (
            r#"prompt: "x", method: Lora(), steps: 40, learning_rate: 10.0, clip: 1e9, sample_every: 0"#,
            "of step",
        ),
    ] {
        let workshop = Workshop::new();
        let photos = root().join("data/mini-dreambooth/bear_plushie");
        let fields = fields
            .replace("PARA", &adapter("bear_plushie.para"))
            .replace("LORA", &adapter("red_cartoon.lora"));
        workshop.graph(&format!(
            r#""base": MODEL, "photos": LoadImages(path: {photos:?}),
            "bear": Train(model: "base", images: "photos", {fields})"#
        ));
        let call = workshop.call("run", &[]);
        assert!(matches!(call.code, Some(1 | 2)), "{fields}: {:?}", call.code);
        assert!(call.stderr.contains(expected), "{fields}: {}", call.stderr);
    }
    let workshop = Workshop::new();
    fs::create_dir(workshop.path("photos")).unwrap();
    let good = root().join("data/mini-dreambooth/bear_plushie/00.png");
    fs::copy(&good, workshop.path("photos/a.png")).unwrap();
    fs::write(workshop.path("photos/b.png"), &fs::read(&good).unwrap()[..200]).unwrap();
    workshop.graph(
        r#""base": MODEL, "photos": LoadImages(path: "photos"),
        "bear": Train(model: "base", images: "photos", prompt: "x", method: Lora())"#,
    );
    let call = workshop.call("run", &[]);
    assert!(call.code != Some(0) && call.stderr.contains("photos/b.png"), "{}", call.stderr);
}

#[test]
fn a_loss_that_explodes_is_told_with_step_and_layer_and_keeps_what_was_good() {
    let workshop = Workshop::new();
    graph(&workshop, r#"method: Lora(), steps: 60, learning_rate: 10.0, clip: 1e9, checkpoint_every: 1"#);
    let call = workshop.call("run", &[]);
    assert_eq!(call.code, Some(1));
    let told = call.stderr.lines().find(|line| line.contains("step")).unwrap_or_default().to_owned();
    assert!(told.contains(".lora_"), "{}", call.stderr);
    let folder = fs::read_dir(workshop.path(".flow/train")).unwrap().next().unwrap().unwrap().path();
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let last = names.filter(|name| name.starts_with("step-")).max().unwrap();
    let step: usize = last.trim_start_matches("step-").trim_end_matches(".safetensors").parse().unwrap();
    assert!((1..60).contains(&step), "{last}");
}

#[test]
fn previews_are_drawn_by_the_sampler_and_a_loss_is_measured_on_held_out_pictures() {
    let workshop = Workshop::new();
    graph(&workshop, r#"method: Lora(layers: SAO), steps: 2, held_out: "photos""#);
    let call = workshop.run(&["--ui", "json", "--set", "bear.sample_every=1"]);
    let events: Vec<Value> = call.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let previews: Vec<_> = events.iter().filter(|event| event["type"] == "preview").collect();
    assert_eq!(previews.len(), 2);
    let picture = image::open(previews[1]["path"].as_str().unwrap()).unwrap();
    assert_eq!((picture.width(), picture.height()), (64, 64));
    let measured = events.iter().filter(|event| event["name"] == "validation loss");
    assert_eq!(measured.count(), 2);
}

#[test]
fn a_word_that_is_many_tokens_or_none_is_told_and_trained_all_the_same() {
    let workshop = Workshop::new();
    let photos = root().join("data/mini-dreambooth/bear_plushie");
    workshop.graph(&format!(
        r#""base": MODEL, "photos": LoadImages(path: {photos:?}),
        "bear": Train(model: "base", images: "photos", prompt: "a photo of sks, qwxyzzyplugh", steps: 1, sample_every: 0,
            method: Lora(rank: 1, layers: CAO))"#
    ));
    let said = workshop.run(&[]).stderr;
    assert!(said.contains("`qwxyzzyplugh` is ") && said.contains(" tokens to the model"), "{said}");
    assert!(said.contains("an identifier is one rare token"), "{said}");
    assert!(!said.contains("`sks` is "), "{said}");
}
