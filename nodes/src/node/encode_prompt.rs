//! `EncodePrompt`: turns words into what a denoiser is told.

use flow_engine::{Cx, In, Node, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditioning::Conditioning;
use crate::model::Model;

/// Encode a prompt once, for several samplers.
///
/// Both text encoders read it; text beyond their length is cut off.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncodePrompt {
    /// Model whose text encoders read the prompt.
    pub model: In<Model>,
    /// What to show. May be empty.
    pub prompt: String,
    /// What not to show. Without one, the model's own default: zeros for SDXL.
    #[serde(default)]
    pub negative_prompt: Option<String>,
}

impl Node for EncodePrompt {
    const KIND: &'static str = "EncodePrompt";
    const HOLDS_DEVICE: bool = true;
    type Output = Conditioning;

    fn run(&self, cx: &Cx<'_>) -> Result<Conditioning> {
        let model = cx.input(&self.model)?;
        Conditioning::encode(&model, &self.prompt, self.negative_prompt.as_deref(), cx)
    }
}
