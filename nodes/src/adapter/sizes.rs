//! How large a PaRa and a LoRA are, from the shapes of layers alone.
//!
//! With `d` outputs, `k` inputs (a convolution's kernel laid flat) and rank `r` a layer takes
//!
//! ```text
//! PaRa   q [d, r]                                         d r values
//! LoRA   down [r, c_in(, kh, kw)], up [d, r(, 1, 1)], alpha   r k + d r + 1 values
//! ```
//!
//! and nothing where the bound leaves no rank.

use anyhow::Context as _;
use flow_engine::Result;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};

use super::bound::{Cap, bounded_rank};
use super::shape::LayerShape;

/// An adapter's kind, of those whose size is known from shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Directions taken away.
    PaRa,
    /// A matrix of low rank added.
    LoRA,
}

impl Kind {
    /// The rank that one layer gets of the `wanted` one; 0 leaves it alone.
    pub fn rank(self, layer: &LayerShape, wanted: usize, cap: Cap) -> usize {
        match (cap.on(layer.is_convolution()), self) {
            (Some(gamma), _) => bounded_rank(wanted, gamma, layer.full_rank()),
            (None, Self::PaRa) => wanted.min(layer.full_rank()),
            (None, Self::LoRA) => wanted.min(layer.rows()).min(layer.inputs()),
        }
    }

    /// Names and shapes of what a file holds for one layer at a rank.
    fn tensors(self, layer: &LayerShape, rank: usize) -> Vec<(String, Vec<usize>)> {
        let named = |tensor: &str| format!("unet.{}.{tensor}", layer.name);
        let d = layer.rows();
        match self {
            Self::PaRa => vec![(named("para_q"), vec![d, rank])],
            Self::LoRA => {
                let down = [&[rank], &layer.weight[1..]].concat();
                let up = if layer.is_convolution() { vec![d, rank, 1, 1] } else { vec![d, rank] };
                vec![
                    (named("alpha"), vec![]),
                    (named("lora_down.weight"), down),
                    (named("lora_up.weight"), up),
                ]
            }
        }
    }
}

/// The tensors of an adapter's file, without their values.
#[derive(Debug, Clone)]
pub struct Outline {
    layers: usize,
    tensors: Vec<(String, Vec<usize>)>,
}

impl Outline {
    /// What an adapter of this rank on these layers holds.
    pub fn of<'a>(
        kind: Kind,
        layers: impl IntoIterator<Item = &'a LayerShape>,
        rank: usize,
        cap: Cap,
    ) -> Self {
        let mut outline = Self { layers: 0, tensors: Vec::new() };
        for layer in layers {
            let rank = kind.rank(layer, rank, cap);
            if rank > 0 {
                outline.layers += 1;
                outline.tensors.extend(kind.tensors(layer, rank));
            }
        }
        outline.tensors.sort();
        outline
    }

    /// How many layers have a rank.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// How many values there are; an alpha is one.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().map(|(_, shape)| count(shape)).sum()
    }

    /// The size of a safetensors file with these tensors in one type and no metadata.
    ///
    /// # Errors
    /// Tensors too large to count.
    pub fn file_bytes(&self, dtype: Dtype) -> Result<usize> {
        let mut end = 0;
        let info = |(name, shape): &(String, Vec<usize>)| {
            let start = end;
            end += count(shape) * dtype.bitsize() / 8;
            let info = TensorInfo { dtype, shape: shape.clone(), data_offsets: (start, end) };
            (name.clone(), info)
        };
        let infos = self.tensors.iter().map(info).collect();
        let header = Metadata::new(None, infos).context("no such file can be")?;
        let header = serde_json::to_vec(&header)?.len().next_multiple_of(8);
        Ok(8 + header + end)
    }
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::adapter::bound::Share;
    use crate::adapter::layers::{Layers, Reading, Subset};
    use crate::adapter::testing::{part, read, sdxl_layers};

    fn cap(name: &str) -> Cap {
        let gamma = Share::fraction(1, 40).unwrap();
        match name {
            "all" => Cap::Everywhere(gamma),
            "conv" => Cap::Convolutions(gamma),
            "free" => Cap::Nowhere,
            other => panic!("there is no cap on {other}"),
        }
    }

    fn chosen(reading: &str, subset: &str) -> Vec<LayerShape> {
        let reading = Reading::ALL.into_iter().find(|known| known.name() == reading).unwrap();
        let subset = Subset::ALL.into_iter().find(|known| known.name() == subset).unwrap();
        let selection = Layers::of(subset, reading).compile().unwrap();
        let layers = sdxl_layers().into_iter().map(|known| known.layer);
        layers.filter(|layer| selection.holds(&layer.name)).collect()
    }

    #[test]
    fn every_count_and_every_byte_is_what_python_computed() {
        type Row = (String, String, String, Kind, Vec<[usize; 4]>);
        let expected = read("data/expected_sizes.json");
        let (ranks, rows): (Vec<usize>, Vec<Row>) = (part(&expected, "ranks"), part(&expected, "sizes"));
        assert_eq!(rows.len(), 2 * 8 * 3 * 2);
        for (reading, subset, capped, kind, sizes) in rows {
            let layers = chosen(&reading, &subset);
            assert_eq!(sizes.len(), ranks.len());
            for (&rank, expected) in ranks.iter().zip(sizes) {
                let outline = Outline::of(kind, &layers, rank, cap(&capped));
                let [half, single] = [Dtype::F16, Dtype::F32].map(|dtype| outline.file_bytes(dtype).unwrap());
                let found = [outline.layers(), outline.parameters(), half, single];
                assert_eq!(found, expected, "{reading} {subset} capped {capped} {kind:?} {rank}");
            }
        }
    }

    #[test]
    fn a_file_that_is_written_has_the_size_that_was_computed() {
        let layers = chosen("table3", "ExCA-HL");
        for kind in [Kind::PaRa, Kind::LoRA] {
            let outline = Outline::of(kind, &layers, 2, cap("all"));
            let zeros =
                |shape: &Vec<usize>| Tensor::zeros(shape.as_slice(), DType::F16, &Device::Cpu).unwrap();
            let tensors: HashMap<_, _> =
                outline.tensors.iter().map(|(name, shape)| (name.clone(), zeros(shape))).collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            candle_core::safetensors::save(&tensors, file.path()).unwrap();
            let size = file.path().metadata().unwrap().len();
            assert_eq!(outline.file_bytes(Dtype::F16).unwrap() as u64, size, "{kind:?}");
        }
    }

    #[test]
    fn without_a_bound_a_rank_is_no_larger_than_the_layer() {
        let conv = LayerShape { name: "conv_in".into(), weight: vec![320, 4, 3, 3] };
        assert_eq!(Kind::PaRa.rank(&conv, 128, Cap::Nowhere), 36);
        assert_eq!(Kind::LoRA.rank(&conv, 128, Cap::Nowhere), 4);
        assert_eq!(Kind::PaRa.rank(&conv, 128, cap("all")), 0);
        assert_eq!(Outline::of(Kind::PaRa, [&conv], 128, cap("all")).layers(), 0);
    }
}
