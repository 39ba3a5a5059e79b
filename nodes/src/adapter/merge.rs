//! Several adapters made one, with what that costs.
//!
//! PaRas merge exactly into the PaRa of their joint span. One after the other is something else: `(I - P2)(I - P1)` is
//! no projection unless the two commute, so it stays a list. (The paper calls both equal; `para-maths` has the
//! counterexample.) LoRAs merge exactly by laying their factors side by side; adding the factors themselves, or cutting
//! the rank, is an approximation whose error is measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use flow_engine::{Problem, Result};

use super::basis::{self, Matrix};
use super::low_rank::LowRank;
use super::names::{Names, Target, target_of};
use super::order::{Meeting, meeting};
use super::para;
use super::single::{Layer, Single};

/// Every layer of some adapters, and what each of them has for it.
#[derive(Debug)]
pub struct Layers<'a> {
    layers: BTreeMap<Target, Vec<(usize, &'a Single, &'a Layer)>>,
}

impl<'a> Layers<'a> {
    /// Sorts the layers of several adapters of one method; a model's names are needed where theirs do not say the
    /// module path.
    ///
    /// # Errors
    /// An adapter of another method; layers whose module cannot be told.
    pub fn of(singles: &'a [Arc<Single>], method: &str, names: Option<&Names>) -> Result<Self> {
        let mut layers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (index, single) in singles.iter().enumerate() {
            if !single.is(method) {
                let message = format!("`{}` is {}, and {method} is wanted", single.name(), single.kind());
                return Err(Problem::new(message).into());
            }
            for layer in single.layers() {
                let target = match names {
                    Some(names) => names.find(&layer.module, layer.of),
                    None => target_of(&layer.module),
                };
                let target = target.ok_or_else(|| unknown(single, layer, names.is_some()))?;
                layers.entry(target).or_default().push((index, single.as_ref(), layer));
            }
        }
        Ok(Self { layers })
    }

    /// How many layers any of them changes.
    pub fn count(&self) -> usize {
        self.layers.len()
    }
}

fn unknown(single: &Single, layer: &Layer, has_model: bool) -> Problem {
    let problem = Problem::new(format!("`{}` names the layer `{}`", single.name(), layer.module));
    problem.hint(if has_model {
        "the model has no such layer: was the adapter made for another one?"
    } else {
        "its module path cannot be told from that name alone: give the `model` that it is for"
    })
}

/// The PaRa of the joint span, and how its parts met on each layer.
#[derive(Debug, Default)]
pub struct Joint {
    /// Orthonormal `[d, r]` per layer.
    pub spans: BTreeMap<Target, Matrix>,
    /// How the first two that share a layer meet there.
    pub meetings: BTreeMap<Target, Meeting>,
    /// Directions that a cap left out.
    pub cut: usize,
}

/// Joins PaRas: each span beyond those before it. `cap` is the most directions that a layer may lose; all of the first
/// adapter's are kept, and the others fill up to the cap. `step` is told how many layers are done.
///
/// # Errors
/// Values that are no numbers; those of `cap` and `step`.
pub fn joint(
    layers: &Layers<'_>,
    mut cap: impl FnMut(&Target) -> Result<Option<usize>>,
    mut step: impl FnMut(usize) -> Result<()>,
) -> Result<Joint> {
    let mut joint = Joint::default();
    for (done, (target, parts)) in layers.layers.iter().enumerate() {
        let spans: Vec<Matrix> = parts
            .iter()
            .map(|(_, single, layer)| Ok(para::span(&single.pieces(layer))?.q))
            .collect::<Result<_>>()?;
        if let [first, second, ..] = &spans[..] {
            joint.meetings.insert(target.clone(), meeting(first, second)?);
        }
        let together = spans.iter().skip(1).fold(spans[0].clone(), |q, next| beside(&q, &beyond(&q, next)));
        let kept = match cap(target)? {
            // A layer that only later adapters have is filled from nothing.
            Some(cap) if parts[0].0 == 0 => together.ncols().min(cap.max(spans[0].ncols())),
            Some(cap) => together.ncols().min(cap),
            None => together.ncols(),
        };
        joint.cut += together.ncols() - kept;
        joint.spans.insert(target.clone(), together.subcols(0, kept).to_owned());
        step(done + 1)?;
    }
    Ok(joint)
}

fn beyond(q: &Matrix, next: &Matrix) -> Matrix {
    basis::beyond(q.as_ref(), next.as_ref()).q
}

fn beside(left: &Matrix, right: &Matrix) -> Matrix {
    let (d, r) = (left.nrows(), left.ncols());
    Matrix::from_fn(d, r + right.ncols(), |i, j| if j < r { left[(i, j)] } else { right[(i, j - r)] })
}

/// How LoRAs become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sum {
    /// Factors side by side: exact, of the sum of the ranks.
    Concatenated,
    /// Factors added: cross terms appear, so that it is not the sum.
    Factors,
    /// The nearest to the sum of a rank.
    Cut(usize),
}

/// One LoRA, and the share of the exact sum's norm by which it misses it.
#[derive(Debug)]
pub struct Summed {
    /// The factors per layer.
    pub changes: BTreeMap<Target, LowRank>,
    /// The shape of each layer's weight.
    pub shapes: BTreeMap<Target, Vec<usize>>,
    /// `‖merged - sum‖ / ‖sum‖` over all layers; 0 is exact but for rounding.
    pub error: f64,
}

/// Adds LoRAs with a weight for each.
///
/// # Errors
/// A LoRA that is no product of two factors (DoRA); unequal ranks where factors are added.
pub fn sum(
    layers: &Layers<'_>,
    weights: &[f64],
    how: Sum,
    mut step: impl FnMut(usize) -> Result<()>,
) -> Result<Summed> {
    let mut summed = Summed { changes: BTreeMap::new(), shapes: BTreeMap::new(), error: 0.0 };
    let (mut missed, mut all) = (0.0, 0.0);
    for (done, (target, parts)) in layers.layers.iter().enumerate() {
        let change = |(index, single, layer): &(usize, &Single, &Layer)| {
            let pieces = single.pieces(layer);
            let change = LowRank::of_lora(&pieces, weights[*index])?;
            change.ok_or_else(|| no_factors(single, layer).into())
        };
        let changes: Vec<LowRank> = parts.iter().map(change).collect::<Result<_>>()?;
        let exact = changes.iter().skip(1).fold(changes[0].clone(), |all, next| all.and(next));
        let norm = exact.norm();
        let merged = match how {
            Sum::Concatenated => exact,
            Sum::Factors => {
                let merged = added(target, &changes)?;
                let difference = merged.and(&LowRank { up: exact.up * faer::Scale(-1.0), down: exact.down });
                missed += difference.norm().powi(2);
                merged
            }
            Sum::Cut(r) => {
                let (merged, share) = exact.cut(r)?;
                missed += (share * norm).powi(2);
                merged
            }
        };
        all += norm.powi(2);
        summed.shapes.insert(target.clone(), super::lora::weight_shape(&parts[0].1.pieces(parts[0].2)));
        summed.changes.insert(target.clone(), merged);
        step(done + 1)?;
    }
    summed.error = if all > 0.0 { (missed / all).sqrt() } else { 0.0 };
    Ok(summed)
}

fn no_factors(single: &Single, layer: &Layer) -> Problem {
    let message =
        format!("`{}` of `{}` has a magnitude (DoRA), so that it is no sum", layer.module, single.name());
    Problem::new(message).hint("apply it to the model instead, one after the other")
}

/// The factors themselves added: each LoRA's weight is in its `up`.
fn added(target: &Target, changes: &[LowRank]) -> Result<LowRank> {
    let r = changes[0].rank();
    if changes.iter().any(|change| change.rank() != r) {
        let ranks: Vec<_> = changes.iter().map(|change| change.rank().to_string()).collect();
        let message = format!(
            "`{}` has ranks {}, and factors of unequal ranks have no sum",
            target.tensor,
            ranks.join(", ")
        );
        return Err(Problem::new(message).hint("`how: Concatenate` takes every rank and is exact").into());
    }
    let first = changes[0].clone();
    let sum = changes
        .iter()
        .skip(1)
        .fold(first, |sum, next| LowRank { up: sum.up + &next.up, down: sum.down + &next.down });
    Ok(sum)
}

/// How far removal in turn is from joint removal, over all layers where two PaRas meet: the largest singular value of
/// `(I - P2)(I - P1) - (I - Pm)`, which is the largest cosine between their spans that is not 1.
pub fn largest_gap<'a>(meetings: impl IntoIterator<Item = &'a Meeting>) -> f64 {
    meetings.into_iter().map(Meeting::gap).fold(0.0, f64::max)
}
