//! Autoencoders that take the place of a model's own, and those that cannot. Their numbers are compared with golden
//! files in `tests/golden_tests/single.rs`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::checkpoint::{Checkpoint, OpenOptions};
use super::super::testing::{fabricate, repository};
use super::*;

fn open(vae: PathBuf) -> Result<Checkpoint> {
    let options = OpenOptions { config: None, vae: Some(vae) };
    Checkpoint::open_with(&repository("models/mini-sdxl"), &options)
}

fn complaint(vae: &Path) -> String {
    format!("{:#}", open(vae.to_owned()).unwrap_err())
}

/// A folder with the model's own autoencoder, some of its settings changed.
fn folder_with(changes: Value) -> tempfile::TempDir {
    let (own, folder) = (repository("models/mini-sdxl/vae"), tempfile::tempdir().unwrap());
    let weights = "diffusion_pytorch_model.safetensors";
    std::fs::copy(own.join(weights), folder.path().join(weights)).unwrap();
    let mut config: Value = serde_json::from_slice(&std::fs::read(own.join("config.json")).unwrap()).unwrap();
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn a_folder_brings_its_own_settings_and_files() {
    let folder = folder_with(json!({ "scaling_factor": 0.5 }));
    let checkpoint = open(folder.path().to_owned()).unwrap();
    assert!((checkpoint.vae_config().scaling_factor - 0.5).abs() < 1e-12);
    let own = repository("models/mini-sdxl/vae");
    assert!(checkpoint.files().contains(&folder.path().join("config.json")));
    assert!(!checkpoint.files().iter().any(|file| file.starts_with(&own)));
}

#[test]
fn latents_of_another_kind_are_refused() {
    for changes in [json!({ "latent_channels": 16 }), json!({ "block_out_channels": [32] })] {
        let said = complaint(folder_with(changes).path());
        assert!(said.contains("but this model's have 4 channels and"), "{said}");
    }
}

#[test]
fn what_is_no_autoencoder_is_refused_by_name() {
    let (_kept, file) = fabricate([("lora_unet_mid_block.lora_up.weight", vec![4, 4])]);
    assert!(complaint(&file).contains("is an adapter (LoRA or its like), not an autoencoder for SDXL"));
    let sd1 = [
        ("model.diffusion_model.input_blocks.0.0.weight", vec![320, 4, 3, 3]),
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight", vec![768]),
        ("first_stage_model.decoder.conv_in.weight", vec![512, 4, 3, 3]),
    ];
    let (_kept, file) = fabricate(sd1);
    assert!(complaint(&file).contains("is an SD 1.x model (such as SD 1.5), not an autoencoder for SDXL"));
}

#[test]
fn a_file_of_another_size_is_refused_with_all_that_is_wrong() {
    let (_kept, file) = fabricate([
        ("decoder.conv_in.weight", vec![512, 4, 3, 3]),
        ("decoder.mid.block_1.conv1.weight", vec![512, 512, 3, 3]),
    ]);
    let said = complaint(&file);
    assert!(
        said.contains("`first_stage_model.decoder.conv_in.weight` is [512, 4, 3, 3], expected ["),
        "{said}"
    );
    assert!(said.contains("`first_stage_model.encoder.conv_in.weight` ["), "{said}");

    let (_kept, file) = fabricate([("decoder.conv_in.weight", vec![512, 4, 3, 3])]);
    assert!(complaint(&file).contains("vae: `decoder.conv_in.weight` is [512, 4, 3, 3], expected ["));
}

#[test]
fn a_whole_models_folder_is_pointed_inwards() {
    let error = open(repository("models/mini-sdxl")).unwrap_err();
    assert!(
        Problem::hint_of(&error).unwrap().contains("the folder holds a whole model: give `"),
        "{error:#}"
    );
}
