//! An ordered list of PaRas and LoRAs as one LoRA for a given base: exact, because each of them is a low-rank change of
//! the weight that it meets.
//!
//! The factored form `(-a1 Q + a2 B)(a1 Qᵀ W + a2 A)` of one PaRa and one LoRA of equal rank is another model: it has
//! cross terms, which change with the sign (and the rotation) of `Q`. Here `Q` is the one with a positive diagonal in
//! `R`; LAPACK's would give other weights.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Device;
use faer::Scale;
use flow_engine::{Problem, Result};

use super::basis::{self, Matrix};
use super::fold::Applied;
use super::low_rank::LowRank;
use super::names::Target;
use super::order::{low_rank, span};
use crate::model::Model;

/// Low-rank changes of a base, layer by layer.
#[derive(Debug, Default)]
pub struct Changes {
    /// The factors.
    pub changes: BTreeMap<Target, LowRank>,
    /// The shapes of the weights.
    pub shapes: BTreeMap<Target, Vec<usize>>,
}

/// What the adapters of `model` from number `from` on do to the model before them, as one low-rank change per layer.
/// `step` is told how many layers of how many are done.
///
/// # Errors
/// Adapters that are neither PaRa nor a LoRA of two factors, all of them; values that are no numbers.
pub fn to_low_rank(
    model: &Model,
    from: usize,
    mut step: impl FnMut(usize, usize) -> Result<()>,
) -> Result<Changes> {
    let (base, steps) = split(model, from);
    refuse_others(steps)?;
    let targets: BTreeSet<&Target> = steps.iter().flat_map(|applied| applied.bound.targets()).collect();
    let mut found = Changes::default();
    for (done, &target) in targets.iter().enumerate() {
        let (weight, shape) = weight_of(&base, target)?;
        let nothing = LowRank::none(weight.nrows(), weight.ncols());
        let change =
            steps.iter().try_fold(nothing, |change, applied| after(change, applied, target, &weight))?;
        found.changes.insert(target.clone(), change);
        found.shapes.insert(target.clone(), shape);
        step(done + 1, targets.len())?;
    }
    Ok(found)
}

/// A change, and then one more adapter.
fn after(change: LowRank, applied: &Applied, target: &Target, weight: &Matrix) -> Result<LowRank> {
    if let Some(q) = span(applied, target)? {
        return Ok(change.then_remove(&q, weight));
    }
    Ok(low_rank(applied, target)?.map_or(change.clone(), |more| change.and(&more)))
}

/// The factored form of one PaRa and one LoRA on the layers that both have; on the others each alone, scaled by `a1²`
/// and `a2²` as the form says.
///
/// # Errors
/// Other adapters than one PaRa and one LoRA; unequal ranks on a layer.
pub fn factored(
    model: &Model,
    from: usize,
    [a1, a2]: [f64; 2],
    mut step: impl FnMut(usize, usize) -> Result<()>,
) -> Result<Changes> {
    let (base, steps) = split(model, from);
    let [first, second] = steps else { return Err(not_a_pair().into()) };
    let (para, lora) = if first.single.is("PaRa") { (first, second) } else { (second, first) };
    if !(para.single.is("PaRa") && lora.single.is("LoRA")) {
        return Err(not_a_pair().into());
    }
    let targets: BTreeSet<&Target> = steps.iter().flat_map(|applied| applied.bound.targets()).collect();
    let mut found = Changes::default();
    for (done, &target) in targets.iter().enumerate() {
        let (weight, shape) = weight_of(&base, target)?;
        let q = span(para, target)?;
        let change = pair(target, q.as_ref(), low_rank(lora, target)?.as_ref(), &weight, [a1, a2])?;
        found.changes.insert(target.clone(), change);
        found.shapes.insert(target.clone(), shape);
        step(done + 1, targets.len())?;
    }
    Ok(found)
}

/// `(-a1 Q + a2 B)(a1 Qᵀ W + a2 A)` for one layer.
///
/// # Errors
/// Unequal ranks.
pub fn pair(
    target: &Target,
    q: Option<&Matrix>,
    lora: Option<&LowRank>,
    weight: &Matrix,
    [a1, a2]: [f64; 2],
) -> Result<LowRank> {
    let removal = q.map(|q| LowRank { up: q * Scale(-a1), down: (q.transpose() * weight) * Scale(a1) });
    let addition = lora.map(|lora| LowRank { up: &lora.up * Scale(a2), down: &lora.down * Scale(a2) });
    match (removal, addition) {
        (Some(removal), Some(addition)) if removal.rank() == addition.rank() => {
            Ok(LowRank { up: removal.up + addition.up, down: removal.down + addition.down })
        }
        (Some(removal), Some(addition)) => {
            let (r1, r2) = (removal.rank(), addition.rank());
            let message = format!("`{}`: the PaRa has rank {r1} and the LoRA {r2}", target.tensor);
            Err(Problem::new(message).hint("the factored form needs equal ranks; `LoRA` takes any").into())
        }
        (Some(alone), None) | (None, Some(alone)) => Ok(alone),
        (None, None) => Ok(LowRank::none(weight.nrows(), weight.ncols())),
    }
}

/// The model before an adapter, and the adapters from it on.
fn split(model: &Model, from: usize) -> (Model, &[Applied]) {
    (model.up_to(from), &model.applied()[from..])
}

fn weight_of(base: &Model, target: &Target) -> Result<(Matrix, Vec<usize>)> {
    let weight = base.weight(target, &Device::Cpu)?;
    Ok((basis::matrix(&weight)?, weight.dims().to_vec()))
}

fn not_a_pair() -> Problem {
    Problem::new("the factored form is of one PaRa and one LoRA").hint("give these two as `adapters`")
}

fn refuse_others(steps: &[Applied]) -> Result<()> {
    let fits = |applied: &&Applied| applied.single.is("PaRa") || applied.single.is("LoRA");
    let others: Vec<_> = steps.iter().filter(|applied| !fits(applied)).collect();
    if others.is_empty() {
        return Ok(());
    }
    let told: Vec<_> =
        others.iter().map(|a| format!("`{}` is {}", a.single.name(), a.single.kind())).collect();
    let message = format!("only PaRas and LoRAs become a LoRA exactly:\n  {}", told.join("\n  "));
    Err(Problem::new(message).hint("save the model with `SaveModel`, which takes every method").into())
}
