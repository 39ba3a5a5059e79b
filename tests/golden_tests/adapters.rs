//! Every kind of adapter: weights, predictions and texts with it applied.

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use flow_engine::Digest;
use flow_nodes::adapter::fold::Scales;
use flow_nodes::adapter::names::Target;
use flow_nodes::adapter::{Adapter, read};
use flow_nodes::model::Model;
use flow_nodes::sdxl::{Checkpoint, Compute, Part, TextEmbeds};

use super::support::{Golden, close, file, json, tiny};
use super::unet::text_of;

/// float32 against float64 measured 5e-6 in PyTorch; another order of summation may do worse.
const EPS: f64 = 5e-5;
/// Merged weights measured 2e-7.
const WEIGHT: f64 = 2e-6;
/// Text features reach 30 at scale 2.2; measured 1e-4.
const TEXT: f64 = 5e-4;
/// PyTorch measured 2e-6 on pooled texts without an adapter.
const POOLED: f64 = 2e-5;

pub(crate) fn base() -> Option<Model> {
    let folder = file("tiny-sdxl")?;
    Some(Model::new(Checkpoint::open(&folder).unwrap(), Digest::of(b"tiny")))
}

/// The adapter `adapters/{name}.safetensors`.
pub(crate) fn adapter(name: &str) -> Option<Adapter> {
    let path: PathBuf = file(&format!("adapters/{name}.safetensors"))?;
    Some(read::open(&path, Digest::of(name.as_bytes())).unwrap().into())
}

/// The UNet's part of a model with an adapter.
pub(crate) fn with(model: &Model, name: &str, scale: f64) -> Option<Model> {
    let scales = Scales { unet: scale, text_encoders: 0.0 };
    Some(model.with(&adapter(name)?, scales, false).unwrap())
}

/// The prediction for the inputs that all adapters' files share.
pub(crate) fn eps(model: &Model) -> Tensor {
    let input = Golden::open("adapters/input.safetensors").unwrap();
    let text = text_of(&input);
    predict(model, &text)
}

fn predict(model: &Model, text: &TextEmbeds) -> Tensor {
    let input = Golden::open("adapters/input.safetensors").unwrap();
    let t = input.get("timestep").to_dtype(candle_core::DType::F32).unwrap();
    let unet = model.build_unet(&Compute::cpu()).unwrap();
    unet.forward(input.get("sample"), &t, text, input.get("time_ids")).unwrap()
}

pub(crate) fn weight(model: &Model, module: &str) -> Tensor {
    let target = Target { part: Part::Unet, tensor: format!("{module}.weight") };
    model.weight(&target, &Device::Cpu).unwrap()
}

/// Everything that `{expected}.expected.safetensors` says of `{name}.safetensors` by scale.
fn holds(name: &str, expected: &str) {
    let Some(golden) = Golden::open(&format!("adapters/{expected}.expected.safetensors")) else { return };
    let Some(base) = base() else { return };
    let mut seen = 0;
    for (key, wanted) in &golden.tensors {
        if let Some(scale) = key.strip_prefix("eps.scale") {
            let Some(model) = with(&base, name, scale.parse().unwrap()) else { return };
            close(&format!("{name}: {key}"), &eps(&model), wanted, EPS);
        } else if let Some(rest) = key.strip_prefix("merged.scale1.0.") {
            let Some(model) = with(&base, name, 1.0) else { return };
            let module = rest.strip_suffix(".weight").unwrap();
            close(&format!("{name}: {key}"), &weight(&model, module), wanted, WEIGHT);
        } else {
            continue;
        }
        seen += 1;
    }
    assert!(seen > 0, "`{expected}` says nothing of `{name}`");
}

/// How far a prediction moves when its texts move by float32's own rounding of the layers behind them, some units in
/// the last place. At scale 2.2 features reach 30, attention is all but a choice, and this is far above the tolerance:
/// there no float32 program can say more.
fn sensitivity(model: &Model, text: &TextEmbeds) -> f64 {
    let moved = |by: f64| {
        let prompt_embeds = (&text.prompt_embeds * (1.0 + by)).unwrap();
        predict(model, &TextEmbeds { prompt_embeds, pooled: text.pooled.clone() })
    };
    let off = (moved(2f64.powi(-22)) - moved(-2f64.powi(-22))).unwrap().abs().unwrap();
    let off = f64::from(off.max_all().unwrap().to_scalar::<f32>().unwrap());
    println!("a prediction moves by {off:.1e} when its texts move by 2⁻²²");
    off
}

/// The prompts behind the inputs, which the test holds to what the inputs say they mean.
fn prompts() -> Option<Vec<String>> {
    let prompts: Vec<String> = serde_json::from_value(json("adapters/prompts.json")?).unwrap();
    let (input, tiny) = (Golden::open("adapters/input.safetensors")?, tiny()?);
    let prompts_as_text: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let meant = tiny.encode(&prompts_as_text).prompt_embeds;
    close("prompts", &meant, input.get("encoder_hidden_states"), POOLED * 2.5);
    Some(prompts)
}

/// Texts, and predictions from them, with both encoders changed.
fn holds_with_text(name: &str, expected: &str) {
    let Some(golden) = Golden::open(&format!("adapters/{expected}.expected.safetensors")) else { return };
    let (Some(base), Some(adapter)) = (base(), adapter(name)) else { return };
    let Some(prompts) = prompts() else { return };
    let mut seen = 0;
    for (key, wanted) in &golden.tensors {
        let Some(scale) = key.strip_prefix("te.prompt_embeds.scale") else { continue };
        let model = base.with(&adapter, Scales::both(scale.parse().unwrap()), false).unwrap();
        let text = model.build_text(&Compute::cpu()).unwrap();
        let (ids, ids_2) = text.tokenizers.encode(&prompts).unwrap();
        let embeds = text.encoders.forward(&ids, &ids_2).unwrap();
        close(&format!("{name}: {key}"), &embeds.prompt_embeds, wanted, TEXT);
        let pooled = format!("te.pooled.scale{scale}");
        close(&format!("{name}: {pooled}"), &embeds.pooled, golden.get(&pooled), POOLED * 5.0);
        let eps = format!("eps_with_te.scale{scale}");
        let given = TextEmbeds { prompt_embeds: wanted.clone(), pooled: golden.get(&pooled).clone() };
        let allowed = EPS * 2.0 + 4.0 * sensitivity(&model, &given);
        close(
            &format!("{name}: {eps} of the file's texts"),
            &predict(&model, &given),
            golden.get(&eps),
            allowed,
        );
        close(&format!("{name}: {eps}"), &predict(&model, &embeds), golden.get(&eps), allowed);
        seen += 1;
    }
    assert!(seen > 0, "`{expected}` says nothing of `{name}`'s texts");
}

#[test]
fn golden_without_an_adapter_the_prediction_is_the_base_models() {
    let (Some(base), Some(input)) = (base(), Golden::open("adapters/input.safetensors")) else { return };
    close("base", &eps(&base), input.get("eps.base"), EPS);
}

#[test]
fn golden_lora_of_kohya_in_both_spellings() {
    holds("lora_kohya", "lora_kohya");
    holds("lora_kohya_diffusers_names", "lora_kohya");
}

#[test]
fn golden_lora_of_kohya_in_both_text_encoders() {
    holds_with_text("lora_kohya", "lora_kohya");
}

#[test]
fn golden_lora_of_peft_old_and_new() {
    holds("lora_peft", "lora_peft");
    holds("lora_diffusers_down_up", "lora_peft");
    holds("lora_peft_no_metadata", "lora_peft_no_metadata");
}

#[test]
fn golden_lora_of_peft_in_both_text_encoders() {
    holds_with_text("lora_peft_text_encoders", "lora_peft_text_encoders");
}

#[test]
fn golden_locon_with_a_middle_convolution() {
    holds("locon_tucker", "locon_tucker");
}

#[test]
fn golden_loha() {
    holds("loha", "loha");
}

#[test]
fn golden_lokr() {
    holds("lokr", "lokr");
}

/// Weights `W.{prefix}{module}` of a model.
fn weights_hold(golden: &Golden, prefix: &str, model: &Model) {
    let mut seen = 0;
    for (key, wanted) in &golden.tensors {
        let Some(module) = key.strip_prefix(prefix) else { continue };
        close(&format!("{}: {key}", golden.name), &weight(model, module), wanted, WEIGHT);
        seen += 1;
    }
    assert!(seen > 0, "no `{prefix}` in `{}`", golden.name);
}

#[test]
fn golden_svdiff_shifts_singular_values() {
    let Some(golden) = Golden::open("adapters/svdiff.expected.safetensors") else { return };
    let Some(base) = base() else { return };
    weights_hold(&golden, "W.", &with(&base, "svdiff", 1.0).unwrap());
    for (key, wanted) in &golden.tensors {
        let Some(scale) = key.strip_prefix("eps.scale") else { continue };
        let model = with(&base, "svdiff", scale.parse().unwrap()).unwrap();
        close(&format!("svdiff: {key}"), &eps(&model), wanted, EPS);
    }
}

#[test]
fn golden_oft_of_kohya_turns_the_output_side() {
    let Some(golden) = Golden::open("adapters/oft_kohya.expected.safetensors") else { return };
    let Some(base) = base() else { return };
    let model = with(&base, "oft_kohya", 1.0).unwrap();
    weights_hold(&golden, "W.", &model);
    close("oft_kohya: eps", &eps(&model), golden.get("eps"), EPS);
}

#[test]
fn golden_oft_of_peft_turns_the_input_side_one_way_or_the_other() {
    let Some(golden) = Golden::open("adapters/oft_peft.expected.safetensors") else { return };
    let (Some(base), Some(path)) = (base(), file("adapters/oft_peft.safetensors")) else { return };
    // PEFT itself has the form in `adapter_config.json`, beside weights that do not say it.
    let folder = tempfile::tempdir().unwrap();
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    candle_core::safetensors::save(&tensors, folder.path().join("adapter_model.safetensors")).unwrap();
    for (form, neumann) in [("cayley", false), ("cayley_neumann5", true)] {
        let config = format!(r#"{{"peft_type": "OFT", "use_cayley_neumann": {neumann}}}"#);
        std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
        let single = read::open(folder.path(), Digest::of(form.as_bytes())).unwrap();
        let model = base.with(&single.into(), Scales::both(1.0), false).unwrap();
        weights_hold(&golden, &format!("W.{form}."), &model);
        close(&format!("oft_peft: eps.{form}"), &eps(&model), golden.get(&format!("eps.{form}")), EPS);
    }
}
