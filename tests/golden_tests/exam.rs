//! One exam that every adapter sits.

use std::collections::BTreeSet;

use candle_core::Device;
use flow_engine::{Digest, Value as _};
use flow_nodes::adapter::convert::to_low_rank;
use flow_nodes::adapter::fold::Scales;
use flow_nodes::adapter::merge::{Layers, Sum, joint, sum};
use flow_nodes::adapter::names::Target;
use flow_nodes::adapter::write::{self, FileDtype, LoraKeys, Metadata};
use flow_nodes::adapter::{Adapter, read, save};
use flow_nodes::model::Model;
use flow_nodes::sdxl::Part;

use super::adapters::{adapter, base, eps};
use super::support::close;

/// Folding and merging again goes through float32 once more.
const AGAIN: f64 = 1e-5;

/// Every adapter file of the set that changes weights, and whether it has a scale.
const SITTERS: [(&str, bool); 17] = [
    ("para_a", false),
    ("para_b", false),
    ("para_c_orthogonal_to_a", false),
    ("para_d_shares_one_with_a", false),
    ("lora_kohya", true),
    ("lora_kohya_diffusers_names", true),
    ("lora_peft", true),
    ("lora_diffusers_down_up", true),
    ("lora_peft_no_metadata", true),
    ("lora_peft_text_encoders", true),
    ("locon_tucker", true),
    ("loha", true),
    ("lokr", true),
    ("oft_kohya", false),
    ("oft_peft", false),
    ("svdiff", true),
    ("tuned", true),
];

/// The adapter of this name; `tuned` is a whole model, made from the tiny one.
fn sitter(name: &str, base: &Model) -> Option<Adapter> {
    if name != "tuned" {
        return adapter(name);
    }
    let lora = base.with(&adapter("lora_kohya")?, Scales::both(1.0), false).unwrap();
    let difference = |target: &Target| {
        let [before, after] = [base, &lora].map(|model| model.weight(target, &Device::Cpu).unwrap());
        (format!("unet.{}.diff", target.module()), (after - before).unwrap())
    };
    let changed = lora.applied()[0].bound.targets().filter(|target| target.part == Part::Unet);
    let bytes = flow_nodes::sdxl::write::bytes(&changed.map(difference).collect(), &Metadata::new()).unwrap();
    Some(read::of_bytes("tuned", bytes).unwrap().into())
}

/// What an examiner looks at.
struct Sitting<'a> {
    name: &'a str,
    has_scale: bool,
    base: &'a Model,
    adapter: &'a Adapter,
    applied: Model,
}

fn apply(base: &Model, adapter: &Adapter, scale: f64) -> Model {
    base.with(adapter, Scales::both(scale), false).unwrap()
}

fn every_sitter(examine: impl Fn(&Sitting<'_>)) {
    let Some(base) = base() else { return };
    for (name, has_scale) in SITTERS {
        let Some(adapter) = sitter(name, &base) else { return };
        let applied = apply(&base, &adapter, 1.0);
        examine(&Sitting { name, has_scale, base: &base, adapter: &adapter, applied });
    }
}

#[test]
fn golden_only_an_adapters_own_layers_change_and_all_of_them_do() {
    every_sitter(|sitting| {
        let own: BTreeSet<_> = sitting.applied.applied()[0].bound.targets().cloned().collect();
        assert!(!own.is_empty());
        let names = sitting.base.names().unwrap();
        for part in [Part::Unet, Part::TextEncoder, Part::TextEncoder2] {
            for (tensor, _) in names.shapes(part) {
                let target = Target { part, tensor: tensor.to_owned() };
                let weight = |model: &Model| {
                    model
                        .weight(&target, &Device::Cpu)
                        .unwrap()
                        .flatten_all()
                        .unwrap()
                        .to_vec1::<f32>()
                        .unwrap()
                };
                let changed = weight(&sitting.applied) != weight(sitting.base);
                assert_eq!(changed, own.contains(&target), "{}: {tensor}", sitting.name);
            }
        }
    });
}

#[test]
fn golden_at_scale_0_a_model_with_an_adapter_is_the_base() {
    every_sitter(|sitting| {
        let method = sitting.adapter.steps()[0].methods()[0];
        assert_eq!(method.has_scale(), sitting.has_scale, "{}", sitting.name);
        if sitting.has_scale {
            close(sitting.name, &eps(&apply(sitting.base, sitting.adapter, 0.0)), &eps(sitting.base), 1e-7);
        }
    });
}

#[test]
fn golden_the_digest_of_a_model_tells_adapters_scales_and_orders_apart() {
    let Some(base) = base() else { return };
    let (a, b) = (adapter("para_a").unwrap(), adapter("lora_kohya").unwrap());
    let digests: BTreeSet<Digest> = [
        base.clone(),
        apply(&base, &a, 1.0),
        apply(&base, &b, 1.0),
        apply(&base, &b, 0.5),
        apply(&apply(&base, &a, 1.0), &b, 1.0),
        apply(&apply(&base, &b, 1.0), &a, 1.0),
    ]
    .iter()
    .map(|model| model.digest())
    .collect();
    assert_eq!(digests.len(), 6);
}

#[test]
fn golden_saved_in_float32_an_adapter_predicts_the_same() {
    every_sitter(|sitting| {
        let mut bytes = Vec::new();
        let single = &sitting.adapter.steps()[0];
        save::file(single, Some(FileDtype::F32)).unwrap().write(&mut bytes).unwrap();
        let saved = read::of_bytes(sitting.name, bytes).unwrap().into();
        close(sitting.name, &eps(&apply(sitting.base, &saved, 1.0)), &eps(&sitting.applied), AGAIN);
    });
}

#[test]
fn golden_one_adapter_merged_alone_is_itself() {
    every_sitter(|sitting| {
        let (steps, names) = (sitting.adapter.steps(), sitting.base.names().unwrap());
        let merged = if steps[0].is("PaRa") {
            let layers = Layers::of(steps, "PaRa", Some(names)).unwrap();
            let joint = joint(&layers, |_| Ok(None), |_| Ok(())).unwrap();
            write::para("merged", &joint.spans, FileDtype::F32, Metadata::new()).unwrap()
        } else if steps[0].is("LoRA") {
            let layers = Layers::of(steps, "LoRA", Some(names)).unwrap();
            let summed = sum(&layers, &[1.0], Sum::Concatenated, |_| Ok(())).unwrap();
            assert_eq!(summed.error, 0.0);
            let shapes = |target: &Target| summed.shapes[target].clone();
            let says = Metadata::new();
            write::lora("merged", &summed.changes, shapes, LoraKeys::Kohya, FileDtype::F32, says).unwrap()
        } else {
            return;
        };
        close(sitting.name, &eps(&apply(sitting.base, &merged.into(), 1.0)), &eps(&sitting.applied), AGAIN);
    });
}

#[test]
fn golden_paras_and_loras_converted_to_a_lora_predict_the_same() {
    every_sitter(|sitting| {
        let single = &sitting.adapter.steps()[0];
        let changes = to_low_rank(&sitting.applied, 0, |_, _| Ok(()));
        if !(single.is("PaRa") || single.is("LoRA")) {
            let error = changes.unwrap_err().to_string();
            assert!(error.contains(&single.kind()), "{error}");
            return;
        }
        let changes = changes.unwrap();
        for keys in [LoraKeys::Kohya, LoraKeys::Peft] {
            let shapes = |target: &Target| changes.shapes[target].clone();
            let says = Metadata::new();
            let lora = write::lora("lora", &changes.changes, shapes, keys, FileDtype::F32, says).unwrap();
            let converted = apply(sitting.base, &lora.into(), 1.0);
            close(sitting.name, &eps(&converted), &eps(&sitting.applied), AGAIN);
        }
    });
}

#[test]
fn golden_applying_a_para_twice_changes_nothing() {
    every_sitter(|sitting| {
        if sitting.adapter.steps()[0].is("PaRa") {
            let twice = apply(&sitting.applied, sitting.adapter, 1.0);
            close(sitting.name, &eps(&twice), &eps(&sitting.applied), AGAIN);
        }
    });
}

#[test]
fn golden_a_sum_of_factors_is_not_the_sum_and_a_cut_tells_its_error() {
    let Some(base) = base() else { return };
    let steps = ["lora_peft", "lora_peft_no_metadata"].map(|name| adapter(name).unwrap().steps()[0].clone());
    let layers = Layers::of(&steps, "LoRA", Some(base.names().unwrap())).unwrap();
    let error = |how| sum(&layers, &[1.0, 1.0], how, |_| Ok(())).unwrap().error;
    assert_eq!(error(Sum::Concatenated), 0.0);
    assert!(error(Sum::Factors) > 0.1, "{}", error(Sum::Factors));
    let cuts: Vec<f64> = [1, 4, 10].into_iter().map(|r| error(Sum::Cut(r))).collect();
    assert!(cuts.is_sorted_by(|a, b| a > b) && cuts[2] < 1e-7, "{cuts:?}");
}
