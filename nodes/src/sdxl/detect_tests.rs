//! What people have under `.safetensors`, by the names that tell it.

use serde_json::json;

use super::Family;

fn family(tensors: &[(&str, &[usize])]) -> Family {
    Family::of(tensors.iter().copied())
}

const LABEL: (&str, &[usize]) = ("model.diffusion_model.label_emb.0.0.weight", &[1280, 2816]);
const CONV_IN: (&str, &[usize]) = ("model.diffusion_model.input_blocks.0.0.weight", &[320, 4, 3, 3]);
const CLIP_L: (&str, &[usize]) =
    ("conditioner.embedders.0.transformer.text_model.final_layer_norm.weight", &[768]);
const CLIP_G: (&str, &[usize]) = ("conditioner.embedders.1.model.ln_final.weight", &[1280]);
const VAE: (&str, &[usize]) = ("first_stage_model.decoder.conv_in.weight", &[512, 4, 3, 3]);

/// The text that a denoiser in the original layout attends to.
fn attends(width: usize) -> [usize; 2] {
    [320, width]
}
const TO_K: &str = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight";

#[test]
fn checkpoints_of_sdxl_are_told_from_their_kin() {
    assert_eq!(family(&[CONV_IN, LABEL, CLIP_L, CLIP_G, VAE]), Family::Sdxl);
    assert_eq!(family(&[CONV_IN, LABEL]), Family::Sdxl, "a denoiser alone is still SDXL's");
    let tiny = ("model.diffusion_model.label_emb.0.0.weight", &[64, 88][..]);
    assert_eq!(family(&[tiny, CLIP_L, CLIP_G]), Family::Sdxl, "of any size");

    let refiner = ("model.diffusion_model.label_emb.0.0.weight", &[1536, 2560][..]);
    let openclip_first = ("conditioner.embedders.0.model.ln_final.weight", &[1280][..]);
    assert_eq!(family(&[refiner, openclip_first, VAE]), Family::SdxlRefiner);
    assert_eq!(family(&[refiner]), Family::SdxlRefiner);

    let nine = ("model.diffusion_model.input_blocks.0.0.weight", &[320, 9, 3, 3][..]);
    assert_eq!(family(&[nine, LABEL, CLIP_L, CLIP_G]), Family::SdxlInpainting);
    for mark in ["edm_mean", "edm_vpred.sigma_max"] {
        assert_eq!(family(&[CONV_IN, LABEL, CLIP_L, CLIP_G, (mark, &[])]), Family::SdxlEdm);
    }
}

#[test]
fn older_models_are_told_with_and_without_their_text_encoders() {
    let clip = ("cond_stage_model.transformer.text_model.final_layer_norm.weight", &[768][..]);
    let openclip = ("cond_stage_model.model.ln_final.weight", &[1024][..]);
    assert_eq!(family(&[CONV_IN, (TO_K, &attends(768)), clip, VAE]), Family::Sd1);
    assert_eq!(family(&[CONV_IN, (TO_K, &attends(768))]), Family::Sd1);
    assert_eq!(family(&[CONV_IN, (TO_K, &attends(1024)), openclip, VAE]), Family::Sd2);
    assert_eq!(family(&[CONV_IN, (TO_K, &attends(1024))]), Family::Sd2);
    assert_eq!(family(&[CONV_IN]), Family::Unknown);
}

#[test]
fn transformers_are_told_with_either_layout() {
    for name in [
        "double_blocks.0.img_attn.qkv.weight",
        "model.diffusion_model.double_blocks.0.img_attn.qkv.weight",
        "single_transformer_blocks.0.attn.to_q.weight",
    ] {
        assert_eq!(family(&[(name, &[3072, 3072])]), Family::Flux, "{name}");
    }
    for name in [
        "model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight",
        "transformer_blocks.0.attn.add_q_proj.weight",
    ] {
        assert_eq!(family(&[(name, &[1536, 1536])]), Family::Sd3, "{name}");
    }
}

#[test]
fn parts_and_additions_are_told() {
    for name in [
        "lora_unet_input_blocks_4_1_proj_in.lora_down.weight",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha",
        "unet.down_blocks.1.attentions.0.proj_in.lora_A.weight",
        "unet.down_blocks.1.attentions.0.proj_in.lora.down.weight",
        "lycoris_unet_mid.hada_w1_a",
        "lora_unet_mid_block.lokr_w1",
        "mid_block.resnets.0.conv1.para_B",
        "mid_block.attentions.0.proj_in.oft_blocks",
    ] {
        assert_eq!(family(&[(name, &[4, 4])]), Family::Adapter, "{name}");
    }
    assert_eq!(family(&[("clip_l", &[2, 768]), ("clip_g", &[2, 1280])]), Family::TextualInversion);
    assert_eq!(family(&[("control_model.input_blocks.0.0.weight", &[])]), Family::ControlNet);
    let controlnet = "controlnet_cond_embedding.conv_in.weight";
    assert_eq!(
        family(&[("down_blocks.0.resnets.0.conv1.weight", &[]), (controlnet, &[])]),
        Family::ControlNet
    );
    assert_eq!(family(&[VAE]), Family::Vae);
    assert_eq!(family(&[("decoder.conv_in.weight", &[512, 4, 3, 3])]), Family::Vae);
    let unet: [(&str, &[usize]); 2] =
        [("down_blocks.0.resnets.0.conv1.weight", &[]), ("time_embedding.linear_1.weight", &[])];
    assert_eq!(family(&unet), Family::DiffusersUnet);
    assert_eq!(family(&[("text_model.final_layer_norm.weight", &[768])]), Family::TextEncoder);
    assert_eq!(family(&[("model.embed_tokens.weight", &[32000, 4096])]), Family::Unknown);
    assert_eq!(family(&[]), Family::Unknown);
}

#[test]
fn folders_are_told_by_their_pipeline_and_their_denoiser() {
    let of = |class: &str, unet: serde_json::Value| {
        let index = json!({ "_class_name": class, "text_encoder": ["transformers", "CLIPTextModel"] });
        Family::of_folder(&index, Some(&unet))
    };
    let sdxl = json!({ "cross_attention_dim": 2048, "addition_embed_type": "text_time", "in_channels": 4 });
    assert_eq!(of("StableDiffusionXLPipeline", sdxl.clone()), None);
    assert_eq!(of("SomethingNewPipeline", sdxl.clone()), None, "refused by its class elsewhere");
    let (one, two) = (json!({ "cross_attention_dim": 768 }), json!({ "cross_attention_dim": 1024 }));
    assert_eq!(of("StableDiffusionPipeline", one.clone()), Some(Family::Sd1));
    assert_eq!(of("StableDiffusionPipeline", two), Some(Family::Sd2));
    assert_eq!(of("StableDiffusionXLPipeline", one), Some(Family::Sd1), "whatever the index says");
    assert_eq!(of("StableDiffusion3Pipeline", json!({})), Some(Family::Sd3));
    assert_eq!(of("FluxPipeline", json!({})), Some(Family::Flux));
    let nine = json!({ "cross_attention_dim": 2048, "addition_embed_type": "text_time", "in_channels": 9 });
    assert_eq!(of("StableDiffusionXLInpaintPipeline", nine), Some(Family::SdxlInpainting));
    let refiner = json!({ "_class_name": "StableDiffusionXLImg2ImgPipeline", "text_encoder": [null, null] });
    assert_eq!(Family::of_folder(&refiner, Some(&sdxl)), Some(Family::SdxlRefiner));
}

#[test]
fn a_refusal_says_what_it_is_and_what_to_give() {
    let said = Family::Sd1.refusal("v1-5.safetensors").to_string();
    assert_eq!(said, "`v1-5.safetensors` is an SD 1.x model (such as SD 1.5); Flow runs SDXL");
}
