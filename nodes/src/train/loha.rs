//! LoHa (LyCORIS, arXiv 2309.14859): `W' = W + alpha / r · (w1_a w1_b) ⊙ (w2_a w2_b)`.

use candle_core::{DType, Device, Tensor, Var};
use flow_engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::factors::{Factors, network};
use super::layer::{Base, TrainedLayer};
use super::method::{Method, Writing};
use super::rank::{eight, ex_ca};
use crate::adapter::layers::Layers;
use crate::ops::{Adapt, Bare};

/// Learn a change that is the product, entry by entry, of two of low rank (LyCORIS, arXiv 2309.14859).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Loha {
    /// Rank of each factor; the change may have its square.
    #[serde(default = "eight")]
    #[schemars(range(min = 1))]
    pub rank: usize,
    /// The change counts `alpha / rank`. The rank, if not set.
    #[serde(default)]
    pub alpha: Option<f64>,
    /// The layers to train.
    #[serde(default = "ex_ca")]
    pub layers: Layers,
}

impl Method for Loha {
    fn name(&self) -> &'static str {
        "LoHa"
    }

    fn rate(&self) -> f64 {
        2e-3
    }

    fn layers(&self) -> Option<&Layers> {
        Some(&self.layers)
    }

    /// LyCORIS' start: `w1_b` and `w2_b` of deviation 1, `w1_a` of 0.1, `w2_a` at 0.
    fn layer(&self, base: &Base<'_>, chance: &mut Chance) -> Result<Option<Box<dyn TrainedLayer>>> {
        let ((d, k), r) = (base.sides(), self.rank.min(base.sides().0.min(base.sides().1)));
        let factors = [
            (".hada_w1_a", (chance.normal(&[d, r])? * 0.1)?),
            (".hada_w1_b", chance.normal(&[r, k])?),
            (".hada_w2_a", Tensor::zeros((d, r), DType::F32, &Device::Cpu)?),
            (".hada_w2_b", chance.normal(&[r, k])?),
        ];
        let factors = Factors::new(factors, (self.alpha, self.rank, r), base)?;
        Ok(Some(Box::new(LohaLayer { factors })))
    }

    fn writing(&self) -> Writing {
        Writing {
            architecture: "loha",
            kohya_names: true,
            says: network("lycoris.kohya", self.rank, self.alpha),
        }
    }
}

#[derive(Debug)]
struct LohaLayer {
    /// `w1_a` `[d, r]`, `w1_b` `[r, k]`, `w2_a`, `w2_b`.
    factors: Factors<4>,
}

impl Adapt for LohaLayer {
    fn forward(&self, layer: &Bare<'_>) -> Result<Tensor> {
        let [a, b, c, d] = self.factors.tensors();
        let change = (a.matmul(b)? * c.matmul(d)?)?;
        layer.changed(&(change * self.factors.scale)?)
    }
}

impl TrainedLayer for LohaLayer {
    fn parameters(&self) -> Vec<(&'static str, &Var)> {
        self.factors.parameters()
    }

    fn pieces(&self, values: &[Tensor]) -> Result<Vec<(&'static str, Tensor)>> {
        self.factors.pieces(values)
    }
}
