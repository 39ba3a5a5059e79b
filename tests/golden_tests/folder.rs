//! The forms that weight files take.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use flow_nodes::sdxl::{Checkpoint, Part};

use super::support::file;

const STEM: &str = "diffusion_pytorch_model";

/// A copy of the tiny model without the denoiser's weights.
fn without_unet_weights(model: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(model, copy.path());
    for entry in std::fs::read_dir(copy.path().join("unet")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            std::fs::remove_file(path).unwrap();
        }
    }
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if path.is_dir() {
            copy_folder(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

fn unet(folder: &Path) -> BTreeMap<String, Vec<f32>> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let weights = checkpoint.weights(Part::Unet);
    let values = |name: &str| {
        let tensor: Tensor = weights.read(name).unwrap().to_dtype(DType::F32).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    weights.shapes().map(|(name, _)| (name.to_owned(), values(name))).collect()
}

#[test]
fn golden_weights_of_the_fp16_variant_are_the_same() {
    let (Some(model), Some(half)) =
        (file("tiny-sdxl"), file(&format!("tiny-sdxl/unet/{STEM}.fp16.safetensors")))
    else {
        return;
    };
    let copy = without_unet_weights(&model);
    std::fs::copy(half, copy.path().join(format!("unet/{STEM}.fp16.safetensors"))).unwrap();
    assert!(unet(copy.path()) == unet(&model), "every weight of the set is exact in float16");
}

#[test]
fn golden_weights_in_shards_are_the_same() {
    let Some(model) = file("tiny-sdxl") else { return };
    let whole = model.join(format!("unet/{STEM}.safetensors"));
    let tensors = candle_core::safetensors::load(&whole, &candle_core::Device::Cpu).unwrap();
    for index in ["safetensors.index", "fp16.safetensors.index", "safetensors.index.fp16"] {
        let copy = without_unet_weights(&model);
        let folder = copy.path().join("unet");
        let mut shards = [std::collections::HashMap::new(), std::collections::HashMap::new()];
        let mut weight_map = BTreeMap::new();
        for (i, (name, tensor)) in tensors.iter().enumerate() {
            weight_map.insert(name.clone(), format!("{STEM}-{:05}-of-00002.safetensors", i % 2 + 1));
            shards[i % 2].insert(name.clone(), tensor.clone());
        }
        for (i, shard) in shards.iter().enumerate() {
            let file = folder.join(format!("{STEM}-{:05}-of-00002.safetensors", i + 1));
            candle_core::safetensors::save(shard, file).unwrap();
        }
        let json = serde_json::json!({ "metadata": {}, "weight_map": weight_map });
        std::fs::write(folder.join(format!("{STEM}.{index}.json")), json.to_string()).unwrap();
        assert!(unet(copy.path()) == unet(&model), "{index}");
        let files = Checkpoint::open(copy.path()).unwrap().files().to_vec();
        assert_eq!(files.iter().filter(|f| f.to_string_lossy().contains("-of-00002")).count(), 2);
    }
}
