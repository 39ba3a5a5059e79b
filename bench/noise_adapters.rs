//! Adapters of noise, for benchmarks that fold them.

use std::collections::BTreeMap;

use flow_engine::Result;
use flow_nodes::adapter::shape::LayerShape;
use flow_nodes::adapter::{Single, read, write};
use flow_nodes::sample::Generator;

/// A PaRa of this rank on some layers, less where a layer has fewer rows.
///
/// # Errors
/// None for shapes of a network.
#[allow(dead_code, reason = "not every benchmark folds both")]
pub fn para(layers: &[LayerShape], rank: usize) -> Result<Single> {
    let mut noise = Generator::new(2);
    let spans = layers.iter().map(|layer| {
        let rows = layer.rows();
        Ok((format!("unet.{}.para_B", layer.name), noise.randn(&[rows, rank.min(rows)])?))
    });
    made("para", &spans.collect::<Result<_>>()?)
}

/// A LoRA of this rank on some layers.
///
/// # Errors
/// None for shapes of a network.
#[allow(dead_code, reason = "not every benchmark folds both")]
pub fn lora(layers: &[LayerShape], rank: usize) -> Result<Single> {
    let (mut noise, mut tensors) = (Generator::new(2), BTreeMap::new());
    for layer in layers {
        let down = [&[rank], &layer.weight[1..]].concat();
        let up = [&[layer.rows(), rank][..], &vec![1; layer.weight.len() - 2]].concat();
        for (end, shape) in [("A", down), ("B", up)] {
            let name = format!("unet.{}.lora_{end}.weight", layer.name);
            tensors.insert(name, (noise.randn(&shape)? * 0.01)?);
        }
    }
    made("lora", &tensors)
}

fn made(name: &str, tensors: &BTreeMap<String, candle_core::Tensor>) -> Result<Single> {
    read::of_bytes(name, flow_nodes::sdxl::write::bytes(tensors, &write::Metadata::new())?)
}
