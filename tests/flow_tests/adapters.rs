//! Adapters through whole graphs: merged, converted, saved and read back.

use super::{Workshop, root};

/// A project whose graph has the base model, a PaRa of Flow's form, one of PEFT's and a LoRA, and then `nodes`.
fn with_adapters(nodes: &str) -> Workshop {
    let workshop = Workshop::new();
    let path = |path: &str| format!("LoadAdapter(path: {:?})", root().join(path));
    workshop.graph(&format!(
        r#""base": MODEL, "bear": {}, "peft": {}, "cartoon": {},
        {nodes}"#,
        path("models/adapters/bear_plushie.para.safetensors"),
        path("tests/data/peft-para"),
        path("models/adapters/red_cartoon.lora.safetensors"),
    ));
    workshop
}

/// What `flow inspect` says of a file, as JSON.
fn inspected(workshop: &Workshop, file: &str) -> String {
    let path = workshop.path(file);
    let call = super::flow(&workshop.path(""), &["inspect", "--json", path.to_str().unwrap()]);
    assert_eq!(call.code, Some(0), "{}", call.stderr);
    call.stdout
}

/// The pixels that the graph saves as `a.png` and `b.png`.
fn drawn(workshop: &Workshop) -> [Vec<u8>; 2] {
    workshop.run(&[]);
    ["a.png", "b.png"].map(|name| image::open(workshop.path(name)).unwrap().to_rgb8().into_raw())
}

fn refused(nodes: &str, code: i32, words: &[&str]) {
    let call = with_adapters(nodes).call("run", &["--ui", "plain"]);
    assert_eq!(call.code, Some(code), "{}", call.stderr);
    words.iter().for_each(|word| assert!(call.stderr.contains(word), "`{word}` in {}", call.stderr));
}

#[test]
fn paras_merge_jointly_into_a_para_that_says_it_is_exact() {
    let workshop = with_adapters(
        r#""both": Merge(adapters: ["bear", "peft"], how: Joint),
        "out": SaveAdapter(adapter: "both", path: "both.safetensors"),"#,
    );
    let call = workshop.run(&["--ui", "json"]);
    assert!(call.stdout.contains("largest gap to removal in turn"), "{}", call.stdout);
    let told = inspected(&workshop, "both.safetensors");
    for word in ["PaRa", "merge_error", "exact", "the joint span of bear_plushie, peft-para"] {
        assert!(told.contains(word), "`{word}` in {told}");
    }
}

#[test]
fn a_bound_leaves_out_directions_of_the_later_adapter_and_says_how_many() {
    let workshop = with_adapters(
        r#""both": Merge(adapters: ["bear", "peft"], how: Joint, gamma: "1/8", model: "base"),
        "out": SaveAdapter(adapter: "both", path: "both.safetensors"),"#,
    );
    let call = workshop.run(&["--ui", "plain"]);
    assert!(call.stderr.contains("directions of the later adapters"), "{}", call.stderr);
    assert!(inspected(&workshop, "both.safetensors").contains("beyond the bound are left out"));
}

#[test]
fn a_bound_without_a_model_is_refused() {
    refused(
        r#""both": Merge(adapters: ["bear"], how: Joint, gamma: "1/8")"#,
        2,
        &["there is no `model`", "give the model"],
    );
}

#[test]
fn paras_in_turn_are_a_list_that_no_file_holds_but_convert_does() {
    refused(
        r#""turn": Merge(adapters: ["bear", "peft"], how: InTurn),
        "out": SaveAdapter(adapter: "turn", path: "turn.safetensors"),"#,
        1,
        &["Convert"],
    );
}

#[test]
fn a_para_does_not_merge_with_a_lora_as_one_of_either() {
    refused(r#""both": Merge(adapters: ["bear", "cartoon"], how: Joint)"#, 2, &["`red_cartoon` is LoRA"]);
    refused(
        r#""both": Merge(adapters: ["bear", "cartoon"], how: Concatenate)"#,
        2,
        &["`bear_plushie` is PaRa"],
    );
}

#[test]
fn a_converted_list_draws_the_same_picture_as_the_list() {
    let workshop = with_adapters(
        r#""reduced": ApplyPaRa(model: "base", para: "bear"),
        "listed": ApplyLoRA(model: "reduced", lora: "cartoon", scale: 0.6),
        "one": Convert(model: "base", adapters: ["bear", "cartoon"], scales: [1.0, 0.6], to: LoRA, dtype: F32),
        "converted": ApplyLoRA(model: "base", lora: "one"),
        "a": DDIMSample(model: "listed", prompt: "a photo of sks", steps: 8),
        "b": DDIMSample(model: "converted", prompt: "a photo of sks", steps: 8),
        "a out": SaveImages(images: "a", path: "a.png"),
        "b out": SaveImages(images: "b", path: "b.png"),"#,
    );
    let [a, b] = drawn(&workshop);
    let most = a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(most <= 1, "{most} levels apart");
}

#[test]
fn the_order_of_two_adapters_is_seen_in_the_picture() {
    let workshop = with_adapters(
        r#""reduced": ApplyPaRa(model: "base", para: "bear"),
        "para first": ApplyLoRA(model: "reduced", lora: "cartoon"),
        "tuned": ApplyLoRA(model: "base", lora: "cartoon"),
        "lora first": ApplyPaRa(model: "tuned", para: "bear"),
        "a": DDIMSample(model: "para first", prompt: "a photo of sks", steps: 8),
        "b": DDIMSample(model: "lora first", prompt: "a photo of sks", steps: 8),
        "a out": SaveImages(images: "a", path: "a.png"),
        "b out": SaveImages(images: "b", path: "b.png"),"#,
    );
    let [a, b] = drawn(&workshop);
    assert_ne!(a, b);
}

#[test]
fn pefts_form_takes_linear_layers_only() {
    refused(
        r#""deft": Convert(model: "base", adapters: ["bear"], to: DEFT)"#,
        1,
        &["linear layers of the denoiser only", "conv1", "to: LoRA"],
    );
    let workshop = with_adapters(
        r#""deft": Convert(model: "base", adapters: ["peft"], to: DEFT, dtype: F32),
        "out": SaveAdapter(adapter: "deft", path: "deft"),"#,
    );
    workshop.run(&[]);
    let config = std::fs::read_to_string(workshop.path("deft/adapter_config.json")).unwrap();
    assert!(config.contains("DEFT") && config.contains("\"para\""), "{config}");
    assert!(workshop.path("deft/adapter_model.safetensors").is_file());
}

#[test]
fn an_adapter_for_another_base_warns_with_both_digests() {
    let workshop = with_adapters(
        r#""one": Convert(model: "base", adapters: ["bear"], to: LoRA),
        "out": SaveAdapter(adapter: "one", path: "one.safetensors"),
        "same": ApplyLoRA(model: "base", lora: "one"),"#,
    );
    let call = workshop.run(&["--ui", "plain"]);
    assert!(!call.stderr.contains("was trained on"), "{}", call.stderr);

    let settings = workshop.model_copy().join("scheduler/scheduler_config.json");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text + "\n").unwrap();
    workshop.graph(
        r#""other": LoadSDXL(path: "model"),
        "one": LoadAdapter(path: "one.safetensors"),
        "changed": ApplyLoRA(model: "other", lora: "one"),"#,
    );
    let call = workshop.run(&["--ui", "plain"]);
    assert!(call.stderr.contains("`one` was trained on a model with digest"), "{}", call.stderr);
}
