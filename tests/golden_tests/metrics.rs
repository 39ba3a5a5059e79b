//! The paper's measures: SSIM by scikit-image, CLIP by transformers, statistics by numpy.

use candle_core::Tensor;
use flow_nodes::evaluate::clip::Towers;
use flow_nodes::evaluate::clip::preprocess::{Preprocess, bicubic, scaled_size};
use flow_nodes::evaluate::ssim::{Window, ssim, to_the_others};
use flow_nodes::evaluate::statistics::{OverRuns, mean};
use flow_nodes::sdxl::Compute;
use image::RgbImage;
use serde_json::Value;

use super::support::{Golden, close, file};

const EXACT: f64 = 1e-9;
const FEATURES: f64 = 5e-5;

fn json(path: &str) -> Option<Value> {
    Some(serde_json::from_slice(&std::fs::read(file(path)?).unwrap()).unwrap())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// A picture `[h, w, 3]` of bytes.
pub(crate) fn picture(pixels: &Tensor) -> RgbImage {
    let (h, w, _) = pixels.dims3().unwrap();
    let bytes = pixels.flatten_all().unwrap().to_vec1::<u8>().unwrap();
    RgbImage::from_raw(w as u32, h as u32, bytes).unwrap()
}

fn near(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() < tolerance, "{what}: {found}, expected {expected}");
}

#[test]
fn golden_ssim_of_pairs_by_both_windows() {
    let (Some(told), Some(images)) =
        (json("metrics/ssim.json"), Golden::open("metrics/ssim_images.safetensors"))
    else {
        return;
    };
    let pairs = told["pairs"].as_array().unwrap();
    assert!(!pairs.is_empty());
    for pair in pairs {
        let side = |side: &str| picture(images.get(&format!("{}.{side}", pair["pair"])));
        let (a, b) = (side("a"), side("b"));
        near("gaussian", ssim(&a, &b, Window::Gaussian).unwrap(), number(&pair["gaussian"]), EXACT);
        near("uniform", ssim(&a, &b, Window::Uniform).unwrap(), number(&pair["uniform7"]), EXACT);
    }
}

#[test]
fn golden_ssim_of_a_set_over_all_pairs() {
    let (Some(told), Some(images)) =
        (json("metrics/ssim.json"), Golden::open("metrics/ssim_images.safetensors"))
    else {
        return;
    };
    let set: Vec<_> = (0..6).map(|i| picture(images.get(&format!("set.{i}")))).collect();
    let set: Vec<_> = set.iter().collect();
    let others = to_the_others(&set, Window::Gaussian, |_| Ok(())).unwrap();
    near("average", mean(&others).unwrap(), number(&told["set_of_6_average"]), EXACT);
    let pairs = told["set_of_6"].as_object().unwrap();
    let of = |i: usize| pairs.iter().filter(move |(name, _)| name.split('-').any(|n| n == i.to_string()));
    for (i, found) in others.iter().enumerate() {
        let expected: Vec<f64> = of(i).map(|(_, value)| number(value)).collect();
        assert_eq!(expected.len(), 5);
        near("to the others", *found, mean(&expected).unwrap(), EXACT);
    }
}

#[test]
fn golden_statistics_over_runs() {
    let Some(told) = json("metrics/run_statistics.json") else { return };
    let runs = told["runs"].as_array().unwrap().iter().map(|run| {
        let scores: Vec<f64> = run.as_array().unwrap().iter().map(number).collect();
        mean(&scores).unwrap()
    });
    let runs: Vec<f64> = runs.collect();
    for (found, expected) in runs.iter().zip(told["run_means"].as_array().unwrap()) {
        near("mean of a run", *found, number(expected), EXACT);
    }
    let over = OverRuns::of(&runs).unwrap();
    near("mean", over.mean, number(&told["mean"]), EXACT);
    near("deviation", over.deviation.unwrap(), number(&told["std_ddof1"]), EXACT);
    near("error", over.error.unwrap(), number(&told["standard_error_ddof1"]), EXACT);
}

fn clip_picture(name: &str) -> Option<RgbImage> {
    Some(image::open(file(&format!("metrics/{name}"))?).unwrap().to_rgb8())
}

#[test]
fn golden_pictures_are_scaled_and_cut_as_clip_wants_them() {
    let (Some(told), Some(golden)) =
        (json("metrics/clip_preprocess.json"), Golden::open("metrics/clip_preprocess.safetensors"))
    else {
        return;
    };
    let triple = |name: &str| {
        let values: Vec<f32> = told[name].as_array().unwrap().iter().map(|x| number(x) as f32).collect();
        <[f32; 3]>::try_from(values).unwrap()
    };
    let at = |side| Preprocess { side, mean: triple("mean"), std: triple("std") };
    let mut other_cuts = 0;
    for (i, said) in told["images"].as_array().unwrap().iter().enumerate() {
        let original = clip_picture(said["image"].as_str().unwrap()).unwrap();
        let (width, height) = scaled_size(original.dimensions(), 32);
        let scaled = bicubic(&original, width, height);
        assert_eq!(scaled, picture(golden.get(&format!("{i}.resized32"))), "{i}");
        assert_eq!(at(32).square(&original), picture(golden.get(&format!("{i}.crop32"))), "{i}");
        close(
            &format!("{i}"),
            &at(32).tensor(&original).unwrap(),
            golden.get(&format!("{i}.normalized32")),
            1e-6,
        );
        let large = at(224).square(&original);
        assert_eq!(large, clip_picture(&format!("clip_image_{i}_224.png")).unwrap(), "{i}");
        if said["crop_differs_224"].as_bool().unwrap() {
            other_cuts += 1;
            assert_ne!(large, clip_picture(&format!("clip_image_{i}_224_floor_crop.png")).unwrap(), "{i}");
        }
    }
    assert_eq!(other_cuts, 2);
}

#[test]
fn golden_directions_and_scores_of_clip() {
    let (Some(golden), Some(told), Some(folder)) = (
        Golden::open("metrics/clip_features.safetensors"),
        json("metrics/clip_scores.json"),
        file("metrics/tiny-clip"),
    ) else {
        return;
    };
    let towers = Towers::open(&folder, &Compute::cpu()).unwrap();
    let pictures = towers.pictures(golden.get("pixel_values")).unwrap();
    let ids = golden.get("input_ids").to_vec2::<i64>().unwrap();
    let ids: Vec<Vec<u32>> = ids.iter().map(|row| row.iter().map(|&id| id as u32).collect()).collect();
    let texts = towers.texts(&ids).unwrap();
    for i in 0..4 {
        for j in 0..4 {
            let text = number(&told["cos_image_text"][i][j]);
            near("text", pictures[i].cosine(&texts[j]), text, FEATURES);
            let image = number(&told["cos_image_image"][i][j]);
            near("image", pictures[i].cosine(&pictures[j]), image, FEATURES);
        }
    }
}

#[test]
fn golden_pictures_go_through_the_whole_of_clip() {
    let (Some(golden), Some(folder)) =
        (Golden::open("metrics/clip_features.safetensors"), file("metrics/tiny-clip"))
    else {
        return;
    };
    let towers = Towers::open(&folder, &Compute::cpu()).unwrap();
    for i in 0..4 {
        let seen =
            towers.preprocess().tensor(&clip_picture(&format!("clip_image_{i}.png")).unwrap()).unwrap();
        close("pixels", &seen, &golden.get("pixel_values").get(i).unwrap(), 1e-6);
    }
}
