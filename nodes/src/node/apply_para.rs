//! `ApplyPaRa`: takes directions out of a model's weights.

use flow_engine::{Check, Cx, In, Nature, Node, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::apply_adapter::Request;
use crate::adapter::Adapter;
use crate::adapter::fold::Scales;
use crate::model::Model;

/// Reduce the rank of a model's weights with a PaRa: `W <- W - Q Qᵀ W`, on the layers that it was trained for.
///
/// It takes its directions out of everything that is applied before it, so the order matters: after a LoRA it erases
/// a part of what the LoRA added, which is said with a number; before a LoRA it does not touch it. It has no scale,
/// and twice is once.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyPaRa {
    /// Model to reduce.
    pub model: In<Model>,
    /// One PaRa, or a list of them that are applied in turn.
    pub para: In<Adapter>,
    /// Whether to go on, with a warning, where it names layers that the model does not have or that are of another
    /// shape.
    #[serde(default)]
    pub allow_unmatched: bool,
}

impl ApplyPaRa {
    fn request(&self) -> Request<'_> {
        let (model, adapter, allow_unmatched) = (&self.model, &self.para, self.allow_unmatched);
        Request {
            model,
            adapter,
            field: "para",
            scales: Scales::both(1.0),
            allow_unmatched,
            methods: &["PaRa"],
        }
    }
}

impl Node for ApplyPaRa {
    const KIND: &'static str = "ApplyPaRa";
    const NATURE: Nature = Nature::Instant;
    type Output = Model;

    fn check(&self, cx: &mut Check<'_>) {
        self.request().check(cx);
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Model> {
        self.request().run(cx)
    }
}
