//! Files of SDXL base's size, by their headers.

use std::path::Path;

use candle_core::DType;

use super::super::checkpoint::{Checkpoint, OpenOptions};
use super::super::config::{Prediction, SchedulerConfig, UNetConfig};
use super::super::save::Saving;
use super::super::settings::Settings;
use super::super::testing::{fabricate, fabricate_as, repository};
use super::super::text_encoder::TextEncoder;
use super::super::unet::UNet;
use super::super::vae::Vae;
use super::super::weights::Layout;
use super::*;

/// Names and shapes as `sd_xl_base_1.0.safetensors` has them.
fn sdxl_base() -> Shapes {
    let settings = Settings::SdxlBase;
    let (unet, vae) = (settings.of_part(Part::Unet).unwrap(), settings.of_part(Part::Vae).unwrap());
    let text = |part| settings.of_part(part).unwrap();
    let layout = |part| match part {
        Part::Unet => Layout::of(|w| UNet::new(&unet, w)),
        Part::Vae => Layout::of(|w| Vae::new(&vae, w)),
        Part::TextEncoder => Layout::of(|w| TextEncoder::new(&text(part), false, w)),
        Part::TextEncoder2 => Layout::of(|w| TextEncoder::new(&text(part), true, w)),
    };
    let names = OriginalNames::new(&unet, &vae);
    let mut shapes = Shapes::new();
    for part in Part::ALL {
        let wanted = layout(part).unwrap();
        shapes.extend(holders(part, &wanted, &names).into_iter().map(|(name, holder)| (name, holder.shape)));
    }
    shapes
        .insert("conditioner.embedders.0.transformer.text_model.embeddings.position_ids".into(), vec![1, 77]);
    shapes.insert("conditioner.embedders.1.model.logit_scale".into(), vec![]);
    shapes
}

fn complaint(file: &Path) -> String {
    format!("{:#}", Checkpoint::open(file).unwrap_err())
}

/// Names and shapes out of the published file.
#[test]
fn sdxl_base_has_the_names_of_its_published_file() {
    let shapes = sdxl_base();
    assert_eq!(shapes.len(), 2515);
    let unet = shapes.iter().filter(|(name, _)| name.starts_with(prefix(Part::Unet)));
    assert_eq!(unet.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>(), 2_567_463_684);
    for (name, shape) in [
        ("model.diffusion_model.time_embed.2.weight", &[1280, 1280][..]),
        ("model.diffusion_model.label_emb.0.0.weight", &[1280, 2816]),
        ("model.diffusion_model.input_blocks.0.0.weight", &[320, 4, 3, 3]),
        ("model.diffusion_model.input_blocks.1.0.in_layers.2.weight", &[320, 320, 3, 3]),
        ("model.diffusion_model.input_blocks.3.0.op.weight", &[320, 320, 3, 3]),
        ("model.diffusion_model.input_blocks.4.0.skip_connection.weight", &[640, 320, 1, 1]),
        ("model.diffusion_model.input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight", &[640, 2048]),
        ("model.diffusion_model.input_blocks.6.0.op.bias", &[640]),
        ("model.diffusion_model.input_blocks.8.1.transformer_blocks.9.ff.net.0.proj.weight", &[10240, 1280]),
        ("model.diffusion_model.middle_block.1.transformer_blocks.9.attn1.to_out.0.weight", &[1280, 1280]),
        ("model.diffusion_model.middle_block.2.out_layers.3.weight", &[1280, 1280, 3, 3]),
        ("model.diffusion_model.output_blocks.2.0.emb_layers.1.weight", &[1280, 1280]),
        ("model.diffusion_model.output_blocks.2.1.proj_in.weight", &[1280, 1280]),
        ("model.diffusion_model.output_blocks.2.2.conv.weight", &[1280, 1280, 3, 3]),
        ("model.diffusion_model.output_blocks.5.2.conv.weight", &[640, 640, 3, 3]),
        ("model.diffusion_model.output_blocks.8.0.skip_connection.weight", &[320, 640, 1, 1]),
        ("model.diffusion_model.out.2.weight", &[4, 320, 3, 3]),
        ("first_stage_model.encoder.down.2.block.0.nin_shortcut.weight", &[512, 256, 1, 1]),
        ("first_stage_model.encoder.down.0.downsample.conv.weight", &[128, 128, 3, 3]),
        ("first_stage_model.decoder.mid.attn_1.norm.weight", &[512]),
        ("first_stage_model.decoder.up.0.block.0.nin_shortcut.weight", &[128, 256, 1, 1]),
        ("first_stage_model.decoder.up.3.upsample.conv.weight", &[512, 512, 3, 3]),
        ("first_stage_model.quant_conv.weight", &[8, 8, 1, 1]),
        ("conditioner.embedders.0.transformer.text_model.encoder.layers.11.mlp.fc1.weight", &[3072, 768]),
        ("conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight", &[3840, 1280]),
        ("conditioner.embedders.1.model.transformer.resblocks.0.mlp.c_proj.weight", &[1280, 5120]),
        ("conditioner.embedders.1.model.positional_embedding", &[77, 1280]),
        ("conditioner.embedders.1.model.text_projection", &[1280, 1280]),
    ] {
        assert_eq!(shapes.get(name).map(Vec::as_slice), Some(shape), "{name}");
    }
}

#[test]
fn sdxl_base_in_one_file_opens_without_any_other_file() {
    let (_kept, file) = fabricate(sdxl_base());
    let checkpoint = Checkpoint::open(&file).unwrap();
    assert_eq!(checkpoint.files(), std::slice::from_ref(&file));
    assert_eq!((checkpoint.name(), checkpoint.native_size()), ("model".to_owned(), Some(1024)));
    assert!((checkpoint.vae_config().scaling_factor - 0.13025).abs() < 1e-12);
    let tokenizers = checkpoint.tokenizers().unwrap();
    let (ids, ids_2) = tokenizers.encode(&["a photo of a cat"]).unwrap();
    assert_eq!(ids[0][..8], [49406, 320, 1125, 539, 320, 2368, 49407, 49407]);
    assert_eq!(ids_2[0][..8], [49406, 320, 1125, 539, 320, 2368, 49407, 0]);
    assert_eq!((ids[0].len(), ids_2[0].len()), (77, 77));
}

#[test]
fn what_does_not_fit_is_said_at_once_in_the_words_of_file_and_network() {
    let mut shapes = sdxl_base();
    let fused = "conditioner.embedders.1.model.transformer.resblocks.3.attn.in_proj_bias";
    shapes.remove("model.diffusion_model.input_blocks.4.1.proj_in.bias");
    shapes.remove(fused);
    shapes.insert("model.diffusion_model.out.2.weight".into(), vec![8, 320, 3, 3]);
    shapes.insert("conditioner.embedders.1.model.text_projection".into(), vec![]);
    shapes.insert("model.diffusion_model.time_embed.cond_proj.weight".into(), vec![320, 256]);
    shapes.retain(|name, _| !name.starts_with(prefix(Part::Vae)));
    let (_kept, file) = fabricate(shapes);
    let said = complaint(&file);
    for line in [
        "`model.diffusion_model.input_blocks.4.1.proj_in.bias` [640] is missing \
         (`down_blocks.1.attentions.0.proj_in.bias` of the denoiser)",
        "resblocks.3.attn.in_proj_bias` [3840] is missing (`text_model.encoder.layers.3.self_attn.k_proj.bias`, ",
        "`model.diffusion_model.out.2.weight` is [8, 320, 3, 3], expected [4, 320, 3, 3] \
         (`conv_out.weight` of the denoiser)",
        "`conditioner.embedders.1.model.text_projection` is [], expected [1280, 1280]",
        "`model.diffusion_model.time_embed.cond_proj.weight` [320, 256] is not expected",
        "all of the autoencoder: there is no `first_stage_model.*`",
    ] {
        assert!(said.contains(line), "{line}\nin {said}");
    }
    assert_eq!(said.lines().count(), 7, "{said}");
}

#[test]
fn weights_of_a_type_that_is_not_read_are_told_from_the_header() {
    let (_kept, file) = fabricate_as("I16", sdxl_base());
    let said = complaint(&file);
    assert!(
        said.contains("`model.diffusion_model.out.2.bias` is of type I16; weights are read in F32"),
        "{said}"
    );
    assert!(!said.contains("position_ids"), "{said}");
}

#[test]
fn marks_of_fine_tunes_are_heeded() {
    let mut shapes = sdxl_base();
    let open = |shapes: &Shapes| {
        let (_kept, file) = fabricate(shapes.clone());
        Checkpoint::open(&file).unwrap().scheduler_config().clone()
    };
    let scheduler = open(&shapes);
    assert_eq!((scheduler.prediction_type, scheduler.rescale_betas_zero_snr), (Prediction::Epsilon, false));
    shapes.insert(V_PREDICTION.into(), vec![0]);
    shapes.insert(ZERO_SNR.into(), vec![0]);
    let scheduler = open(&shapes);
    assert_eq!(
        (scheduler.prediction_type, scheduler.rescale_betas_zero_snr),
        (Prediction::VPrediction, true)
    );
}

#[test]
fn a_folder_of_a_single_file_says_what_the_file_says_of_its_noise() {
    let mut shapes = sdxl_base();
    shapes.extend([V_PREDICTION, ZERO_SNR].map(|mark| (mark.to_owned(), vec![0])));
    let (_kept, file) = fabricate(shapes);
    let checkpoint = Checkpoint::open(&file).unwrap();
    let saving = Saving::new(&checkpoint, DType::F16, "a fine-tune", Default::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in saving.texts().unwrap() {
        std::fs::create_dir_all(folder.path().join(&name).parent().unwrap()).unwrap();
        std::fs::write(folder.path().join(&name), text).unwrap();
    }
    let settings = Settings::Folder(folder.path().to_owned());
    let noise: SchedulerConfig = settings.read("scheduler/scheduler_config.json").unwrap();
    assert_eq!((noise.prediction_type, noise.rescale_betas_zero_snr), (Prediction::VPrediction, true));
    let _: UNetConfig = settings.of_part(Part::Unet).unwrap();
    let prompts = ["a photo of a bear!"];
    let ids = |settings: &Settings| settings.tokenizers().unwrap().encode(&prompts).unwrap();
    assert_eq!(ids(&settings), ids(&Settings::SdxlBase));
}

#[test]
fn other_families_are_refused_by_name() {
    let one = [
        ("model.diffusion_model.input_blocks.0.0.weight", vec![320, 4, 3, 3]),
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight", vec![768]),
    ];
    let (_kept, file) = fabricate(one);
    let error = Checkpoint::open(&file).unwrap_err();
    assert!(
        format!("{error:#}").ends_with("is an SD 1.x model (such as SD 1.5); Flow runs SDXL"),
        "{error:#}"
    );
    assert!(Problem::hint_of(&error).unwrap().contains("sd_xl_base_1.0.safetensors"));

    let (_kept, file) = fabricate([("lora_unet_mid_block.lora_up.weight", vec![4, 4])]);
    let error = Checkpoint::open(&file).unwrap_err();
    assert!(format!("{error:#}").contains("is an adapter"), "{error:#}");
    assert!(Problem::hint_of(&error).unwrap().contains("apply the adapter"));
}

#[test]
fn files_that_are_none_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        complaint(&file)
    };
    for (name, bytes) in [
        ("sdxl.ckpt", &b"PK\x03\x04 and so on"[..]),
        ("sdxl.pt", b""),
        ("zip.safetensors", b"PK\x03\x04 and so on"),
        ("pickle.safetensors", b"\x80\x02}q\x00(X\n\x00"),
    ] {
        let said = file(name, bytes);
        assert!(
            said.contains(&format!("{name}` is a Python pickle: opening one can run any program")),
            "{said}"
        );
    }
    assert!(file("page.safetensors", b"<!DOCTYPE html>").contains("is not a safetensors file"));

    let (_kept, whole) = fabricate(sdxl_base());
    let size = std::fs::metadata(&whole).unwrap().len();
    std::fs::File::options().write(true).open(&whole).unwrap().set_len(size / 2).unwrap();
    let said = complaint(&whole);
    assert!(said.contains(&format!("promises {size} bytes, but the file has {}", size / 2)), "{said}");
}

#[test]
fn a_configuration_goes_with_files_only_and_must_be_of_their_size() {
    let mini = repository("models/mini-sdxl");
    let with_mini = OpenOptions { config: Some(mini.clone()), vae: None };
    let said = format!("{:#}", Checkpoint::open_with(&mini, &with_mini).unwrap_err());
    assert!(said.contains("is a folder, which has its own configuration"), "{said}");

    let (_kept, file) = fabricate(sdxl_base());
    let said = format!("{:#}", Checkpoint::open_with(&file, &with_mini).unwrap_err());
    assert!(said.contains("does not fit its configuration"), "{said}");
    assert!(
        said.contains("`model.diffusion_model.input_blocks.0.0.weight` is [320, 4, 3, 3], expected ["),
        "{said}"
    );
}

#[test]
fn a_folder_of_single_files_is_pointed_at_one() {
    let (folder, file) = fabricate(sdxl_base());
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(format!("{error:#}").contains("there is no `model_index.json` in `"), "{error:#}");
    assert!(Problem::hint_of(&error).unwrap().contains(&file.display().to_string()));
}
