//! A single file in the original layout is the folder that it was written from.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use flow_nodes::sdxl::original::prefix;
use flow_nodes::sdxl::{Checkpoint, Compute, OpenOptions, Part, Source};

use super::sampling::whole_pipeline;
use super::support::{Golden, file, networks, tiny};

pub(crate) const WHOLE: &str = "tiny-sdxl.safetensors";

/// The set's single file and folder.
fn both() -> Option<(PathBuf, PathBuf)> {
    Some((file(WHOLE)?, file("tiny-sdxl")?))
}

/// The single file with the configuration of the folder.
pub(crate) fn open(file: &Path, folder: &Path) -> Checkpoint {
    open_with_vae(file, folder, None)
}

fn open_with_vae(file: &Path, folder: &Path, vae: Option<PathBuf>) -> Checkpoint {
    Checkpoint::open_with(file, &OpenOptions { config: Some(folder.to_owned()), vae }).unwrap()
}

/// A copy of a safetensors file with its tensors changed.
fn changed(file: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.safetensors");
    let mut tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, &copy).unwrap();
    (folder, copy)
}

/// The tensors of one part as a network of this type gets them, by name.
fn weights(
    checkpoint: &Checkpoint,
    part: Part,
    dtype: DType,
    like: &Checkpoint,
) -> BTreeMap<String, Vec<f32>> {
    let compute = Compute { device: Device::Cpu, dtype };
    let source = checkpoint.source(part, &compute);
    let values = |name: &str, shape: &[usize]| -> Vec<f32> {
        let tensor = source.tensor(name, shape).unwrap();
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    like.weights(part).shapes().map(|(name, shape)| (name.to_owned(), values(name, shape))).collect()
}

#[track_caller]
pub(crate) fn same_tensors(single: &Checkpoint, folder: &Checkpoint, dtype: DType) {
    for part in Part::ALL {
        let names = |checkpoint: &Checkpoint| -> Vec<String> {
            checkpoint.weights(part).shapes().map(|(name, _)| name.to_owned()).collect()
        };
        assert_eq!(names(single), names(folder));
        let (found, expected) = (weights(single, part, dtype, folder), weights(folder, part, dtype, folder));
        for (name, expected) in &expected {
            assert!(found[name] == *expected, "{}: `{name}` differs", part.folder());
        }
        let numbers: usize = expected.values().map(Vec::len).sum();
        println!("{}: {} tensors, {numbers} numbers, all equal", part.folder(), expected.len());
    }
}

#[test]
fn golden_single_file_has_the_tensors_of_the_folder() {
    let Some((file, folder)) = both() else { return };
    same_tensors(&open(&file, &folder), &Checkpoint::open(&folder).unwrap(), DType::F32);
}

#[test]
fn golden_single_file_makes_the_picture_of_the_folder() {
    let (Some((file, folder)), Some(golden)) = (both(), Golden::open("forward/pipeline_ddim10.safetensors"))
    else {
        return;
    };
    let Some(tiny) = tiny() else { return };
    let numbers = |picture: Tensor| picture.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let single = numbers(whole_pipeline(&networks(open(&file, &folder)), &golden));
    assert!(single == numbers(whole_pipeline(tiny, &golden)), "bit for bit");
}

#[test]
fn golden_single_file_needs_no_riders_and_bears_many() {
    let Some((file, folder)) = both() else { return };
    let expected = Checkpoint::open(&folder).unwrap();
    let (_kept, bare) = changed(&file, |tensors| {
        let before = tensors.len();
        tensors.retain(|name, _| !name.ends_with("position_ids") && !name.ends_with("logit_scale"));
        assert_eq!(tensors.len(), before - 2);
    });
    same_tensors(&open(&bare, &folder), &expected, DType::F32);

    let (_kept, laden) = changed(&file, |tensors| {
        let rider = |dtype| Tensor::zeros(3, dtype, &Device::Cpu).unwrap();
        for name in
            ["model_ema.decay", "denoiser.sigmas", "betas", "sqrt_alphas_cumprod", "alphas_cumprod_prev"]
        {
            tensors.insert(name.into(), rider(DType::F64));
        }
        tensors.insert("model_ema.num_updates".into(), rider(DType::U8));
    });
    same_tensors(&open(&laden, &folder), &expected, DType::F32);
}

#[test]
fn golden_single_file_may_be_of_every_float() {
    let Some((file, folder)) = both() else { return };
    let expected = Checkpoint::open(&folder).unwrap();
    for dtype in [DType::F32, DType::BF16] {
        let (_kept, copy) = changed(&file, |tensors| {
            for tensor in tensors.values_mut().filter(|tensor| tensor.dtype().is_float()) {
                *tensor = tensor.to_dtype(dtype).unwrap();
            }
        });
        same_tensors(&open(&copy, &folder), &expected, dtype);
    }
}

#[test]
fn golden_single_file_goes_by_its_files_and_those_of_its_configuration() {
    let Some((file, folder)) = both() else { return };
    let checkpoint = open(&file, &folder);
    let files = checkpoint.files();
    assert!(files.iter().all(|file| file.is_file()));
    assert_eq!(files.iter().filter(|f| f.extension().is_some_and(|e| e == "safetensors")).count(), 1);
    assert!(files.contains(&file) && files.contains(&folder.join("unet/config.json")));
    assert!(files.contains(&folder.join("tokenizer_2/tokenizer.json")));
    assert_eq!(checkpoint.name(), "tiny-sdxl");
    assert_eq!(Checkpoint::open(&folder).unwrap().name(), "tiny-sdxl");
}

/// The same autoencoder in the forms that people have it, in place of one that is spoiled.
#[test]
fn golden_single_file_takes_another_autoencoder() {
    let Some((file, folder)) = both() else { return };
    let expected = Checkpoint::open(&folder).unwrap();
    let vae = prefix(Part::Vae);
    let (_kept, without) = changed(&file, |tensors| tensors.retain(|name, _| !name.starts_with(vae)));
    let (_kept, alone) = changed(&file, |tensors| tensors.retain(|name, _| name.starts_with(vae)));
    let (_kept, bare) = changed(&alone, |tensors| {
        *tensors = tensors.drain().map(|(name, tensor)| (name.replacen(vae, "", 1), tensor)).collect();
    });
    let diffusers = folder.join("vae/diffusion_pytorch_model.safetensors");
    for other in [folder.join("vae"), diffusers, alone, bare, file.clone()] {
        let single = open_with_vae(&without, &folder, Some(other.clone()));
        same_tensors(&single, &expected, DType::F32);
        let decides = |file: &Path| single.files().contains(&file.to_owned());
        assert!(decides(&other) || decides(&other.join("config.json")), "{}", other.display());
        assert!(decides(&folder.join("vae/config.json")), "whose settings those are");

        let options = OpenOptions { config: None, vae: Some(other) };
        same_tensors(&Checkpoint::open_with(&folder, &options).unwrap(), &expected, DType::F32);
    }
}
