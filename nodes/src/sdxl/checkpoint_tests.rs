//! A folder that does not fit itself is refused with everything that is wrong, before a weight is read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use tempfile::TempDir;

use super::*;

fn mini() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini-sdxl")
}

/// A copy of the model in the repository, to be spoiled.
fn copy() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for part in ["", "unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"]
    {
        std::fs::create_dir_all(copy.path().join(part)).unwrap();
        for entry in std::fs::read_dir(mini().join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, copy.path().join(part).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    copy
}

/// Changes one part's tensors.
fn change(folder: &Path, file: &str, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let file = folder.join(file);
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, file).unwrap();
}

/// Changes one key of a configuration.
fn set(folder: &Path, file: &str, key: &str, value: serde_json::Value) {
    let file = folder.join(file);
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(file, config.to_string()).unwrap();
}

fn complaint(folder: &Path) -> String {
    format!("{:#}", Checkpoint::open(folder).unwrap_err())
}

const VAE: &str = "vae/diffusion_pytorch_model.safetensors";

#[test]
fn the_model_in_the_repository_opens_and_lists_its_files() {
    let checkpoint = Checkpoint::open(&mini()).unwrap();
    let files = checkpoint.files();
    assert!(files.iter().all(|file| file.is_file()));
    let has = |name: &str| files.contains(&mini().join(name));
    assert!(
        has("model_index.json") && has("scheduler/scheduler_config.json") && has("tokenizer/tokenizer.json")
    );
    assert!(has("unet/config.json") && has(VAE) && has("text_encoder_2/model.safetensors"));
    assert!(!has("tokenizer/vocab.json"), "tokenizer.json decides");
    assert_eq!(checkpoint.native_size(), Some(64));
}

#[test]
fn a_checkpoint_goes_to_other_threads() {
    fn travels<T: Send + Sync>() {}
    travels::<Checkpoint>();
}

#[test]
fn everything_that_does_not_fit_is_said_at_once() {
    let folder = copy();
    change(folder.path(), VAE, |tensors| {
        tensors.remove("decoder.conv_in.bias");
        tensors.insert("what.is.this".into(), Tensor::zeros(3, DType::F16, &Device::Cpu).unwrap());
    });
    change(folder.path(), "text_encoder/model.safetensors", |tensors| {
        let name = "text_model.final_layer_norm.weight";
        tensors.insert(name.into(), Tensor::zeros((8, 8), DType::F16, &Device::Cpu).unwrap());
    });
    let said = complaint(folder.path());
    assert!(said.contains("vae: `decoder.conv_in.bias` [64] is missing"), "{said}");
    assert!(said.contains("vae: `what.is.this` [3] is not expected"), "{said}");
    assert!(
        said.contains("text_encoder: `text_model.final_layer_norm.weight` is [8, 8], expected [64]"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 4, "{said}");
}

#[test]
fn every_part_that_cannot_be_opened_is_said_at_once() {
    let folder = copy();
    std::fs::write(folder.path().join(VAE), "nonsense, but long enough").unwrap();
    std::fs::remove_file(folder.path().join("text_encoder/model.safetensors")).unwrap();
    let said = complaint(folder.path());
    assert!(said.contains(&format!("{VAE}` is not a safetensors file")), "{said}");
    assert!(said.contains("there is no `model.safetensors` in `"), "{said}");
}

#[test]
fn a_number_that_is_none_is_found_when_its_network_is_loaded() {
    let folder = copy();
    change(folder.path(), VAE, |tensors| {
        let bias = Tensor::full(f32::NAN, 3, &Device::Cpu).unwrap();
        tensors.insert("decoder.conv_out.bias".into(), bias);
    });
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let said = format!("{:#}", checkpoint.load_vae(&Compute::cpu()).unwrap_err());
    assert!(said.contains("`decoder.conv_out.bias`") && said.contains(VAE) && said.contains("NaN"), "{said}");
}

#[test]
fn settings_that_change_numbers_are_refused_by_name() {
    let folder = copy();
    set(folder.path(), "unet/config.json", "class_embed_type", "timestep".into());
    set(folder.path(), "unet/config.json", "use_linear_projection", false.into());
    set(folder.path(), "unet/config.json", "act_fn", "gelu".into());
    let said = complaint(folder.path());
    assert!(said.contains("unet/config.json` asks for what Flow cannot do"), "{said}");
    for line in [
        "`class_embed_type` is \"timestep\"; only null is supported",
        "`use_linear_projection` is false; only true is supported",
        "`act_fn` is \"gelu\"; only silu is supported",
    ] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn parts_of_different_models_do_not_fit_together() {
    let folder = copy();
    set(folder.path(), "unet/config.json", "cross_attention_dim", 2048.into());
    let said = complaint(folder.path());
    assert!(
        said.contains("`cross_attention_dim` is 2048, but the text encoders give 160 features"),
        "{said}"
    );
}

#[test]
fn other_pipelines_and_other_folders_are_told_apart() {
    let folder = copy();
    set(folder.path(), "model_index.json", "_class_name", "FluxPipeline".into());
    assert!(complaint(folder.path()).ends_with("is a Flux model; Flow runs SDXL"));
    set(folder.path(), "model_index.json", "_class_name", "NewPipeline".into());
    assert!(complaint(folder.path()).contains("it is a NewPipeline, not a StableDiffusionXLPipeline"));
    set(folder.path(), "model_index.json", "_class_name", "StableDiffusionXLPipeline".into());
    set(folder.path(), "unet/config.json", "addition_embed_type", serde_json::Value::Null);
    set(folder.path(), "unet/config.json", "cross_attention_dim", 768.into());
    assert!(complaint(folder.path()).contains("is an SD 1.x model (such as SD 1.5); Flow runs SDXL"));

    let empty = tempfile::tempdir().unwrap();
    assert!(complaint(empty.path()).contains("model_index.json`"));
}

#[test]
fn autoencoders_with_the_old_names_are_the_same_autoencoder() {
    let (folder, z) = (copy(), Tensor::rand(-1f32, 1., (1, 4, 4, 6), &Device::Cpu).unwrap());
    change(folder.path(), VAE, |tensors| {
        for (new, old) in [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")] {
            let renamed: Vec<String> =
                tensors.keys().filter(|name| name.contains(&format!(".{new}."))).cloned().collect();
            assert_eq!(renamed.len(), 4);
            for name in renamed {
                let tensor = tensors.remove(&name).unwrap();
                let tensor = if tensor.rank() == 2 {
                    tensor.unsqueeze(2).unwrap().unsqueeze(3).unwrap()
                } else {
                    tensor
                };
                tensors.insert(name.replace(new, old), tensor);
            }
        }
    });
    let decode = |folder: &Path| {
        let vae = Checkpoint::open(folder).unwrap().load_vae(&Compute::cpu()).unwrap();
        vae.decode(&z).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(decode(folder.path()), decode(&mini()));
}

#[test]
fn text_encoders_without_the_module_around_them_are_the_same_text_encoders() {
    let folder = copy();
    change(folder.path(), "text_encoder/model.safetensors", |tensors| {
        let bare = |(name, tensor): (String, Tensor)| (name.replace("text_model.", ""), tensor);
        *tensors = std::mem::take(tensors).into_iter().map(bare).collect();
    });
    let shapes = |folder: &Path| {
        let checkpoint = Checkpoint::open(folder).unwrap();
        checkpoint.weights(Part::TextEncoder).shapes().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shapes(folder.path()), shapes(&mini()));
}

#[test]
fn networks_do_not_run_in_integers() {
    let compute = Compute { device: Device::Cpu, dtype: DType::U8 };
    let said = format!("{:#}", Checkpoint::open(&mini()).unwrap().load_unet(&compute).unwrap_err());
    assert!(said.contains("networks do not run in U8"), "{said}");
}

#[test]
fn layers_know_their_names() {
    let layout = Checkpoint::open(&mini()).unwrap().layout(Part::Unet).unwrap();
    assert!(layout.contains_key("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"));
    assert!(layout.contains_key("up_blocks.0.upsamplers.0.conv.bias"));
}

/// The number of tensors and of numbers in a layout.
fn count(layout: &BTreeMap<String, Vec<usize>>) -> (usize, usize) {
    (layout.len(), layout.values().map(|shape| shape.iter().product::<usize>()).sum())
}

/// The four networks of stabilityai/stable-diffusion-xl-base-1.0 have 2,567,463,684, 83,653,863, 123,060,480 and
/// 694,659,840 parameters; the denoiser's file has 1680 tensors.
#[test]
fn sdxl_base_is_the_same_code() {
    let unet: UNetConfig = serde_json::from_value(serde_json::json!({
        "act_fn": "silu", "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], "in_channels": 4,
        "layers_per_block": 2, "out_channels": 4, "projection_class_embeddings_input_dim": 2816,
        "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": true,
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    }))
    .unwrap();
    assert_eq!(count(&Layout::of(|w| UNet::new(&unet, w)).unwrap()), (1680, 2_567_463_684));

    let vae: VaeConfig = serde_json::from_value(serde_json::json!({
        "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2,
        "block_out_channels": [128, 256, 512, 512], "scaling_factor": 0.13025,
    }))
    .unwrap();
    assert_eq!(count(&Layout::of(|w| Vae::new(&vae, w)).unwrap()).1, 83_653_863);

    for (width, layers, heads, projects, parameters) in
        [(768, 12, 12, false, 123_060_480), (1280, 32, 20, true, 694_659_840)]
    {
        let text: TextConfig = serde_json::from_value(serde_json::json!({
            "vocab_size": 49408, "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
            "num_attention_heads": heads, "max_position_embeddings": 77, "projection_dim": width,
        }))
        .unwrap();
        assert_eq!(count(&Layout::of(|w| TextEncoder::new(&text, projects, w)).unwrap()).1, parameters);
    }
}
