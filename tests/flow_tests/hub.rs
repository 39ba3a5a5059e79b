//! A model of the hub in a graph, with a hub on this machine.

#[path = "../../nodes/src/hub/testing.rs"]
mod server;

use std::path::PathBuf;
use std::process::Command;

use self::server::{MODEL, Server};
use super::{Call, Workshop, flow_in, root};

/// A project whose only model is on a hub that only it knows.
struct World {
    workshop: Workshop,
    url: String,
}

impl World {
    fn new(url: &str) -> Self {
        let workshop = Workshop::new();
        let this = Self { workshop, url: url.to_owned() };
        this.draw(&format!("LoadSDXL(path: \"hub:{MODEL}\")"), "out/hub.png");
        this
    }

    fn draw(&self, model: &str, path: &str) {
        let nodes = r#""p": DDIMSample(model: "base", prompt: "a photo of a fox", steps: 1, seed: 3)"#;
        let out = format!(r#""out": SaveImages(images: "p", path: "{path}")"#);
        self.workshop.graph(&format!("\"base\": {model},\n{nodes},\n{out}"));
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = flow_in(&self.workshop.path(""), &[verb, "graphs/test.ron"]);
        for name in [
            "HF_HUB_CACHE",
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_OFFLINE",
            "HUGGINGFACE_HUB_CACHE",
            "HUGGING_FACE_HUB_TOKEN",
        ] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.url).env("HF_HOME", self.workshop.path("hf"));
        command
    }

    fn call(&self, verb: &str, more: &[&str]) -> Call {
        self.command(verb).args(more).output().expect("the program starts").into()
    }

    fn take_picture(&self, path: &str) -> Vec<u8> {
        let path: PathBuf = self.workshop.path(path);
        let pixels = image::open(&path).unwrap().into_rgb8().into_raw();
        std::fs::remove_file(path).unwrap();
        pixels
    }
}

#[test]
fn the_first_run_downloads_and_the_second_needs_no_hub() {
    let server = Server::of_folder(&root().join("models/mini-sdxl"));
    let world = World::new(&server.url);
    let first = world.call("run", &["--ui", "json"]);
    assert_eq!(first.code, Some(0), "{}{}", first.stderr, first.stdout);
    assert!(first.stdout.contains(r#""unit":"MB""#), "{}", first.stdout);
    let sent = server.sent();
    assert!(sent.iter().any(|name| name == "unet/diffusion_pytorch_model.safetensors"), "{sent:?}");
    let unneeded =
        |name: &&String| name.starts_with("clip/") || name.contains("sd_xl") || name.ends_with(".bin");
    assert_eq!(sent.iter().find(unneeded), None);
    let picture = world.take_picture("out/hub.png");

    drop(server);
    let second = world.call("run", &[]);
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_eq!(world.take_picture("out/hub.png"), picture);
    assert_eq!(world.call("check", &[]).stderr, "");

    let folder = format!("LoadSDXL(path: {:?})", root().join("models/mini-sdxl"));
    world.draw(&folder, "out/folder.png");
    assert_eq!(world.call("run", &[]).code, Some(0));
    assert_eq!(world.take_picture("out/folder.png"), picture);
}

#[test]
fn checking_asks_whether_the_hub_has_it_and_downloads_nothing() {
    let server = Server::of_folder(&root().join("models/mini-sdxl"));
    let world = World::new(&server.url);
    let call = world.call("check", &[]);
    assert_eq!(call.code, Some(0), "{}", call.stderr);
    assert!(call.stderr.contains("warning: hub:tiny/mini-sdxl is not here yet"), "{}", call.stderr);
    assert!(call.stderr.contains(" MB"), "{}", call.stderr);
    assert!(server.sent().is_empty());
    assert!(!world.workshop.path("hf").exists());
}

#[test]
fn a_model_that_the_hub_does_not_have_is_a_mistake_at_its_path() {
    let server = Server::of_folder(&root().join("models/mini-sdxl"));
    let world = World::new(&server.url);
    world.draw("LoadSDXL(path: \"hub:tiny/no-such-model\")", "out/hub.png");
    let call = world.call("check", &[]);
    assert_eq!(call.code, Some(2), "{}", call.stderr);
    assert!(call.stderr.contains("has no model `tiny/no-such-model`"), "{}", call.stderr);
    assert!(call.stderr.contains("graphs/test.ron:2:24"), "{}", call.stderr);
}

#[test]
fn without_hub_and_cache_checking_warns_and_running_fails() {
    let world = World::new("http://127.0.0.1:9");
    let check = world.call("check", &[]);
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    assert!(check.stderr.contains("cannot be reached"), "{}", check.stderr);
    let run = world.call("run", &[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("check the connection"), "{}", run.stderr);
    let offline = world.command("check").env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(offline.status.code(), Some(2));
}
