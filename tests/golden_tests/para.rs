//! PaRa: alone, in both orders, joint, with a LoRA on either side, and the ranks that are left.

use candle_core::{Device, Tensor};
use flow_nodes::adapter::basis::{self, Matrix, matrix, singular_values};
use flow_nodes::adapter::convert::{factored, pair, to_low_rank};
use flow_nodes::adapter::fold::Scales;
use flow_nodes::adapter::low_rank::LowRank;
use flow_nodes::adapter::merge::{Layers, joint};
use flow_nodes::adapter::names::Target;
use flow_nodes::adapter::order::meeting;
use flow_nodes::adapter::write::{self, FileDtype, LoraKeys};
use flow_nodes::adapter::{Adapter, order};
use flow_nodes::model::Model;
use flow_nodes::sample::guidance::Denoiser;
use flow_nodes::sample::{Ddim, NoiseSchedule, Sampler, walk};
use flow_nodes::sdxl::config::Prediction;
use flow_nodes::sdxl::{Compute, Part, TextEmbeds};
use serde_json::Value;

use super::adapters::{adapter, base, eps, weight, with};
use super::support::{Golden, close, close_to_rms, json};

/// float32 against float64 measured 5e-6 in PyTorch; another order of summation may do worse.
const EPS: f64 = 5e-5;
/// Merged weights measured 2e-7.
const WEIGHT: f64 = 2e-6;
/// A float32 product of thin factors against a float64 one.
const PRODUCT: f64 = 5e-6;
/// Errors of five steps add up: measured 5e-5 of the rms in PyTorch.
const WALK: f64 = 5e-4;

/// The joint PaRa of two files, as its own file would hold it.
fn joined(first: &str, second: &str) -> Adapter {
    let steps = [first, second].map(|name| adapter(name).unwrap().steps()[0].clone());
    let layers = Layers::of(&steps, "PaRa", None).unwrap();
    let joint = joint(&layers, |_| Ok(None), |_| Ok(())).unwrap();
    write::para("joint", &joint.spans, FileDtype::F32, write::Metadata::new()).unwrap().into()
}

/// The model that the golden files call by this name.
fn configured(base: &Model, name: &str) -> Option<Model> {
    let lora = |model: &Model| with(model, "lora_kohya", 1.3);
    let para = |model: &Model, name: &str| with(model, &format!("para_{name}"), 1.0);
    match name {
        "a" | "b" => para(base, name),
        "a_then_b" => para(&para(base, "a")?, "b"),
        "b_then_a" => para(&para(base, "b")?, "a"),
        "joint_qr" => Some(base.with(&joined("para_a", "para_b"), Scales::both(1.0), false).unwrap()),
        "a_then_lora" => lora(&para(base, "a")?),
        "lora_then_a" => para(&lora(base)?, "a"),
        unknown => panic!("what is `{unknown}`?"),
    }
}

const CONFIGURATIONS: [&str; 7] =
    ["a", "b", "a_then_b", "b_then_a", "joint_qr", "a_then_lora", "lora_then_a"];

#[test]
fn golden_para_weights_and_predictions_in_every_order() {
    let (Some(golden), Some(base)) = (Golden::open("adapters/para.expected.safetensors"), base()) else {
        return;
    };
    for name in CONFIGURATIONS {
        let model = configured(&base, name).unwrap();
        close(&format!("eps.{name}"), &eps(&model), golden.get(&format!("eps.{name}")), EPS);
        let prefix = format!("W.{name}.");
        let modules: Vec<_> = golden.tensors.keys().filter_map(|key| key.strip_prefix(&prefix)).collect();
        assert!(!modules.is_empty(), "{name}");
        for module in modules {
            close(
                &format!("{name}: {module}"),
                &weight(&model, module),
                golden.get(&format!("{prefix}{module}")),
                WEIGHT,
            );
        }
    }
}

#[test]
fn golden_what_a_para_takes_out_of_a_weight() {
    let (Some(golden), Some(base)) = (Golden::open("adapters/para.expected.safetensors"), base()) else {
        return;
    };
    for name in ["a", "b"] {
        let model = configured(&base, name).unwrap();
        let prefix = format!("QQtW0.{name}.");
        for (key, wanted) in golden.tensors.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let module = &key[prefix.len()..];
            let removed = (weight(&base, module) - weight(&model, module)).unwrap().flatten_from(1).unwrap();
            close(key, &removed, wanted, WEIGHT);
        }
    }
}

#[test]
fn golden_twice_is_once() {
    let Some(base) = base() else { return };
    let once = configured(&base, "b").unwrap();
    let twice = with(&once, "para_b", 1.0).unwrap();
    close("b twice", &eps(&twice), &eps(&once), EPS);
}

#[test]
fn golden_where_projectors_commute_every_order_and_the_joint_one_agree() {
    let (Some(golden), Some(base)) = (Golden::open("adapters/para_commuting.expected.safetensors"), base())
    else {
        return;
    };
    for (pair, file) in [("a_and_c", "para_c_orthogonal_to_a"), ("a_and_d", "para_d_shares_one_with_a")] {
        let a_first = with(&with(&base, "para_a", 1.0).unwrap(), file, 1.0).unwrap();
        let a_last = with(&with(&base, file, 1.0).unwrap(), "para_a", 1.0).unwrap();
        let joint = base.with(&joined("para_a", file), Scales::both(1.0), false).unwrap();
        let prefix = format!("W.{pair}.");
        for (key, wanted) in golden.tensors.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            for model in [&a_first, &a_last, &joint] {
                close(key, &weight(model, &key[prefix.len()..]), wanted, WEIGHT);
            }
        }
        let [first, second] =
            ["para_a", file].map(|name| with(&base, name, 1.0).unwrap().applied()[0].clone());
        for (key, wanted) in golden.tensors.iter().filter(|(key, _)| key.starts_with("span_rank")) {
            let Some(module) = key.strip_prefix(&format!("span_rank.{pair}.")) else { continue };
            let span = |applied| order::span(applied, &target(module)).unwrap().unwrap();
            let meeting = meeting(&span(&first), &span(&second)).unwrap();
            let wanted = wanted.to_scalar::<i64>().unwrap();
            assert_eq!(meeting.joint as i64, wanted, "{key}");
            assert_eq!(meeting.in_turn() as i64, wanted, "{key}: what commutes removes the same in turn");
            assert!(meeting.gap() < 1e-5, "{key}: {}", meeting.gap());
        }
    }
}

fn target(module: &str) -> Target {
    Target { part: Part::Unet, tensor: format!("{module}.weight") }
}

/// The numerical rank of a layer's weight.
fn rank_of(model: &Model, module: &str) -> usize {
    let w = matrix(&weight(model, module)).unwrap();
    basis::rank(&singular_values(w.as_ref()).unwrap(), w.nrows(), w.ncols())
}

fn ranks<'a>(table: &'a Value) -> impl Iterator<Item = (&'a str, usize)> {
    table.as_object().unwrap().iter().map(|(module, rank)| (module.as_str(), rank.as_u64().unwrap() as usize))
}

#[test]
fn golden_ranks_before_and_after_every_configuration() {
    let (Some(table), Some(base)) = (json("adapters/para_ranks.json"), base()) else { return };
    ranks(&table["before"]).for_each(|(module, rank)| assert_eq!(rank_of(&base, module), rank, "{module}"));
    for (name, after) in table["after"].as_object().unwrap() {
        let name = if name == "joint" { "joint_qr" } else { name };
        let model = configured(&base, name).unwrap();
        ranks(after).for_each(|(module, rank)| assert_eq!(rank_of(&model, module), rank, "{name}: {module}"));
    }
}

#[test]
fn golden_ranks_of_all_weights_that_the_boundary_table_names() {
    let (Some(table), Some(base)) = (json("adapters/para_rank_boundary.json"), base()) else { return };
    ranks(&table["rank_of_W0"])
        .for_each(|(module, rank)| assert_eq!(rank_of(&base, module), rank, "{module}"));
}

#[test]
fn golden_the_factored_form_depends_on_the_sign_of_q() {
    let Some(golden) = Golden::open("adapters/para_lora_factored.safetensors") else { return };
    let Some(base) = base() else { return };
    let mut seen = 0;
    for (key, wanted) in &golden.tensors {
        let Some((module, rest)) = key.split_once(".delta.") else { continue };
        let (form, scales) = rest.split_once(".a1_").unwrap();
        let (a1, a2) = scales.split_once(".a2_").unwrap();
        let part = |name: &str| matrix(golden.get(&format!("{module}.{name}"))).unwrap();
        let q = match form {
            "positive_diag" => basis::orthonormal(part("para_B").as_ref()).q,
            _ => part(&format!("Q.{form}")),
        };
        let lora = LowRank { up: part("lora_up"), down: part("lora_down") };
        let w = matrix(&weight(&base, module)).unwrap();
        let scales = [a1.parse().unwrap(), a2.parse().unwrap()];
        let change = pair(&target(module), Some(&q), Some(&lora), &w, scales).unwrap();
        close(key, &product(&change), wanted, PRODUCT);
        seen += 1;
    }
    assert!(seen > 0);
}

fn product(change: &LowRank) -> Tensor {
    let product: Matrix = &change.up * &change.down;
    basis::tensor(product.as_ref(), &[product.nrows(), product.ncols()], &Device::Cpu).unwrap()
}

#[test]
fn golden_q_has_a_positive_diagonal() {
    let Some(golden) = Golden::open("adapters/para_lora_factored.safetensors") else { return };
    for (key, wanted) in golden.tensors.iter().filter(|(key, _)| key.ends_with(".Q.positive_diag")) {
        let module = key.strip_suffix(".Q.positive_diag").unwrap();
        let b = matrix(golden.get(&format!("{module}.para_B"))).unwrap();
        let q = basis::orthonormal(b.as_ref()).q;
        close(key, &basis::tensor(q.as_ref(), wanted.dims(), &Device::Cpu).unwrap(), wanted, 1e-6);
    }
}

#[test]
fn golden_any_list_of_paras_and_loras_is_a_lora_in_both_spellings() {
    let Some(base) = base() else { return };
    for name in CONFIGURATIONS {
        let model = configured(&base, name).unwrap();
        let low_rank = to_low_rank(&model, 0, |_, _| Ok(())).unwrap();
        for keys in [LoraKeys::Kohya, LoraKeys::Peft] {
            let shapes = |target: &Target| low_rank.shapes[target].clone();
            let says = write::Metadata::new();
            let lora =
                write::lora("converted", &low_rank.changes, shapes, keys, FileDtype::F32, says).unwrap();
            let converted = base.with(&lora.into(), Scales::both(1.0), false).unwrap();
            close(&format!("{name} as {keys:?}"), &eps(&converted), &eps(&model), 1e-5);
        }
    }
}

#[test]
fn golden_a_factored_conversion_is_refused_where_ranks_differ() {
    let Some(base) = base() else { return };
    let model = configured(&base, "a_then_lora").unwrap();
    let error = factored(&model, 0, [1.0, 1.0], |_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("the PaRa has rank"), "{error:#}");
}

#[test]
fn golden_five_ddim_steps_with_adapters() {
    let (Some(golden), Some(base)) = (Golden::open("adapters/para_ddim5.expected.safetensors"), base())
    else {
        return;
    };
    let half = |name: &str, i: usize| golden.get(name).narrow(0, i, 1).unwrap();
    let embeds =
        |i| TextEmbeds { prompt_embeds: half("encoder_hidden_states", i), pooled: half("text_embeds", i) };
    let (negative, positive) = (embeds(0), embeds(1));
    let time_ids = half("time_ids", 0);
    let config = base.checkpoint().scheduler_config();
    let steps = golden.get("timesteps").dim(0).unwrap();
    let ddim = Ddim::new(&NoiseSchedule::new(config), steps, config.timestep_spacing, 0.0).unwrap();
    let timesteps: Vec<f64> = ddim.steps().iter().map(|step| step.timestep).collect();
    assert_eq!(timesteps, golden.numbers("timesteps"));
    for name in ["a_then_b", "a_then_lora"] {
        let unet = configured(&base, name).unwrap().build_unet(&Compute::cpu()).unwrap();
        let guidance = golden.number("guidance_scale");
        let denoiser =
            Denoiser::new(&unet, Prediction::Epsilon, &positive, Some(&negative), &time_ids, guidance)
                .unwrap();
        let latents = golden.get(&format!("latents.{name}"));
        let start = latents.narrow(0, 0, 1).unwrap();
        let found = walk(&ddim, 0, &denoiser, &start, &mut |_| unreachable!(), &mut |_, _| Ok(())).unwrap();
        let last = latents.dim(0).unwrap() - 1;
        close_to_rms(name, &found, &latents.narrow(0, last, 1).unwrap(), WALK);
    }
}
