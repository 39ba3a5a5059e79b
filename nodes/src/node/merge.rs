//! `Merge`: several adapters become one.

use std::sync::Arc;

use flow_engine::{Check, Cx, In, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapter::basis::{self, matrix, singular_values};
use crate::adapter::bound::{Share, rank_bound};
use crate::adapter::merge::{self, Joint, Layers, Sum, largest_gap};
use crate::adapter::names::Target;
use crate::adapter::write::{self, FileDtype, LoraKeys, Metadata};
use crate::adapter::{Adapter, Single};
use crate::model::Model;

/// Merge adapters of one method into one, and say what that costs.
///
/// Two PaRas merge exactly into the PaRa of their joint span (`Joint`). One after the other (`InTurn`) is another
/// function, unless the two commute: the second is removed whole, and the first leaks back along it. It stays a list,
/// which no PaRa file can hold; `Convert` makes a LoRA of it. The paper calls both equal; the metrics of this node say
/// how far apart they are: the rank that each removes, and the largest singular value of the difference of the two
/// functions, which is the largest cosine between the spans.
///
/// LoRAs merge exactly by `Concatenate`, at the sum of their ranks. `AddFactors` adds `up` to `up` and `down` to `down`
/// as some tools do: it is *not* the sum of the LoRAs, and its error is measured. `Cut` is the nearest to the sum of a
/// smaller rank, and its error is measured too. The merged file says in its metadata, as `merge_error`, whether it is
/// exact or by which share of the norm it is not.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// Adapters, the most important first: under a bound all of the first is kept.
    pub adapters: Vec<In<Adapter>>,
    /// How they become one.
    pub how: How,
    /// For `Joint`: the share of a weight's rank that may be removed, such as `"1/40"`. Without it nothing is left out.
    /// It needs `model`.
    #[serde(default)]
    pub gamma: Option<Share>,
    /// For LoRAs: what each counts. Without it, 1 each.
    #[serde(default)]
    pub weights: Option<Vec<f64>>,
    /// The model that they are for; needed with `gamma`, and where files name layers in ways that do not say the module
    /// path, as kohya's do.
    #[serde(default)]
    pub model: Option<In<Model>>,
    /// The precision of what is made.
    #[serde(default = "full")]
    pub dtype: FileDtype,
}

/// Under which name a merged file says by which share of its norm it misses what was merged.
const ERROR: &str = "merge_error";
/// What it says if it does not.
const EXACT: &str = "exact";

fn full() -> FileDtype {
    FileDtype::F32
}

/// How adapters become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum How {
    /// PaRas: remove what any of them removes.
    Joint,
    /// Any adapters: one after the other, as a list.
    InTurn,
    /// LoRAs: factors side by side.
    Concatenate,
    /// LoRAs of equal rank: factors added.
    AddFactors,
    /// LoRAs: the nearest change of at most this rank.
    Cut {
        /// The rank.
        rank: usize,
    },
}

impl Node for Merge {
    const KIND: &'static str = "Merge";
    type Output = Adapter;

    fn check(&self, cx: &mut Check<'_>) {
        if self.adapters.is_empty() {
            cx.problem_with("adapters", Problem::new("there is no adapter to merge"));
        }
        if self.gamma.is_some() && self.how != How::Joint {
            cx.problem_with(
                "gamma",
                Problem::new("only `how: Joint` has a bound on the rank").hint("leave it out"),
            );
        }
        if self.gamma.is_some() && self.model.is_none() {
            let problem =
                Problem::new("`gamma` is a share of the rank of a model's weights, and there is no `model`");
            cx.problem_with("gamma", problem.hint("give the model that the adapters are for"));
        }
        if let How::Cut { rank: 0 } = self.how {
            cx.problem_with("how", Problem::new("a cut to rank 0 leaves nothing"));
        }
        if let Some(weights) = &self.weights {
            if matches!(self.how, How::Joint | How::InTurn) {
                cx.problem_with(
                    "weights",
                    Problem::new("only LoRAs are merged with weights").hint("leave them out"),
                );
            } else if weights.len() != self.adapters.len() {
                let (n, m) = (weights.len(), self.adapters.len());
                cx.problem_with("weights", Problem::new(format!("there are {n} weights for {m} adapters")));
            }
        }
        let adapters: Option<Vec<_>> = self.adapters.iter().map(|wire| cx.input(wire)).collect();
        let model = self.model.as_ref().map(|wire| cx.input(wire));
        if let (Some(adapters), Some(model)) = (adapters, model.map_or(Some(None), |model| model.map(Some)))
            && let Err(error) = self.sorted(&steps(&adapters), model.as_deref())
        {
            cx.problem_with("adapters", error);
        }
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Adapter> {
        let adapters: Vec<_> = self.adapters.iter().map(|wire| cx.input(wire)).collect::<Result<_>>()?;
        let model = self.model.as_ref().map(|wire| cx.input(wire)).transpose()?;
        let singles = steps(&adapters);
        let alone = singles.len() == 1 && self.gamma.is_none();
        match self.how {
            How::InTurn => Ok(Adapter::new(singles)),
            How::Joint if alone => Ok(Adapter::new(singles)),
            How::Concatenate | How::AddFactors if alone && self.weights.is_none() => {
                Ok(Adapter::new(singles))
            }
            How::Joint => self.join(&singles, model.as_deref(), cx),
            How::Concatenate => self.sum(&adapters, Sum::Concatenated, model.as_deref(), cx),
            How::AddFactors => self.sum(&adapters, Sum::Factors, model.as_deref(), cx),
            How::Cut { rank } => self.sum(&adapters, Sum::Cut(rank), model.as_deref(), cx),
        }
    }
}

/// The name of what is merged: whatever decides a result may be in it, and the node's own name does not.
fn name(singles: &[Arc<Single>]) -> String {
    singles.iter().map(|single| single.name()).collect::<Vec<_>>().join(" + ")
}

/// Every adapter of every list, in order.
fn steps(adapters: &[Arc<Adapter>]) -> Vec<Arc<Single>> {
    adapters.iter().flat_map(|adapter| adapter.steps().to_vec()).collect()
}

impl Merge {
    fn sorted<'a>(&self, singles: &'a [Arc<Single>], model: Option<&Model>) -> Result<Option<Layers<'a>>> {
        let names = model.map(Model::names).transpose()?;
        match self.how {
            How::InTurn => Ok(None),
            How::Joint => Layers::of(singles, "PaRa", names).map(Some),
            How::Concatenate | How::AddFactors | How::Cut { .. } => {
                Layers::of(singles, "LoRA", names).map(Some)
            }
        }
    }

    fn join(&self, singles: &[Arc<Single>], model: Option<&Model>, cx: &Cx<'_>) -> Result<Adapter> {
        let Some(layers) = self.sorted(singles, model)? else { return Ok(Adapter::new(singles.to_vec())) };
        let total = layers.count();
        let cap = |target: &Target| match (self.gamma, model) {
            (Some(gamma), Some(model)) => rank_of(model, target).map(|rank| Some(rank_bound(gamma, rank))),
            _ => Ok(None),
        };
        let joint = merge::joint(&layers, cap, |done| cx.progress(done, total, "layer"))?;
        tell(&joint, cx);
        let mut says = self.says(singles, "the joint span of");
        let error = match joint.cut {
            0 => EXACT.to_owned(),
            cut => format!("{cut} directions beyond the bound are left out"),
        };
        says.insert(ERROR.into(), error);
        let spans = joint.spans;
        Ok(write::para(&name(singles), &spans, self.dtype, says)?.into())
    }

    fn sum(
        &self,
        adapters: &[Arc<Adapter>],
        how: Sum,
        model: Option<&Model>,
        cx: &Cx<'_>,
    ) -> Result<Adapter> {
        let singles = steps(adapters);
        let Some(layers) = self.sorted(&singles, model)? else { return Ok(Adapter::new(singles.clone())) };
        let total = layers.count();
        let weight = |index: usize| self.weights.as_ref().map_or(1.0, |weights| weights[index]);
        let each = adapters
            .iter()
            .enumerate()
            .flat_map(|(index, adapter)| adapter.steps().iter().map(move |_| index));
        let weights: Vec<f64> = each.map(weight).collect();
        let summed = merge::sum(&layers, &weights, how, |done| cx.progress(done, total, "layer"))?;
        cx.metric("relative error", summed.error, None, "");
        let mut says = self.says(&singles, "the sum of");
        let error = if how == Sum::Concatenated { EXACT.to_owned() } else { format!("{:e}", summed.error) };
        says.insert(ERROR.into(), error);
        let shapes = |target: &Target| summed.shapes[target].clone();
        Ok(write::lora(&name(&singles), &summed.changes, shapes, LoraKeys::Kohya, self.dtype, says)?.into())
    }

    /// What the merged file says of where it comes from.
    fn says(&self, singles: &[Arc<Single>], what: &str) -> Metadata {
        let names: Vec<_> = singles.iter().map(|single| single.name()).collect();
        let mut says = Metadata::from([("merge".to_owned(), format!("{what} {}", names.join(", ")))]);
        if let Some(gamma) = self.gamma {
            says.insert("gamma".into(), gamma.to_string());
        }
        let bases: Vec<_> =
            singles.iter().map(|single| single.files().metadata().get(write::BASE_DIGEST)).collect();
        if let Some(Some(base)) = bases.first()
            && bases.iter().all(|other| *other == Some(*base))
        {
            says.insert(write::BASE_DIGEST.into(), (*base).clone());
        }
        says
    }
}

/// The numerical rank of a layer's weight.
fn rank_of(model: &Model, target: &Target) -> Result<usize> {
    let weight = matrix(&model.weight(target, &candle_core::Device::Cpu)?)?;
    Ok(basis::rank(&singular_values(weight.as_ref())?, weight.nrows(), weight.ncols()))
}

/// Measured numbers of a joint merge.
fn tell(joint: &Joint, cx: &Cx<'_>) {
    let meetings = joint.meetings.values();
    cx.metric("largest gap to removal in turn", largest_gap(meetings.clone()), None, "");
    let total =
        |rank: fn(&crate::adapter::order::Meeting) -> usize| meetings.clone().map(rank).sum::<usize>() as f64;
    cx.metric("rank removed jointly, where two meet", total(|meeting| meeting.joint), None, "");
    cx.metric("rank removed in turn, where two meet", total(|meeting| meeting.in_turn()), None, "");
    if joint.cut > 0 {
        cx.warn(
            format!("the bound leaves out {} directions of the later adapters", joint.cut),
            Some("a larger `gamma`, or none, keeps them".into()),
        );
    }
}
