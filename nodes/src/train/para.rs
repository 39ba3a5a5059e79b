//! PaRa (arXiv 2406.05641): a span is learned, and what the layer gives loses it.
//!
//! `y = b + h - t Q Qᵀ h` with `h = W x`: the weight itself is never touched. The paper starts at `B = 0`, where the
//! decomposition `B = QR` has no gradient (and takes out the first rows of the weight); so the start here is a random
//! orthonormal basis whose removal is ramped in, `t = step / ramp`, which begins at the base model exactly.
//!
//! Only the span of `B` matters, so its columns are brought back to an orthonormal basis after every step (`B <- 1.5 B -
//! 0.5 B BᵀB`); left alone they grow, and the learning rate of the span shrinks with them.

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor, Var};
use flow_engine::{Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::layer::{Base, TrainedLayer, parameter};
use super::method::{Method, Writing};
use super::rank::{BoundOn, eight, ex_ca, rank_of};
use crate::adapter::basis;
use crate::adapter::bound::Share;
use crate::adapter::layers::Layers;
use crate::ops::{Adapt, Bare, BasisGradient, qr, take_span};

/// Learn directions and take them out of the weights: `W' = W - Q Qᵀ W` (arXiv 2406.05641).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Para {
    /// Directions to take out of each layer.
    #[serde(default = "eight")]
    #[schemars(range(min = 1))]
    pub rank: usize,
    /// The share of a weight's rank that may go; the paper's equation 8.
    #[serde(default = "fortieth")]
    pub gamma: Share,
    /// Which layers `gamma` bounds.
    #[serde(default)]
    pub bound: BoundOn,
    /// The layers to train.
    #[serde(default = "ex_ca")]
    pub layers: Layers,
    /// Where the directions start.
    #[serde(default)]
    pub init: Init,
    /// Steps over which the removal grows from nothing to all; 20 is the tenth part of the paper's 200 steps.
    #[serde(default = "twenty")]
    pub ramp: usize,
    /// Whether the directions are made orthonormal again after each step.
    #[serde(default = "yes")]
    pub retract: bool,
    /// How their gradient is found.
    #[serde(default)]
    pub orthonormalize: Orthonormalize,
}

/// Where the directions of a PaRa start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Init {
    /// Anywhere: an orthonormal basis of Gaussian columns.
    #[default]
    Random,
    /// Where the weight has least: its last left singular vectors. It needs no ramp.
    Bottom,
    /// Where a trained PaRa ended: the path of its file. It needs no ramp. Each of its layers has to be among `layers`, and
    /// to have the rank that is trained; layers that it does not have start at random.
    Given(String),
}

/// How the gradient of a PaRa's directions is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Orthonormalize {
    /// In closed form, for directions that are orthonormal; the same gradient, and no decomposition in the graph.
    #[default]
    Retraction,
    /// Through `B = QR` in every step, as the paper writes it.
    Qr,
}

fn fortieth() -> Share {
    // A fraction with a part below the whole is a share.
    Share::fraction(1, 40).unwrap_or_else(|_| unreachable!())
}

fn twenty() -> usize {
    20
}

fn yes() -> bool {
    true
}

impl Method for Para {
    fn name(&self) -> &'static str {
        "PaRa"
    }

    fn rate(&self) -> f64 {
        // Columns of length 1 turn by about this much of themselves in a step; measured on mini-sdxl.
        1e-2
    }

    fn steps(&self) -> usize {
        200
    }

    fn layers(&self) -> Option<&Layers> {
        Some(&self.layers)
    }

    fn layer(&self, base: &Base<'_>, chance: &mut Chance) -> Result<Option<Box<dyn TrainedLayer>>> {
        let (d, _) = base.sides();
        let rank = rank_of(base, self.rank, self.bound.cap(self.gamma))?;
        if rank == 0 && base.given.is_none() {
            return Ok(None);
        }
        let (start, ramp) = match (&self.init, &base.given) {
            (Init::Bottom, _) => (bottom(&base.weight, rank)?, 0),
            (Init::Given(_), Some(given)) => (self.as_given(base, given, rank)?, 0),
            (Init::Random | Init::Given(_), _) => (qr(&chance.normal(&[d, rank])?)?, self.ramp),
        };
        let (retract, through) = (self.retract, self.orthonormalize);
        Ok(Some(Box::new(ParaLayer::new(&start, base.device(), ramp, retract, through)?)))
    }

    fn given(&self) -> Option<&str> {
        match &self.init {
            Init::Given(path) => Some(path),
            _ => None,
        }
    }

    fn no_layer(&self) -> Problem {
        let message = format!("`gamma` {} leaves no layer a direction to take out", self.gamma);
        Problem::new(message)
            .hint("take a larger `gamma`, or `bound: Nowhere`; a layer of rank 64 gives 1 of 1/40")
    }

    fn writing(&self) -> Writing {
        let says = [("format", "para"), ("version", "1"), ("strength", "1"), ("component", "unet")];
        let mut says: Vec<(String, String)> =
            says.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        says.push(("rank".into(), self.rank.to_string()));
        // A share that bounded only some layers is no bound on the others.
        if self.bound == BoundOn::Everywhere {
            says.push(("gamma".into(), self.gamma.to_string()));
        }
        if let Some((subset, reading)) = self.layers.subset() {
            says.push(("subset".into(), subset.name().to_owned()));
            says.push(("layer_set".into(), reading.name().to_owned()));
        }
        Writing { architecture: "para", kohya_names: false, says }
    }
}

impl Para {
    /// The directions of the PaRa that it starts from, if they are as many as are trained.
    fn as_given(&self, base: &Base<'_>, given: &Tensor, rank: usize) -> Result<Tensor> {
        let count = given.dim(1)?;
        if count == rank {
            return Ok(given.clone());
        }
        let message = format!(
            "the given PaRa takes {count} directions out of `{}`, where {rank} would be trained",
            base.target.module()
        );
        Err(Problem::new(message)
            .hint("give `rank`, `gamma` and `bound` as they were for its training")
            .into())
    }
}

/// Columns brought back to an orthonormal basis by `B <- 1.5 B - 0.5 B BᵀB`, which squares what is missing each time: two
/// sweeps do after a step of usual length, and a long one takes more. None, if they are orthonormal. Columns longer than √3
/// would never come back, and are decomposed.
///
/// A sweep multiplies `B` from the right by `T = 1.5 - 0.5 G`, and its Gram matrix `G` becomes `T G T`: the sweeps are made on
/// matrices `[r, r]`, and `B` itself is multiplied once.
fn retracted(start: &Tensor) -> Result<Option<Tensor>> {
    const SWEEPS: usize = 12;
    const ORTHONORMAL: f32 = 1e-6;
    let one = Tensor::eye(start.dim(1)?, DType::F32, start.device())?;
    let mut gram = start.t()?.contiguous()?.matmul(start)?;
    let mut turn: Option<Tensor> = None;
    for _ in 0..SWEEPS {
        let off = (&gram - &one)?.abs()?.max_all()?.to_scalar::<f32>()?;
        if off < ORTHONORMAL {
            break;
        }
        if off > 1.0 {
            return qr(start).map(Some);
        }
        let sweep = ((&one * 1.5)? - (&gram * 0.5)?)?;
        gram = sweep.matmul(&gram)?.matmul(&sweep)?;
        turn = Some(turn.map_or(Ok(sweep.clone()), |turn| turn.matmul(&sweep))?);
    }
    Ok(turn.map(|turn| start.matmul(&turn)).transpose()?)
}

/// The last `rank` left singular vectors of a weight, `[d, rank]`.
fn bottom(weight: &Tensor, rank: usize) -> Result<Tensor> {
    let u = basis::svd(basis::matrix(weight)?.as_ref())?.u;
    let last = u.as_ref().subcols(u.ncols() - rank, rank);
    basis::tensor(last, &[u.nrows(), rank], &Device::Cpu)
}

/// A layer that loses a span.
#[derive(Debug)]
pub struct ParaLayer {
    /// `[d, r]`.
    b: Var,
    ramp: usize,
    step: AtomicUsize,
    retract: bool,
    through: Orthonormalize,
}

impl ParaLayer {
    /// A layer whose directions start at the columns of `b` `[d, r]`.
    ///
    /// # Errors
    /// A device without room.
    pub fn new(
        b: &Tensor,
        device: &Device,
        ramp: usize,
        retract: bool,
        through: Orthonormalize,
    ) -> Result<Self> {
        Ok(Self { b: parameter(b, device)?, ramp, step: AtomicUsize::new(0), retract, through })
    }

    /// The share that is taken out now.
    fn strength(&self) -> f64 {
        let step = self.step.load(Ordering::Relaxed);
        if step >= self.ramp { 1.0 } else { step as f64 / self.ramp as f64 }
    }
}

impl Adapt for ParaLayer {
    fn forward(&self, layer: &Bare<'_>) -> Result<Tensor> {
        let h = layer.output()?;
        match self.through {
            Orthonormalize::Retraction => take_span(&h, &self.b, self.strength(), BasisGradient::OfSpan),
            Orthonormalize::Qr => take_span(&h, &qr(&self.b)?, self.strength(), BasisGradient::OfEntries),
        }
    }
}

impl TrainedLayer for ParaLayer {
    fn parameters(&self) -> Vec<(&'static str, &Var)> {
        vec![("para_B", &self.b)]
    }

    fn pieces(&self, values: &[Tensor]) -> Result<Vec<(&'static str, Tensor)>> {
        let q = basis::orthonormal(basis::matrix(&values[0])?.as_ref()).q;
        Ok(vec![(".para_q", basis::tensor(q.as_ref(), &[q.nrows(), q.ncols()], &Device::Cpu)?)])
    }

    fn begin_step(&self, step: usize) {
        self.step.store(step, Ordering::Relaxed);
    }

    fn end_step(&self) -> Result<()> {
        if !self.retract {
            return Ok(());
        }
        match retracted(&self.b.as_detached_tensor())? {
            Some(b) => Ok(self.b.set(&b)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ops::{Conv2d, Linear};
    use crate::train::chance::Purpose;

    fn normal(which: u64, shape: &[usize]) -> Tensor {
        Chance::new(0, Purpose::Start, &[which]).normal(shape).unwrap()
    }

    /// Some number that a layer gives when three quarters of what `b` `[6, 2]` spans are taken out of it, with its gradient.
    fn loss(convolves: bool, b: &Tensor, through: Orthonormalize) -> (f64, Tensor) {
        let start = match through {
            Orthonormalize::Retraction => qr(b).unwrap(),
            Orthonormalize::Qr => b.clone(),
        };
        let layer = Arc::new(ParaLayer::new(&start, &Device::Cpu, 4, true, through).unwrap());
        layer.begin_step(3);
        let (bias, adapt, name) = (Some(normal(2, &[6])), Some(layer.clone() as _), String::new());
        let y = if convolves {
            let weight = normal(1, &[6, 3, 3, 3]);
            let conv = Conv2d { weight: weight.into(), bias, stride: 2, padding: 1, adapt, name };
            conv.forward(&normal(0, &[2, 3, 5, 5])).unwrap()
        } else {
            Linear { weight: normal(1, &[6, 4]).into(), bias, adapt, name }
                .forward(&normal(0, &[5, 4]))
                .unwrap()
        };
        let loss = y.sin().unwrap().sum_all().unwrap();
        let gradient = loss.backward().unwrap().get(&layer.b).unwrap().clone();
        (f64::from(loss.to_scalar::<f32>().unwrap()), gradient)
    }

    #[test]
    fn the_gradient_of_a_linear_layer_and_of_a_convolution_is_what_small_steps_tell() {
        const STEP: f64 = 5e-3;
        let b = qr(&normal(3, &[6, 2])).unwrap();
        let at = |i: usize| {
            Tensor::eye(12, DType::F32, &Device::Cpu).unwrap().get(i).unwrap().reshape((6, 2)).unwrap()
        };
        for convolves in [false, true] {
            for through in [Orthonormalize::Retraction, Orthonormalize::Qr] {
                let gradient =
                    loss(convolves, &b, through).1.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let largest = gradient.iter().fold(0f32, |most, value| most.max(value.abs()));
                for (i, &found) in gradient.iter().enumerate() {
                    let [up, down] = [STEP, -STEP]
                        .map(|step| loss(convolves, &(&b + (at(i) * step).unwrap()).unwrap(), through).0);
                    let told = (up - down) / (2.0 * STEP);
                    let off = (told - f64::from(found)).abs();
                    assert!(
                        off < 2e-3 * f64::from(largest),
                        "{through:?} {convolves} {i}: {found}, not {told}"
                    );
                }
            }
        }
    }

    #[test]
    fn directions_stay_orthonormal_from_step_to_step() {
        let start = qr(&normal(9, &[40, 6])).unwrap();
        let layer = ParaLayer::new(&start, &Device::Cpu, 0, true, Orthonormalize::Retraction).unwrap();
        for far in [0.0, 1e-3, 5e-2, 0.5, 10.0] {
            let moved = (layer.b.as_tensor() + (start.cos().unwrap() * far).unwrap()).unwrap();
            layer.b.set(&moved).unwrap();
            layer.end_step().unwrap();
            let gram = layer.b.t().unwrap().matmul(&layer.b).unwrap();
            let off = (gram - Tensor::eye(6, DType::F32, &Device::Cpu).unwrap()).unwrap();
            let off = off.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(off < 2e-6, "{far}: {off}");
        }
    }

    #[test]
    fn the_removal_grows_over_the_ramp_and_then_stays() {
        let b = Tensor::eye(4, DType::F32, &Device::Cpu).unwrap();
        let layer = ParaLayer::new(&b, &Device::Cpu, 4, true, Orthonormalize::Retraction).unwrap();
        let strengths = [0, 1, 4, 400].map(|step| {
            layer.begin_step(step);
            layer.strength()
        });
        assert_eq!(strengths, [0.0, 0.25, 1.0, 1.0]);
    }
}
