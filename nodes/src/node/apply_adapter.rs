//! `ApplyAdapter`: any adapter onto a model. What its specialized relatives share is here too.

use flow_engine::{Check, Cx, In, Nature, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapter::fold::Scales;
use crate::adapter::{Adapter, order};
use crate::model::Model;

/// Apply an adapter of any method to a model, after everything that is applied to it already.
///
/// The result is a recipe; weights are folded, in float32, by the nodes that need them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyAdapter {
    /// Model to change.
    pub model: In<Model>,
    /// What to apply; a list is applied in its order.
    pub adapter: In<Adapter>,
    /// How strongly: 1 as trained, 0 not at all, and beyond both. PaRa and OFT have no scale.
    #[serde(default = "one")]
    pub scale: f64,
    /// The same for the text encoders' layers; without it, `scale`.
    #[serde(default)]
    pub text_encoder_scale: Option<f64>,
    /// Whether to go on, with a warning, where the adapter names layers that the model does not have or that are of
    /// another shape.
    #[serde(default)]
    pub allow_unmatched: bool,
}

pub(super) fn one() -> f64 {
    1.0
}

/// What every node that applies an adapter asks for.
pub(super) struct Request<'a> {
    pub(super) model: &'a In<Model>,
    pub(super) adapter: &'a In<Adapter>,
    /// The name of the adapter's field.
    pub(super) field: &'static str,
    pub(super) scales: Scales,
    pub(super) allow_unmatched: bool,
    /// The methods that it takes, by name; empty for all.
    pub(super) methods: &'static [&'static str],
}

impl Request<'_> {
    /// Reports what is wrong with an adapter, and with the model it meets.
    pub(super) fn check(&self, cx: &mut Check<'_>) {
        let Some(adapter) = cx.input(self.adapter) else { return };
        if let Err(problem) = self.takes(&adapter) {
            return cx.problem_with(self.field, problem);
        }
        let Some(model) = cx.input(self.model) else { return };
        if let Err(error) = model.with(&adapter, self.scales, self.allow_unmatched) {
            cx.problem_with(self.field, error);
        }
    }

    fn takes(&self, adapter: &Adapter) -> Result<(), Problem> {
        for single in adapter.steps() {
            if single.word().is_some() && (!self.methods.is_empty() || self.scales != Scales::both(1.0)) {
                let message = format!("`{}` is a textual inversion, which has no scale", single.name());
                return Err(Problem::new(message).hint("apply it with `ApplyAdapter`, without `scale`"));
            }
            for method in single.methods() {
                let name = method.name();
                if !self.methods.is_empty() && !self.methods.contains(&name) {
                    let message =
                        format!("`{}` is {name}, and {} is wanted", single.name(), self.methods.join(", "));
                    return Err(Problem::new(message).hint("`ApplyAdapter` takes every method"));
                }
                if self.scales != Scales::both(1.0) && !method.has_scale() {
                    let message = format!("`{}` is {name}, which has no scale", single.name());
                    return Err(Problem::new(message).hint("leave out `scale`, or set it to 1.0"));
                }
            }
        }
        Ok(())
    }

    /// The changed model; says what the order costs and what was left out.
    pub(super) fn run(&self, cx: &Cx<'_>) -> Result<Model> {
        let (model, adapter) = (cx.input(self.model)?, cx.input(self.adapter)?);
        self.takes(&adapter)?;
        let changed = model.with(&adapter, self.scales, self.allow_unmatched)?;
        if cx.checking() {
            return Ok(changed);
        }
        for applied in &changed.applied()[model.applied().len()..] {
            warn_of_left_out(applied, cx);
            warn_of_other_base(applied, &model, cx);
        }
        if let Some(erased) = order::erased(&changed, model.applied().len())? {
            let message = format!(
                "`{}` removes {:.1} % of what `{}` added (its share of the Frobenius norm)",
                erased.para,
                100.0 * erased.share,
                erased.lora
            );
            let hint = "a PaRa takes its directions out of everything before it; applied first, it leaves later \
                        adapters alone. `OrderReport` tells it by layer";
            cx.warn(message, Some(hint.into()));
        }
        Ok(changed)
    }
}

fn warn_of_left_out(applied: &crate::adapter::fold::Applied, cx: &Cx<'_>) {
    let left_out = applied.bound.left_out();
    if !left_out.is_empty() {
        let (name, n) = (applied.single.name(), left_out.len());
        cx.warn(format!("{n} layers of `{name}` are left out:\n  {}", left_out.join("\n  ")), None);
    }
}

fn warn_of_other_base(applied: &crate::adapter::fold::Applied, model: &Model, cx: &Cx<'_>) {
    let trained_on = applied.single.files().metadata().get(crate::adapter::write::BASE_DIGEST);
    let base = model.base_digest().to_string();
    if let Some(trained_on) = trained_on.filter(|trained_on| **trained_on != base) {
        let name = applied.single.name();
        let message =
            format!("`{name}` was trained on a model with digest {trained_on}, and this one is {base}");
        cx.warn(message, Some("its effect on another base is not what was trained".into()));
    }
}

impl ApplyAdapter {
    fn request(&self) -> Request<'_> {
        let scales =
            Scales { unet: self.scale, text_encoders: self.text_encoder_scale.unwrap_or(self.scale) };
        let (model, adapter, allow_unmatched) = (&self.model, &self.adapter, self.allow_unmatched);
        Request { model, adapter, field: "adapter", scales, allow_unmatched, methods: &[] }
    }
}

impl Node for ApplyAdapter {
    const KIND: &'static str = "ApplyAdapter";
    const NATURE: Nature = Nature::Instant;
    type Output = Model;

    fn check(&self, cx: &mut Check<'_>) {
        self.request().check(cx);
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Model> {
        self.request().run(cx)
    }
}
