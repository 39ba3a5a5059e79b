//! LoRA (arXiv 2106.09685) and LoCon: `y = b + h + alpha / r · up (down x)`.
//!
//! `down` starts as PyTorch starts a linear layer (Kaiming, uniform, a = √5) and `up` at 0, so that training begins at
//! the base model.

use candle_core::{Tensor, Var};
use flow_engine::{Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::factors::{kaiming, network};
use super::layer::{Base, TrainedLayer, parameter};
use super::method::{Method, Writing};
use super::rank::{BoundOn, eight, ex_ca, rank_of};
use crate::adapter::bound::{Cap, Share};
use crate::adapter::layers::Layers;
use crate::ops::{Adapt, Bare};

/// Learn a change of low rank: `W' = W + alpha / rank · up · down` (arXiv 2106.09685).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Rank of the change.
    #[serde(default = "eight")]
    #[schemars(range(min = 1))]
    pub rank: usize,
    /// The change counts `alpha / rank`. The rank, if not set.
    #[serde(default)]
    pub alpha: Option<f64>,
    /// A bound on the rank, as PaRa has it: the share of a weight's rank. None, if not set.
    #[serde(default)]
    pub gamma: Option<Share>,
    /// Which layers `gamma` bounds.
    #[serde(default)]
    pub bound: BoundOn,
    /// The layers to train.
    #[serde(default = "fmt")]
    pub layers: Layers,
}

/// LoRA on the convolutions too, with the layers of the paper's ExCA (LyCORIS' LoCon).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Locon {
    /// Rank of the change.
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

fn fmt() -> Layers {
    Layers::FMT
}

/// The share of a cap that may be absent.
fn cap(gamma: Option<Share>, bound: BoundOn) -> Cap {
    gamma.map_or(Cap::Nowhere, |gamma| bound.cap(gamma))
}

impl Method for Lora {
    fn name(&self) -> &'static str {
        "LoRA"
    }

    fn rate(&self) -> f64 {
        // On mini-sdxl; diffusers' SDXL script takes 1e-4 on a model a thousand times as large.
        2e-3
    }

    fn layers(&self) -> Option<&Layers> {
        Some(&self.layers)
    }

    fn layer(&self, base: &Base<'_>, chance: &mut Chance) -> Result<Option<Box<dyn TrainedLayer>>> {
        low_rank(base, rank_of(base, self.rank, cap(self.gamma, self.bound))?, self.alpha, self.rank, chance)
    }

    fn no_layer(&self) -> Problem {
        Problem::new("`gamma` leaves no layer a rank").hint("take a larger `gamma`, or leave it out")
    }

    fn writing(&self) -> Writing {
        Writing {
            architecture: "lora",
            kohya_names: true,
            says: network("networks.lora", self.rank, self.alpha),
        }
    }
}

impl Method for Locon {
    fn name(&self) -> &'static str {
        "LoCon"
    }

    fn rate(&self) -> f64 {
        2e-3
    }

    fn layers(&self) -> Option<&Layers> {
        Some(&self.layers)
    }

    fn layer(&self, base: &Base<'_>, chance: &mut Chance) -> Result<Option<Box<dyn TrainedLayer>>> {
        low_rank(base, rank_of(base, self.rank, Cap::Nowhere)?, self.alpha, self.rank, chance)
    }

    fn writing(&self) -> Writing {
        Writing {
            architecture: "lora",
            kohya_names: true,
            says: network("networks.lora", self.rank, self.alpha),
        }
    }
}

fn low_rank(
    base: &Base<'_>,
    rank: usize,
    alpha: Option<f64>,
    wanted: usize,
    chance: &mut Chance,
) -> Result<Option<Box<dyn TrainedLayer>>> {
    if rank == 0 {
        return Ok(None);
    }
    let (d, k) = base.sides();
    let dims = base.weight.dims();
    let down = kaiming(&[&[rank], &dims[1..]].concat(), k, chance)?;
    let up = Tensor::zeros([&[d, rank][..], &vec![1; dims.len() - 2]].concat(), down.dtype(), down.device())?;
    // A bound that cuts the rank leaves what each rank counts.
    let scale = alpha.unwrap_or(wanted as f64) / wanted as f64;
    Ok(Some(Box::new(LoraLayer::new(&down, &up, scale, base)?)))
}

/// A layer with a change of low rank.
#[derive(Debug)]
pub struct LoraLayer {
    down: Var,
    up: Var,
    scale: f64,
}

impl LoraLayer {
    /// A layer that starts at these factors: `down` `[r, k]` or `[r, c_in, kernel, kernel]`, `up` `[d, r]` or `[d, r, 1,
    /// 1]`; `scale` is `alpha / r`.
    ///
    /// # Errors
    /// A device without room.
    pub fn new(down: &Tensor, up: &Tensor, scale: f64, base: &Base<'_>) -> Result<Self> {
        Ok(Self { down: parameter(down, base.device())?, up: parameter(up, base.device())?, scale })
    }
}

impl Adapt for LoraLayer {
    fn forward(&self, layer: &Bare<'_>) -> Result<Tensor> {
        let dtype = layer.x.dtype();
        let down = layer.with(&self.down.to_dtype(dtype)?)?;
        let change = layer.mixed(&down, &(self.up.as_tensor() * self.scale)?.to_dtype(dtype)?)?;
        Ok((layer.output()? + change)?)
    }
}

impl TrainedLayer for LoraLayer {
    fn parameters(&self) -> Vec<(&'static str, &Var)> {
        vec![("lora_down", &self.down), ("lora_up", &self.up)]
    }

    fn pieces(&self, values: &[Tensor]) -> Result<Vec<(&'static str, Tensor)>> {
        let rank = values[0].dim(0)? as f64;
        let alpha = Tensor::new((self.scale * rank) as f32, &candle_core::Device::Cpu)?;
        Ok(vec![
            (".lora_down.weight", values[0].clone()),
            (".lora_up.weight", values[1].clone()),
            (".alpha", alpha),
        ])
    }
}
