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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use crate::sdxl::UNet;
    use crate::sdxl::config::UNetConfig;
    use crate::sdxl::part::Part;
    use crate::sdxl::settings::Settings;
    use crate::sdxl::weights::Layout;

    /// The weight matrices of SDXL base's denoiser, computed elsewhere: no line of this program had a part in it.
    #[derive(Deserialize)]
    struct Table {
        parameters: usize,
        layer_count: usize,
        /// Name, kind, shape of the weight, whether it has a bias, and two masks of subsets.
        layers: Vec<(String, String, Vec<usize>, u8, u32, u32)>,
    }

    #[test]
    fn the_denoiser_has_the_weight_matrices_of_sdxl_name_by_name() {
        let table = include_str!("../../../../tests/data/sdxl_layers.json");
        let table: Table = serde_json::from_str(table).unwrap();
        let config: UNetConfig = Settings::SdxlBase.of_part(Part::Unet).unwrap();
        let layout = Layout::of(|w| UNet::new(&config, w)).unwrap();
        let is_matrix = |shape: &[usize]| shape.len() == 2 || shape.len() == 4;
        let found: BTreeMap<_, _> = layout.iter().filter(|(_, shape)| is_matrix(shape)).collect();
        let names = table.layers.iter().map(|layer| (format!("{}.weight", layer.0), &layer.2));
        let expected: BTreeMap<_, _> = names.collect();
        assert_eq!((table.layers.len(), expected.len()), (table.layer_count, 794));
        assert!(found.iter().map(|(&name, &shape)| (name.clone(), shape)).eq(expected));
        for (name, kind, shape, has_bias, ..) in &table.layers {
            assert_eq!(shape.len(), if kind == "conv" { 4 } else { 2 }, "{name}");
            let bias = (*has_bias == 1).then(|| vec![shape[0]]);
            assert_eq!(layout.get(&format!("{name}.bias")), bias.as_ref(), "{name}");
        }
        let parameters = layout.values().map(|shape| shape.iter().product::<usize>());
        assert_eq!(parameters.sum::<usize>(), table.parameters);
    }
}
