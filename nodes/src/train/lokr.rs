//! LoKr (LyCORIS, arXiv 2309.14859): `W' = W + alpha / r · w1 ⊗ (w2_a w2_b)`.

use candle_core::{DType, Device, Tensor, Var};
use flow_engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::factors::{Factors, kaiming, network};
use super::layer::{Base, TrainedLayer};
use super::method::{Method, Writing};
use super::rank::{eight, ex_ca};
use crate::adapter::layers::Layers;
use crate::ops::{Adapt, Bare};

/// Learn a change that is the Kronecker product of a small matrix and one of low rank (LyCORIS, arXiv 2309.14859).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lokr {
    /// Rank of the second factor.
    #[serde(default = "eight")]
    #[schemars(range(min = 1))]
    pub rank: usize,
    /// The change counts `alpha / rank`. The rank, if not set.
    #[serde(default)]
    pub alpha: Option<f64>,
    /// The first factor has at most so many rows and columns: the largest divisor of each side of the weight.
    #[serde(default = "eight")]
    #[schemars(range(min = 1))]
    pub factor: usize,
    /// The layers to train.
    #[serde(default = "ex_ca")]
    pub layers: Layers,
}

impl Method for Lokr {
    fn name(&self) -> &'static str {
        "LoKr"
    }

    fn rate(&self) -> f64 {
        2e-3
    }

    fn layers(&self) -> Option<&Layers> {
        Some(&self.layers)
    }

    /// LyCORIS' start: `w1` and `w2_a` as linear layers start, `w2_b` at 0.
    fn layer(&self, base: &Base<'_>, chance: &mut Chance) -> Result<Option<Box<dyn TrainedLayer>>> {
        let dims = base.weight.dims();
        let kernel: usize = dims[2..].iter().product();
        let (rows, columns) = (divisor(dims[0], self.factor), divisor(dims[1], self.factor));
        let (below, aside) = (dims[0] / rows, dims[1] / columns * kernel);
        let r = self.rank.min(below.min(aside));
        let factors = [
            (".lokr_w1", kaiming(&[rows, columns], columns, chance)?),
            (".lokr_w2_a", kaiming(&[below, r], r, chance)?),
            (".lokr_w2_b", Tensor::zeros((r, aside), DType::F32, &Device::Cpu)?),
        ];
        let factors = Factors::new(factors, (self.alpha, self.rank, r), base)?;
        Ok(Some(Box::new(LokrLayer { factors })))
    }

    fn writing(&self) -> Writing {
        Writing {
            architecture: "lokr",
            kohya_names: true,
            says: network("lycoris.kohya", self.rank, self.alpha),
        }
    }
}

/// The largest divisor of `side` that is at most `most`.
fn divisor(side: usize, most: usize) -> usize {
    (1..=most.min(side)).rev().find(|&candidate| side.is_multiple_of(candidate)).unwrap_or(1)
}

#[derive(Debug)]
struct LokrLayer {
    /// `w1` `[d1, k1]`, `w2_a` `[d2, r]`, `w2_b` `[r, k2]` with the kernel in its columns.
    factors: Factors<3>,
}

impl Adapt for LokrLayer {
    fn forward(&self, layer: &Bare<'_>) -> Result<Tensor> {
        let [first, a, b] = self.factors.tensors();
        let second = a.matmul(b)?; // [d2, k2]
        let ((d1, k1), (d2, k2)) = (first.dims2()?, second.dims2()?);
        let product = first.reshape((d1, 1, k1, 1))?.broadcast_mul(&second.reshape((1, d2, 1, k2))?)?;
        layer.changed(&(product * self.factors.scale)?)
    }
}

impl TrainedLayer for LokrLayer {
    fn parameters(&self) -> Vec<(&'static str, &Var)> {
        self.factors.parameters()
    }

    fn pieces(&self, values: &[Tensor]) -> Result<Vec<(&'static str, Tensor)>> {
        self.factors.pieces(values)
    }
}
