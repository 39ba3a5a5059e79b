//! The configuration of stabilityai/stable-diffusion-xl-base-1.0 and CLIP's vocabulary, inside the program: what a
//! single file does not say about itself.

use std::collections::BTreeMap;

use flow_engine::Result;

use super::config::UNetConfig;
use super::part::Part;
use super::settings::Settings;
use super::unet::UNet;
use super::weights::Layout;

/// Names and shapes of the tensors of its denoiser, from the configuration alone.
///
/// # Errors
/// None that a program whose tests pass can have: the configuration is in it.
pub fn unet_shapes() -> Result<BTreeMap<String, Vec<usize>>> {
    let config: UNetConfig = Settings::SdxlBase.of_part(Part::Unet)?;
    Layout::of(|w| UNet::new(&config, w))
}

/// The text of one file of the folder, by its path in there.
pub(super) fn text(file: &str) -> Option<&'static str> {
    Some(match file {
        "model_index.json" => include_str!("model_index.json"),
        "scheduler/scheduler_config.json" => include_str!("scheduler/scheduler_config.json"),
        "unet/config.json" => include_str!("unet/config.json"),
        "vae/config.json" => include_str!("vae/config.json"),
        "text_encoder/config.json" => include_str!("text_encoder/config.json"),
        "text_encoder_2/config.json" => include_str!("text_encoder_2/config.json"),
        "tokenizer/tokenizer_config.json" => include_str!("tokenizer/tokenizer_config.json"),
        "tokenizer_2/tokenizer_config.json" => include_str!("tokenizer_2/tokenizer_config.json"),
        _ => return None,
    })
}

/// The ids of CLIP's tokens: both tokenizers have the same.
pub(super) const VOCABULARY: &str = include_str!("../../../../models/clip-vocab/vocab.json");

/// Which tokens join, in order.
pub(super) const MERGES: &str = include_str!("../../../../models/clip-vocab/merges.txt");
