//! `Convert`: what a list of adapters does to a base, as a file that other programs read.

use flow_engine::{Check, Cx, In, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapter::Adapter;
use crate::adapter::convert::{self, Changes};
use crate::adapter::fold::Scales;
use crate::adapter::order::span;
use crate::adapter::write::{self, FileDtype, LoraKeys, Metadata};
use crate::model::Model;

/// Convert PaRas and LoRAs, in their order, into one adapter for a given model.
///
/// Every such list is exactly one LoRA for that model, whose factors are `[-Q, αB]` and `[Qᵀ W; A]`: so every PaRa works
/// in ComfyUI, A1111 and diffusers today. On another base it is not the same, for `W` is in it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Convert {
    /// The base that the result is for, with whatever is applied to it already.
    pub model: In<Model>,
    /// PaRas and LoRAs in the order in which they are applied.
    pub adapters: Vec<In<Adapter>>,
    /// How strongly each is applied. Without it, 1 each; PaRas have no other.
    #[serde(default)]
    pub scales: Option<Vec<f64>>,
    /// What it becomes.
    pub to: To,
    /// How a LoRA's layers are called.
    #[serde(default)]
    pub keys: LoraKeys,
    /// Cuts a LoRA to at most this rank; the share of the norm that is missed is measured. Without it, it is exact.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub rank: Option<usize>,
    /// The precision of what is made.
    #[serde(default)]
    pub dtype: FileDtype,
}

/// What adapters become.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum To {
    /// One LoRA that does the same.
    LoRA,
    /// The factored form of one PaRa and one LoRA of equal rank, `(-a1 Q + a2 B)(a1 Qᵀ W + a2 A)`. It is *not* what
    /// applying both gives: it has cross terms, which change with the sign of each column of `Q`. Here `Q` is the one
    /// with a positive diagonal in `R`; another program's `Q` gives other weights.
    FactoredLoRA {
        /// `a1`.
        para: f64,
        /// `a2`.
        lora: f64,
    },
    /// One PaRa as PEFT has it (its DEFT tuner with `para=True`): linear layers of the denoiser only.
    DEFT,
}

impl Node for Convert {
    const KIND: &'static str = "Convert";
    type Output = Adapter;

    fn check(&self, cx: &mut Check<'_>) {
        if self.adapters.is_empty() {
            cx.problem_with("adapters", Problem::new("there is no adapter to convert"));
        }
        if let Some(scales) = &self.scales
            && scales.len() != self.adapters.len()
        {
            let (n, m) = (scales.len(), self.adapters.len());
            cx.problem_with("scales", Problem::new(format!("there are {n} scales for {m} adapters")));
        }
        if self.rank.is_some() && self.to == To::DEFT {
            cx.problem_with("rank", Problem::new("a PaRa is not cut").hint("leave out `rank`"));
        }
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Adapter> {
        let base = cx.input(&self.model)?;
        let from = base.applied().len();
        let changed = self.applied(&base, cx)?;
        let step = |done, total| cx.progress(done, total, "layer");
        let changes = match self.to {
            To::LoRA => convert::to_low_rank(&changed, from, step)?,
            To::FactoredLoRA { para, lora } => convert::factored(&changed, from, [para, lora], step)?,
            To::DEFT => return self.deft(&changed, from),
        };
        let changes = self.cut(changes, cx)?;
        let shapes = |target: &crate::adapter::names::Target| changes.shapes[target].clone();
        Ok(write::lora(
            &said_names(&changed, from),
            &changes.changes,
            shapes,
            self.keys,
            self.dtype,
            says(&base, &changed, from),
        )?
        .into())
    }
}

impl Convert {
    /// The base with everything applied.
    fn applied(&self, base: &Model, cx: &Cx<'_>) -> Result<Model> {
        let mut model = base.clone();
        for (index, wire) in self.adapters.iter().enumerate() {
            let adapter = cx.input(wire)?;
            let scale = self.scales.as_ref().map_or(1.0, |scales| scales[index]);
            if scale != 1.0
                && let Some(para) = adapter.steps().iter().find(|single| single.is("PaRa"))
            {
                let problem = Problem::new(format!("`{}` is PaRa, which has no scale", para.name()));
                return Err(problem.hint("set its place in `scales` to 1.0").into());
            }
            model = model.with(&adapter, Scales::both(scale), false)?;
        }
        Ok(model)
    }

    fn cut(&self, mut changes: Changes, cx: &Cx<'_>) -> Result<Changes> {
        let Some(rank) = self.rank else { return Ok(changes) };
        let (mut missed, mut all) = (0.0, 0.0);
        for change in changes.changes.values_mut() {
            let norm = change.norm();
            let (cut, share) = change.cut(rank)?;
            *change = cut;
            missed += (share * norm).powi(2);
            all += norm.powi(2);
        }
        let error = if all > 0.0 { (missed / all).sqrt() } else { 0.0 };
        cx.metric("relative error", error, None, "");
        Ok(changes)
    }

    fn deft(&self, changed: &Model, from: usize) -> Result<Adapter> {
        let [applied] = &changed.applied()[from..] else {
            let problem = Problem::new("PEFT's format holds one PaRa, and there are several adapters");
            return Err(problem.hint("merge them with `Merge(how: Joint)` first").into());
        };
        if !applied.single.is("PaRa") {
            let single = &applied.single;
            let problem = Problem::new(format!("`{}` is {}, and no PaRa", single.name(), single.kind()));
            return Err(problem.hint("only a PaRa becomes DEFT").into());
        }
        let names = changed.names()?;
        let spans = applied.bound.targets().map(|target| {
            let shape = names.shape(target).unwrap_or_default().to_vec();
            Ok(span(applied, target)?.map(|q| (target.clone(), (q, shape))))
        });
        let spans = spans.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(write::deft(&said_names(changed, from), &spans, self.dtype)?.into())
    }
}

/// What was converted, in its order.
fn said_names(changed: &Model, from: usize) -> String {
    let names: Vec<_> = changed.applied()[from..].iter().map(|applied| applied.single.name()).collect();
    names.join(" then ")
}

/// What the converted file says of where it comes from.
fn says(base: &Model, changed: &Model, from: usize) -> Metadata {
    Metadata::from([
        (write::BASE_DIGEST.to_owned(), base.base_digest().to_string()),
        ("base_model".to_owned(), base.name()),
        ("converted".to_owned(), said_names(changed, from)),
    ])
}
