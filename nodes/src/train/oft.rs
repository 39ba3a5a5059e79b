//! OFT (arXiv 2306.07280) in PEFT's form: the input side of a weight is turned block by block.
//!
//! `W' = W blockdiag(R)ᵀ` with `R = (I - S)(I + S)⁻¹` for a skew `S`, of which the upper triangle is learned. It starts at
//! 0, where every `R` is the identity.

use candle_core::{DType, Device, Tensor, Var};
use flow_engine::{Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::layer::{Base, TrainedLayer, parameter};
use super::method::{Method, Writing};
use super::rank::{eight, ex_ca};
use crate::adapter::layers::Layers;
use crate::ops::{Adapt, Bare, cayley};

/// Learn rotations of the weights' inputs, block by block (arXiv 2306.07280).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oft {
    /// Inputs that are turned together. A layer whose inputs are no multiple of it takes the largest divisor below.
    #[serde(default = "eight")]
    #[schemars(range(min = 2))]
    pub block: usize,
    /// The layers to train.
    #[serde(default = "ex_ca")]
    pub layers: Layers,
}

impl Method for Oft {
    fn name(&self) -> &'static str {
        "OFT"
    }

    fn rate(&self) -> f64 {
        2e-3
    }

    fn layers(&self) -> Option<&Layers> {
        Some(&self.layers)
    }

    fn layer(&self, base: &Base<'_>, _: &mut Chance) -> Result<Option<Box<dyn TrainedLayer>>> {
        let (_, k) = base.sides();
        let Some(block) = (2..=self.block.min(k)).rev().find(|&block| k.is_multiple_of(block)) else {
            return Ok(None);
        };
        let start = Tensor::zeros((k / block, block * (block - 1) / 2), DType::F32, &Device::Cpu)?;
        Ok(Some(Box::new(OftLayer::new(&start, block, base.device())?)))
    }

    fn no_layer(&self) -> Problem {
        Problem::new("no layer has inputs that `block` divides").hint("take another `block`")
    }

    fn writing(&self) -> Writing {
        let says = vec![("use_cayley_neumann".into(), "false".into())];
        Writing { architecture: "oft", kohya_names: false, says }
    }
}

/// A layer whose inputs are turned.
#[derive(Debug)]
pub struct OftLayer {
    /// `[blocks, block (block - 1) / 2]`.
    entries: Var,
    /// `[block * block, block (block - 1) / 2]`: from the entries to the skew matrix.
    spread: Tensor,
    block: usize,
}

impl OftLayer {
    /// A layer that starts at these upper triangles, `[blocks, block (block - 1) / 2]`.
    ///
    /// # Errors
    /// A device without room.
    pub fn new(entries: &Tensor, block: usize, device: &Device) -> Result<Self> {
        let count = block * (block - 1) / 2;
        let mut spread = vec![0f32; block * block * count];
        let upper = (0..block).flat_map(|row| (row + 1..block).map(move |column| (row, column)));
        for (entry, (row, column)) in upper.enumerate() {
            spread[(row * block + column) * count + entry] = 1.0;
            spread[(column * block + row) * count + entry] = -1.0;
        }
        let spread = Tensor::from_vec(spread, (block * block, count), device)?;
        Ok(Self { entries: parameter(entries, device)?, spread, block })
    }
}

impl Adapt for OftLayer {
    fn forward(&self, layer: &Bare<'_>) -> Result<Tensor> {
        let (n, b) = (self.entries.dim(0)?, self.block);
        let skew = self.entries.matmul(&self.spread.t()?)?.reshape((n, b, b))?;
        let turned = cayley(&skew)?; // [n, b, b]
        let matrix = layer.weight.tensor()?.flatten_from(1)?.to_dtype(DType::F32)?;
        let d = matrix.dim(0)?;
        let blocks = matrix.reshape((d, n, b))?.transpose(0, 1)?.contiguous()?; // [n, d, b]
        let weight = blocks.matmul(&turned.transpose(1, 2)?.contiguous()?)?.transpose(0, 1)?.contiguous()?;
        layer.with(weight.reshape(layer.weight.dims())?.to_dtype(layer.weight.dtype())?)
    }
}

impl TrainedLayer for OftLayer {
    fn parameters(&self) -> Vec<(&'static str, &Var)> {
        vec![("oft_R", &self.entries)]
    }

    fn pieces(&self, values: &[Tensor]) -> Result<Vec<(&'static str, Tensor)>> {
        Ok(vec![(".oft_R.weight", values[0].clone())])
    }
}
