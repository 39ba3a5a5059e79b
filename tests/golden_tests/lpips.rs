//! Distances of the Python package `lpips`, over trunks of random weights.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use flow_nodes::evaluate::lpips::{Backbone, Lpips};
use flow_nodes::sdxl::Compute;
use image::RgbImage;
use serde_json::Value;

use super::support::{Golden, file, json};

/// Python's numbers are of float64; its own float32 is off by 2e-8.
const DISTANCE: f64 = 1e-5;

/// Convolutions of VGG16 in torchvision: number, channels in and out.
const VGG16: [(usize, usize, usize); 13] = [
    (0, 3, 64),
    (2, 64, 64),
    (5, 64, 128),
    (7, 128, 128),
    (10, 128, 256),
    (12, 256, 256),
    (14, 256, 256),
    (17, 256, 512),
    (19, 512, 512),
    (21, 512, 512),
    (24, 512, 512),
    (26, 512, 512),
    (28, 512, 512),
];

/// Weights in closed form (`hashed` of `generate/07_metrics.py`), so that a large trunk needs no file.
fn hashed(shape: &[usize], layer: u32, fan: f64) -> Tensor {
    let number = |i: u32| {
        let mut h = i.wrapping_mul(2_654_435_761).wrapping_add(97 * layer);
        h ^= h >> 15;
        h = h.wrapping_mul(2_246_822_519);
        h ^= h >> 13;
        let u = f64::from(h) / 4_294_967_296.0 - 0.5;
        (u * 2.0 * 3f64.sqrt() * (2.0 / fan).sqrt()) as f32
    };
    let count = shape.iter().product::<usize>() as u32;
    Tensor::from_vec((0..count).map(number).collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
}

fn floats(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn save(folder: &Path, name: &str, tensors: &HashMap<String, Tensor>) -> PathBuf {
    let path = folder.join(name);
    candle_core::safetensors::save(tensors, &path).unwrap();
    path
}

fn picture(golden: &Golden, name: &str) -> RgbImage {
    let x = golden.get(name);
    let (h, w, _) = x.dims3().unwrap();
    let bytes = x.flatten_all().unwrap().to_vec1::<u8>().unwrap();
    RgbImage::from_raw(w as u32, h as u32, bytes).unwrap()
}

#[track_caller]
fn near(what: &str, found: f64, expected: &Value) {
    let off = (found - expected.as_f64().unwrap()).abs();
    println!("{what}: off by {off:.1e}, may be {DISTANCE:.1e}");
    assert!(off <= DISTANCE, "{what} is {found} and should be {expected}");
}

fn compare(lpips: &Lpips, name: &str, told: &Value, pictures: &Golden) {
    let pairs = told["pairs"].as_array().unwrap();
    assert!(!pairs.is_empty());
    for pair in pairs {
        let i = &pair["pair"];
        let [a, b] =
            ["a", "b"].map(|side| lpips.features(&picture(pictures, &format!("{i}.{side}"))).unwrap());
        near(&format!("{name} of pair {i}"), lpips.distance(&a, &b).unwrap(), &pair[name]);
        let found = lpips.distance_per_layer(&a, &b).unwrap();
        let expected = pair[format!("{name}_per_layer")].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for (layer, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            near(&format!("layer {layer} of {name} of pair {i}"), found, expected);
        }
    }
}

#[test]
fn golden_lpips_of_squeezenet() {
    let Some(told) = json("metrics/lpips.json") else { return };
    let Some(pictures) = Golden::open("metrics/lpips_images.safetensors") else { return };
    let Some(trunk) = file("metrics/lpips_squeeze_trunk.safetensors") else { return };
    let Some(heads) = file("metrics/lpips_squeeze_lin_v0.1.safetensors") else { return };
    let lpips = Lpips::open(Backbone::Squeeze, &trunk, &heads, &Compute::cpu()).unwrap();
    compare(&lpips, "squeeze", &told, &pictures);
}

#[test]
fn golden_lpips_of_alexnet() {
    let Some(told) = json("metrics/lpips.json") else { return };
    let Some(pictures) = Golden::open("metrics/lpips_images.safetensors") else { return };
    let Some(heads) = file("metrics/lpips_alex_lin_v0.1.safetensors") else { return };
    let mut tensors = HashMap::new();
    for (name, of) in told["alex_trunk"].as_object().unwrap() {
        let shape: Vec<usize> = serde_json::from_value(of["shape"].clone()).unwrap();
        let layer = of["layer"].as_u64().unwrap() as u32;
        let tensor = hashed(&shape, layer, of["fan"].as_f64().unwrap());
        let numbers = floats(&tensor);
        let first: Vec<f64> = serde_json::from_value(of["first"].clone()).unwrap();
        for (found, expected) in numbers.iter().zip(&first) {
            assert!((found - expected).abs() <= 1e-9, "`{name}` begins with {found}, not {expected}");
        }
        let (sum, expected) = (numbers.iter().sum::<f64>(), of["sum"].as_f64().unwrap());
        assert!((sum - expected).abs() <= 1e-6, "`{name}` sums to {sum}, not {expected}");
        tensors.insert(name.clone(), tensor);
    }
    let folder = tempfile::tempdir().unwrap();
    let trunk = save(folder.path(), "alex.safetensors", &tensors);
    let lpips = Lpips::open(Backbone::Alex, &trunk, &heads, &Compute::cpu()).unwrap();
    compare(&lpips, "alex", &told, &pictures);
}

#[test]
fn lpips_of_vgg16_is_a_distance() {
    let (mut trunk, mut heads) = (HashMap::new(), HashMap::new());
    for (layer, (at, c_in, c_out)) in (0..).zip(VGG16) {
        let weight = hashed(&[c_out, c_in, 3, 3], 2 * layer, 9.0 * c_in as f64);
        trunk.insert(format!("features.{at}.weight"), weight);
        trunk.insert(format!("features.{at}.bias"), hashed(&[c_out], 2 * layer + 1, 2000.0));
    }
    // What torchvision's file has besides.
    trunk.insert("classifier.6.bias".to_owned(), hashed(&[1000], 0, 2000.0));
    for (i, c) in [64, 128, 256, 512, 512].into_iter().enumerate() {
        let head = hashed(&[1, c, 1, 1], 50 + i as u32, c as f64).abs().unwrap();
        heads.insert(format!("lin{i}.model.1.weight"), head);
    }
    let folder = tempfile::tempdir().unwrap();
    let trunk = save(folder.path(), "vgg16.safetensors", &trunk);
    let heads = save(folder.path(), "heads.safetensors", &heads);
    let lpips = Lpips::open(Backbone::Vgg16, &trunk, &heads, &Compute::cpu()).unwrap();

    let drawn = |layer| {
        let noise = floats(&hashed(&[40 * 33 * 3], layer, 6.0)); // in -1..=1
        let bytes = noise.into_iter().map(|x| ((x + 1.0) * 127.5) as u8).collect();
        lpips.features(&RgbImage::from_raw(40, 33, bytes).unwrap()).unwrap()
    };
    let (a, b) = (drawn(60), drawn(61));
    assert_eq!(lpips.distance(&a, &a).unwrap(), 0.0);
    let distances = lpips.distance_per_layer(&a, &b).unwrap();
    assert!(distances.len() == 5 && distances.iter().all(|d| *d > 0.0), "{distances:?}");
    assert_eq!(distances, lpips.distance_per_layer(&b, &a).unwrap());
}
