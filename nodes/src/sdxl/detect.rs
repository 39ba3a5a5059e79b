//! What a safetensors file or a diffusers folder is, from names and shapes alone.
//!
//! Flow runs SDXL. People have much else under the same file extension, and a list of a thousand missing tensors tells
//! nobody that this is a LoRA; so what is recognized is called by its name, with what to do instead.
//!
//! Structure decides before widths do, so that small models are recognized too. Nothing here reads a weight.

use flow_engine::Problem;
use serde_json::Value;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// SDXL in one file, in the original layout: what Flow runs.
    Sdxl,
    /// The second model of SDXL, which finishes pictures.
    SdxlRefiner,
    /// SDXL with a mask and a picture among its inputs.
    SdxlInpainting,
    /// SDXL's networks trained under EDM's noise (Playground v2.5, CosXL).
    SdxlEdm,
    /// Stable Diffusion 1.x.
    Sd1,
    /// Stable Diffusion 2.x.
    Sd2,
    /// Stable Diffusion 3 and 3.5.
    Sd3,
    /// Flux.
    Flux,
    /// A ControlNet.
    ControlNet,
    /// LoRA, LoHa, LoKr, OFT, PaRa: changes to a model.
    Adapter,
    /// New words for a prompt.
    TextualInversion,
    /// An autoencoder alone.
    Vae,
    /// A denoiser alone, with diffusers' names.
    DiffusersUnet,
    /// A text encoder alone.
    TextEncoder,
    /// Nothing that is known here.
    Unknown,
}

/// Parts of names that only adapters have.
const ADAPTER: [&str; 19] = [
    ".lora_A.",
    ".lora_B.",
    ".lora_down.",
    ".lora_up.",
    ".lora.down.",
    ".lora.up.",
    ".lora_mid.",
    ".hada_w1",
    ".hada_w2",
    ".lokr_w1",
    ".lokr_w2",
    ".oft_",
    ".oft_blocks",
    ".para_B",
    ".para_q",
    ".deft_P",
    ".svdiff_delta",
    "lora_unet_",
    "lora_te",
];

impl Family {
    /// Tells it from the names and shapes of a file's tensors.
    pub fn of<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Self {
        let tensors: Vec<_> = tensors.into_iter().collect();
        let has = |name: &str| tensors.iter().any(|(n, _)| *n == name);
        let begins = |prefix: &str| tensors.iter().any(|(n, _)| n.starts_with(prefix));
        let contains = |part: &str| tensors.iter().any(|(n, _)| n.contains(part));

        if ADAPTER.iter().any(|part| contains(part)) {
            return Self::Adapter;
        }
        if has("clip_l") || has("clip_g") || has("emb_params") {
            return Self::TextualInversion;
        }
        if begins("control_model.") || contains("controlnet_cond_embedding.") || begins("controlnet_") {
            return Self::ControlNet;
        }
        if contains("double_blocks.0.img_attn.") || begins("single_transformer_blocks.") {
            return Self::Flux;
        }
        if contains("joint_blocks.0.") || begins("transformer_blocks.0.attn.add_q_proj") {
            return Self::Sd3;
        }
        if begins("model.diffusion_model.") {
            return Self::of_original(&tensors);
        }
        if begins("down_blocks.") && begins("time_embedding.linear_1.") {
            return Self::DiffusersUnet;
        }
        if ["decoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight"].iter().any(|name| has(name))
        {
            return Self::Vae;
        }
        if begins("text_model.") || begins("transformer.resblocks.") || begins("conditioner.embedders.") {
            return Self::TextEncoder;
        }
        Self::Unknown
    }

    /// A file with a denoiser in the original layout.
    fn of_original(tensors: &[(&str, &[usize])]) -> Self {
        let begins = |prefix: &str| tensors.iter().any(|(n, _)| n.starts_with(prefix));
        let width = |end: &str| {
            let shape =
                tensors.iter().find(|(n, _)| n.starts_with("model.diffusion_model.") && n.ends_with(end));
            shape.and_then(|(_, shape)| shape.get(1).copied())
        };
        let Some(vector) = width(".label_emb.0.0.weight") else {
            // SD 1.x and 2.x know neither pooled text nor sizes. Files without a text encoder are told by its width.
            return match width(".attn2.to_k.weight") {
                _ if begins("cond_stage_model.model.") => Self::Sd2,
                _ if begins("cond_stage_model.transformer.") => Self::Sd1,
                Some(768) => Self::Sd1,
                Some(1024) => Self::Sd2,
                _ => Self::Unknown,
            };
        };
        // The refiner reads with OpenCLIP alone, which is then the first encoder.
        let one = !begins("conditioner.embedders.1.");
        if one && (begins("conditioner.embedders.0.model.") || vector == 2560) {
            return Self::SdxlRefiner;
        }
        if begins("edm_") {
            return Self::SdxlEdm;
        }
        if width(".input_blocks.0.0.weight") == Some(9) {
            return Self::SdxlInpainting;
        }
        Self::Sdxl
    }

    /// Tells a diffusers folder of another family from its `model_index.json` and the denoiser's configuration, where
    /// there are such; none if nothing speaks against SDXL.
    pub fn of_folder(index: &Value, unet: Option<&Value>) -> Option<Self> {
        let class = index["_class_name"].as_str().unwrap_or_default();
        let reads = unet.and_then(|unet| unet["cross_attention_dim"].as_u64());
        let older = if reads == Some(1024) { Self::Sd2 } else { Self::Sd1 };
        if class.starts_with("StableDiffusionXL") {
            if unet.is_some_and(|unet| unet["addition_embed_type"].is_null())
                && matches!(reads, Some(768 | 1024))
            {
                return Some(older);
            }
            if unet.is_some_and(|unet| unet["in_channels"] == 9) {
                return Some(Self::SdxlInpainting);
            }
            // diffusers writes the refiner's missing encoder as [null, null]
            let lacks_first = index.get("text_encoder").is_some_and(|encoder| encoder[1].is_null());
            return (lacks_first || index["requires_aesthetics_score"] == true).then_some(Self::SdxlRefiner);
        }
        if class.starts_with("StableDiffusion3") {
            return Some(Self::Sd3);
        }
        if class.starts_with("Flux") {
            return Some(Self::Flux);
        }
        class.starts_with("StableDiffusion").then_some(older)
    }

    /// What it is, with an article.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sdxl => "an SDXL checkpoint",
            Self::SdxlRefiner => "the SDXL refiner",
            Self::SdxlInpainting => "an SDXL inpainting model",
            Self::SdxlEdm => "an SDXL model trained under EDM's noise (as Playground v2.5 and CosXL are)",
            Self::Sd1 => "an SD 1.x model (such as SD 1.5)",
            Self::Sd2 => "an SD 2.x model",
            Self::Sd3 => "an SD 3 model",
            Self::Flux => "a Flux model",
            Self::ControlNet => "a ControlNet",
            Self::Adapter => "an adapter (LoRA or its like)",
            Self::TextualInversion => "a textual inversion",
            Self::Vae => "an autoencoder (VAE) alone",
            Self::DiffusersUnet => "a denoiser (UNet) alone, with diffusers' names",
            Self::TextEncoder => "a text encoder alone",
            Self::Unknown => "no model that Flow knows",
        }
    }

    /// Why `path` cannot be loaded as a model.
    pub fn refusal(self, path: &str) -> Problem {
        let problem = Problem::new(format!("`{path}` is {}; Flow runs SDXL", self.name()));
        problem.hint(match self {
            Self::SdxlRefiner => {
                "give the base model, `sd_xl_base_1.0.safetensors`: Flow has no second stage"
            }
            Self::SdxlInpainting | Self::SdxlEdm => "give SDXL base 1.0 or a model fine-tuned from it",
            Self::ControlNet => "give an SDXL checkpoint; ControlNets are not supported",
            Self::Adapter => {
                "give the SDXL checkpoint that it was trained on here, and apply the adapter to it"
            }
            Self::TextualInversion => {
                "give an SDXL checkpoint here: this holds only new words for its prompts"
            }
            Self::Vae => "give an SDXL checkpoint as `path`, and this file as `vae`",
            Self::DiffusersUnet | Self::TextEncoder => {
                "give the folder with `model_index.json` that it is a part of, or a whole checkpoint"
            }
            _ => "give an SDXL checkpoint: a diffusers folder, or a file like `sd_xl_base_1.0.safetensors`",
        })
    }
}

#[cfg(test)]
#[path = "detect_tests.rs"]
mod tests;
