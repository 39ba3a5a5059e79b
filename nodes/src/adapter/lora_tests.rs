//! What no golden file holds: rsLoRA's scale, and DoRA's norms in both of their spellings.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use crate::adapter::{Single, read};
use crate::sdxl::write::bytes;

const LAYER: &str = "unet.conv_in";

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

/// A LoRA of rank 4 on one layer `[6, 10]`, with more pieces and words.
fn lora(more: &[(&str, Tensor)], says: &[(&str, &str)]) -> Single {
    let mut tensors = BTreeMap::from([
        (format!("{LAYER}.lora_A.weight"), Tensor::full(0.25f32, (4, 10), &Device::Cpu).unwrap()),
        (format!("{LAYER}.lora_B.weight"), Tensor::full(0.5f32, (6, 4), &Device::Cpu).unwrap()),
    ]);
    tensors.extend(more.iter().map(|(end, tensor)| (format!("{LAYER}.{end}"), tensor.clone())));
    let says = says.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    read::of_bytes("lora", bytes(&tensors, &says).unwrap()).unwrap()
}

fn applied(single: &Single, weight: &Tensor, scale: f64) -> Tensor {
    let layer = &single.layers()[0];
    let pieces = single.pieces(layer);
    layer.method.check(&pieces, weight.dims()).unwrap();
    layer.method.apply(weight.copy().unwrap(), &pieces, scale).unwrap()
}

fn apart(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

/// What the change is where nothing is said: alpha is the rank, so every entry is 4 · 0.25 · 0.5.
const PLAIN: f32 = 0.5;

fn change(single: &Single) -> f32 {
    let weight = random(&[6, 10]);
    let change = (applied(single, &weight, 1.0) - weight).unwrap();
    change.mean_all().unwrap().to_scalar().unwrap()
}

#[test]
fn a_rank_stabilized_lora_is_divided_by_the_root_of_its_rank() {
    let config = r#"{"unet.lora_alpha": 8, "unet.use_rslora": RS, "unet.r": 4}"#;
    let says = |rs: &str| lora(&[], &[("lora_adapter_metadata", &config.replace("RS", rs))]);
    assert!((change(&says("false")) - PLAIN * 2.0).abs() < 1e-6);
    assert!((change(&says("true")) - PLAIN * 4.0).abs() < 1e-6);
    assert!((change(&lora(&[], &[])) - PLAIN).abs() < 1e-6);
}

#[test]
fn an_alpha_for_one_layer_comes_before_the_one_for_all() {
    let config = r#"{"unet.lora_alpha": 8, "unet.alpha_pattern": {"conv_in": 2}}"#;
    assert!((change(&lora(&[], &[("lora_adapter_metadata", config)])) - PLAIN / 2.0).abs() < 1e-6);
}

/// The norms of rows `[6, 1]` or of columns `[1, 10]`.
fn norms(weight: &Tensor, axis: usize) -> Tensor {
    weight.sqr().unwrap().sum_keepdim(axis).unwrap().sqrt().unwrap()
}

#[test]
fn a_magnitude_that_the_change_has_already_changes_nothing_more() {
    let weight = random(&[6, 10]);
    let plain = applied(&lora(&[], &[]), &weight, 1.0);
    let of_peft = norms(&plain, 1).flatten_all().unwrap();
    for (end, magnitude) in [
        ("lora_magnitude_vector", of_peft),
        ("dora_scale", norms(&plain, 1)),
        ("dora_scale", norms(&plain, 0)),
    ] {
        let found = applied(&lora(&[(end, magnitude)], &[]), &weight, 1.0);
        assert!(apart(&found, &plain) < 1e-5, "{end}");
    }
}

#[test]
fn a_magnitude_brings_rows_or_columns_to_its_norms() {
    let weight = random(&[6, 10]);
    let threes = |shape: (usize, usize)| Tensor::full(3f32, shape, &Device::Cpu).unwrap();
    for (axis, shape) in [(1, (6, 1)), (0, (1, 10))] {
        let single = lora(&[("dora_scale", threes(shape))], &[]);
        let found = norms(&applied(&single, &weight, 1.0), axis);
        assert!(apart(&found, &threes(shape)) < 1e-5, "{shape:?}");
        assert_eq!(apart(&applied(&single, &weight, 0.0), &weight), 0.0, "at scale 0 it is the base");
    }
}

#[test]
fn a_magnitude_of_another_length_is_refused() {
    let single = lora(&[("dora_scale", random(&[7, 1]))], &[]);
    let layer = &single.layers()[0];
    let wrong = layer.method.check(&single.pieces(layer), &[6, 10]).unwrap_err();
    assert!(wrong.contains("[7, 1]"), "{wrong}");
}
