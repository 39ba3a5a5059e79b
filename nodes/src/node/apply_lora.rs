//! `ApplyLoRA`: adds what a LoRA or one of its relatives learned.

use flow_engine::{Check, Cx, In, Nature, Node, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::apply_adapter::{Request, one};
use crate::adapter::Adapter;
use crate::adapter::fold::Scales;
use crate::model::Model;

/// Add a LoRA, LoCon, LoHa or LoKr to a model's weights: `W <- W + scale · alpha / r · up · down` and its relatives.
///
/// Layers of the denoiser and of both text encoders are changed, as far as the file has them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyLoRA {
    /// Model to change.
    pub model: In<Model>,
    /// One adapter, or a list of them.
    pub lora: In<Adapter>,
    /// How strongly: 1 as trained, 0 not at all, and beyond both.
    #[serde(default = "one")]
    pub scale: f64,
    /// The same for the text encoders' layers; without it, `scale`.
    #[serde(default)]
    pub text_encoder_scale: Option<f64>,
    /// Whether to go on, with a warning, where it names layers that the model does not have or that are of another
    /// shape.
    #[serde(default)]
    pub allow_unmatched: bool,
}

impl ApplyLoRA {
    fn request(&self) -> Request<'_> {
        let scales =
            Scales { unet: self.scale, text_encoders: self.text_encoder_scale.unwrap_or(self.scale) };
        let (model, adapter, allow_unmatched) = (&self.model, &self.lora, self.allow_unmatched);
        let methods = &["LoRA", "LoHa", "LoKr"];
        Request { model, adapter, field: "lora", scales, allow_unmatched, methods }
    }
}

impl Node for ApplyLoRA {
    const KIND: &'static str = "ApplyLoRA";
    const NATURE: Nature = Nature::Instant;
    type Output = Model;

    fn check(&self, cx: &mut Check<'_>) {
        self.request().check(cx);
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Model> {
        self.request().run(cx)
    }
}
