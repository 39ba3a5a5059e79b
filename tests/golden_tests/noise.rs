//! Noise of PyTorch's CPU generator.

use std::collections::BTreeMap;

use flow_nodes::sample::Generator;

use super::support::{Golden, close};

/// PyTorch takes logarithm and cosine in float32; re-deriving them in float64 measured 1e-6.
const NOISE: f64 = 2e-6;

/// `seed42.n17` to its seed and the rest.
fn parts(key: &str) -> Option<(u64, &str)> {
    let (seed, rest) = key.strip_prefix("seed")?.split_once('.')?;
    Some((seed.parse().ok()?, rest))
}

#[test]
fn golden_noise_of_every_seed_and_size() {
    let Some(golden) = Golden::open("random/torch_randn.safetensors") else { return };
    let mut seen = 0;
    for (key, expected) in &golden.tensors {
        let Some((seed, rest)) = parts(key) else { continue };
        let Some(n) = rest.strip_prefix('n').and_then(|n| n.parse().ok()) else { continue };
        close(key, &Generator::new(seed).randn(&[n]).unwrap(), expected, NOISE);
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn golden_noise_goes_on_where_the_last_draw_ended() {
    let Some(golden) = Golden::open("random/torch_randn.safetensors") else { return };
    let mut streams: BTreeMap<u64, BTreeMap<usize, &str>> = BTreeMap::new();
    for key in golden.tensors.keys() {
        let Some((seed, rest)) = parts(key) else { continue };
        let Some((i, _)) = rest.strip_prefix("stream").and_then(|rest| rest.split_once('.')) else {
            continue;
        };
        streams.entry(seed).or_default().insert(i.parse().unwrap(), key);
    }
    assert!(!streams.is_empty());
    for (seed, draws) in streams {
        let mut generator = Generator::new(seed);
        for key in draws.into_values() {
            let expected = golden.get(key);
            close(key, &generator.randn(expected.dims()).unwrap(), expected, NOISE);
        }
    }
}

#[test]
fn golden_noise_of_whole_latents() {
    let Some(golden) = Golden::open("random/torch_randn.safetensors") else { return };
    for (key, expected) in &golden.tensors {
        let Some((seed, rest)) = parts(key) else { continue };
        let Some(shape) = rest.strip_prefix("latents_").and_then(|rest| rest.strip_suffix("_head")) else {
            continue;
        };
        let shape: Vec<usize> = shape.split('x').map(|n| n.parse().unwrap()).collect();
        let noise = Generator::new(seed).randn(&shape).unwrap().flatten_all().unwrap();
        close(key, &noise.narrow(0, 0, expected.elem_count()).unwrap(), expected, NOISE);
    }
}
