//! `SaveAdapter` and `SaveModel`: what they write, what they leave alone, and what they refuse.

use std::fs;
use std::time::SystemTime;

use super::{Workshop, root};

/// Nodes with `TINY` for the tiny model and `ADAPTERS` for the folder with adapters for it.
fn nodes(text: &str) -> String {
    let golden = root().join("tests/golden");
    let tiny = format!("LoadSDXL(path: {:?})", golden.join("tiny-sdxl"));
    text.replace("TINY", &tiny).replace("ADAPTERS", &golden.join("adapters").display().to_string())
}

fn modified(workshop: &Workshop, path: &str) -> SystemTime {
    fs::metadata(workshop.path(path)).unwrap().modified().unwrap()
}

/// The names of the tensors in a file, and what it says of itself.
fn header(workshop: &Workshop, path: &str) -> (Vec<String>, serde_json::Value) {
    let bytes = fs::read(workshop.path(path)).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let metadata = header.remove("__metadata__").unwrap_or_default();
    let mut names: Vec<_> = header.keys().cloned().collect();
    names.sort();
    (names, metadata)
}

/// What `flow check` says of nodes that must be refused.
#[track_caller]
fn refused(workshop: &Workshop, text: &str, said: &[&str]) {
    workshop.graph(&nodes(text));
    let call = workshop.call("check", &[]);
    assert_eq!(call.code, Some(2), "{text}: {}", call.stderr);
    said.iter().for_each(|said| assert!(call.stderr.contains(said), "{said} in {}", call.stderr));
}

#[test]
fn a_saved_adapter_is_written_once_and_goes_on() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(
        r#""base": TINY,
        "lora": LoadAdapter(path: "ADAPTERS/lora_kohya.safetensors"),
        "kept": SaveAdapter(adapter: "lora", path: "out/lora.safetensors"),
        "model": ApplyLoRA(model: "base", lora: "kept"),"#,
    ));
    workshop.run(&[]);
    let first = modified(&workshop, "out/lora.safetensors");
    std::thread::sleep(std::time::Duration::from_millis(20));
    workshop.run(&[]);
    assert_eq!(modified(&workshop, "out/lora.safetensors"), first);
    assert_eq!(fs::read_dir(workshop.path("out")).unwrap().count(), 1);
}

#[test]
fn what_was_made_is_saved_as_it_was_made_and_a_para_of_others_in_our_form() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(
        r#""base": TINY,
        "para": LoadAdapter(path: "ADAPTERS/para_a.safetensors"),
        "lora": Convert(model: "base", adapters: ["para"], to: LoRA),
        "a": SaveAdapter(adapter: "lora", path: "out/lora.safetensors"),
        "b": SaveAdapter(adapter: "para", path: "out/para.safetensors"),"#,
    ));
    workshop.run(&[]);
    let (names, says) = header(&workshop, "out/lora.safetensors");
    assert!(names.iter().all(|name| name.starts_with("lora_unet_")), "{names:?}");
    assert_eq!(says["converted"], "para_a");
    let (names, says) = header(&workshop, "out/para.safetensors");
    assert!(names.iter().all(|n| n.starts_with("unet.") && n.ends_with(".para_q")), "{names:?}");
    assert_eq!((&says["format"], &says["modelspec.implementation"]), (&"para".into(), &"flow".into()));
}

#[test]
fn a_para_of_peft_stays_peft_in_a_folder_and_becomes_ours_in_a_file() {
    let workshop = Workshop::new();
    fs::create_dir(workshop.path("peft")).unwrap();
    let config = r#"{"peft_type": "DEFT", "para": true, "r": 1}"#;
    fs::write(workshop.path("peft/adapter_config.json"), config).unwrap();
    let header = r#"{"base_model.model.mid_block.attentions.0.proj_in.deft_P":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}"#;
    let numbers = [3f32, 4.0].map(f32::to_le_bytes).concat();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &numbers].concat();
    fs::write(workshop.path("peft/adapter_model.safetensors"), bytes).unwrap();
    workshop.graph(
        r#""para": LoadAdapter(path: "peft"),
        "a": SaveAdapter(adapter: "para", path: "out/peft"),
        "b": SaveAdapter(adapter: "para", path: "out/ours.safetensors", dtype: F32),"#,
    );
    workshop.run(&[]);
    assert_eq!(fs::read_to_string(workshop.path("out/peft/adapter_config.json")).unwrap(), config);
    let (names, _) = self::header(&workshop, "out/peft/adapter_model.safetensors");
    assert_eq!(names, ["base_model.model.mid_block.attentions.0.proj_in.deft_P"]);
    let (names, says) = self::header(&workshop, "out/ours.safetensors");
    assert_eq!(names, ["unet.mid_block.attentions.0.proj_in.para_q"]);
    assert_eq!((&says["version"], says.get("adapter_config")), (&"1".into(), None));
    let ours = fs::read(workshop.path("out/ours.safetensors")).unwrap();
    assert_eq!(ours[ours.len() - 8..], [0.6f32, 0.8].map(f32::to_le_bytes).concat());
}

#[test]
fn a_new_word_is_saved_under_its_token() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(
        r#""word": LoadAdapter(path: "ADAPTERS/textual_inversion.safetensors", token: "<bear>"),
        "out": SaveAdapter(adapter: "word", path: "out/word.safetensors"),"#,
    ));
    workshop.run(&[]);
    let (names, says) = header(&workshop, "out/word.safetensors");
    assert_eq!(names, ["clip_g", "clip_l"]);
    assert_eq!(says["modelspec.trigger_phrase"], "<bear>");
}

#[test]
fn what_no_file_of_an_adapter_holds_is_refused_with_what_to_do() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(
        r#""a": LoadAdapter(path: "ADAPTERS/para_a.safetensors"),
        "b": LoadAdapter(path: "ADAPTERS/para_b.safetensors"),
        "both": Merge(adapters: ["a", "b"], how: InTurn),
        "out": SaveAdapter(adapter: "both", path: "out/both.safetensors"),"#,
    ));
    let call = workshop.call("run", &[]);
    assert_eq!(call.code, Some(1));
    for said in ["two PaRas in turn are no PaRa", "`Convert(model, adapters, to: LoRA)`"] {
        assert!(call.stderr.contains(said), "{}", call.stderr);
    }
    refused(
        &workshop,
        &format!(
            r#""a": LoadAdapter(path: {:?}), "out": SaveAdapter(adapter: "a", path: "out/a.safetensors")"#,
            root().join("tests/golden/tiny-sdxl")
        ),
        &["`tiny-sdxl` is a whole model", "`SaveModel`"],
    );
    assert!(!workshop.path("out").exists());
}

#[test]
fn a_path_that_an_adapter_cannot_go_to_is_refused_before_the_run() {
    let workshop = Workshop::new();
    let lora = root().join("tests/golden/adapters/lora_kohya.safetensors");
    fs::copy(lora, workshop.path("lora.safetensors")).unwrap();
    for (path, said) in [
        ("out/lora", "has no PEFT configuration"),
        ("out/lora.pt", "ends in .pt, and weights are saved as safetensors"),
        ("", "the path is empty"),
        ("lora.safetensors/x.safetensors", "lora.safetensors is a file, not a folder"),
        ("lora.safetensors", "lora.safetensors` is what the result is made from"),
    ] {
        let nodes = format!(
            r#""a": LoadAdapter(path: "lora.safetensors"), "out": SaveAdapter(adapter: "a", path: {path:?})"#
        );
        refused(&workshop, &nodes, &[said]);
    }
}

/// Pictures of the tiny model with an adapter, and of what was saved of it.
#[test]
fn a_saved_model_makes_the_pictures_of_what_it_was_made_from() {
    let workshop = Workshop::new();
    let config = root().join("tests/golden/tiny-sdxl");
    let sample = |model: &str| {
        format!(r#"DDIMSample(model: "{model}", prompt: "a bear", steps: 3, width: 64, height: 64)"#)
    };
    workshop.graph(&nodes(&format!(
        r#""base": TINY,
        "lora": LoadAdapter(path: "ADAPTERS/lora_kohya.safetensors"),
        "bear": ApplyLoRA(model: "base", lora: "lora"),
        "folder": SaveModel(model: "bear", path: "out/bear", dtype: F32),
        "file": SaveModel(model: "bear", path: "out/bear.safetensors", dtype: F32),
        "picture": {}, "png": SaveImages(images: "picture", path: "out/a.png")"#,
        sample("bear")
    )));
    workshop.run(&[]);
    let (folder, file) = ("out/bear/unet/diffusion_pytorch_model.safetensors", "out/bear.safetensors");
    let before = [folder, file].map(|path| modified(&workshop, path));
    std::thread::sleep(std::time::Duration::from_millis(20));
    workshop.run(&[]);
    assert_eq!([folder, file].map(|path| modified(&workshop, path)), before, "nothing is written twice");

    workshop.graph(&format!(
        r#""b": LoadSDXL(path: "out/bear"), "c": LoadSDXL(path: "out/bear.safetensors", config: {config:?}),
        "b picture": {}, "b png": SaveImages(images: "b picture", path: "out/b.png"),
        "c picture": {}, "c png": SaveImages(images: "c picture", path: "out/c.png")"#,
        sample("b"),
        sample("c")
    ));
    workshop.run(&[]);
    let picture = |name: &str| image::open(workshop.path(name)).unwrap().into_rgb8();
    assert_eq!(picture("out/b.png"), picture("out/a.png"));
    assert_eq!(picture("out/c.png"), picture("out/a.png"));
}

#[test]
fn another_model_of_flows_is_replaced_and_anything_else_is_not() {
    let workshop = Workshop::new();
    let save = |path: &str, scale: f64| {
        nodes(&format!(
            r#""base": TINY, "lora": LoadAdapter(path: "ADAPTERS/lora_kohya.safetensors"),
            "bear": ApplyLoRA(model: "base", lora: "lora", scale: {scale:?}),
            "out": SaveModel(model: "bear", path: {path:?})"#
        ))
    };
    for path in ["out/model", "out/model.safetensors"] {
        workshop.graph(&save(path, 1.0)).run(&[]);
        workshop.graph(&save(path, 0.5)).run(&[]);
    }
    fs::write(workshop.path("out/model/notes.txt"), "mine").unwrap();
    refused(&workshop, &save("out/model", 1.0), &["holds `notes.txt`, which Flow did not write"]);
    let copy = workshop.model_copy();
    refused(&workshop, &save("model", 1.0), &["which Flow did not write", "name another path"]);
    fs::copy(copy.join("unet/diffusion_pytorch_model.safetensors"), workshop.path("own.safetensors"))
        .unwrap();
    refused(&workshop, &save("own.safetensors", 1.0), &["is there, and Flow did not write it"]);
    fs::create_dir_all(workshop.path("pictures")).unwrap();
    fs::write(workshop.path("pictures/a.png"), "a picture").unwrap();
    refused(&workshop, &save("pictures", 1.0), &["holds `a.png`, which Flow did not write"]);
    assert_eq!(fs::read_to_string(workshop.path("pictures/a.png")).unwrap(), "a picture");
}

#[test]
fn a_model_is_not_saved_over_what_it_is_read_from_or_with_new_words() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(r#""base": TINY, "out": SaveModel(model: "base", path: "model")"#)).run(&[]);
    refused(
        &workshop,
        r#""base": LoadSDXL(path: "model"), "out": SaveModel(model: "base", path: "model", dtype: F32)"#,
        &["is what the result is made from"],
    );
    refused(
        &workshop,
        r#""base": TINY, "word": LoadAdapter(path: "ADAPTERS/textual_inversion.safetensors", token: "<bear>"),
        "model": ApplyAdapter(model: "base", adapter: "word"),
        "out": SaveModel(model: "model", path: "out/model")"#,
        &["the model has the new word `<bear>`, which no checkpoint holds"],
    );
}
