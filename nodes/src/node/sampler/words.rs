//! What to show: a prompt in words, or an encoded one on a wire.

use std::sync::Arc;

use flow_engine::{Check, Cx, In, Problem, Result};

use crate::conditioning::{Conditioning, check_prompts, prompts};
use crate::model::{self, Model};

/// The fields of a node that say what to show.
pub(in crate::node) struct Words<'a> {
    pub prompt: Option<&'a str>,
    pub negative_prompt: Option<&'a str>,
    pub conditioning: Option<&'a In<Conditioning>>,
}

impl Words<'_> {
    /// Reports what is wrong before anything runs.
    pub(in crate::node) fn check(&self, cx: &mut Check<'_>) {
        match (self.prompt, self.conditioning) {
            (None, None) => cx.problem(
                Problem::new("there is nothing to show: neither `prompt` nor `conditioning` is set")
                    .hint("write `prompt: \"..\"`, or wire an EncodePrompt to `conditioning`"),
            ),
            (Some(_), Some(_)) => cx.problem_with(
                "conditioning",
                Problem::new("`prompt` and `conditioning` are both set").hint("take one of them out"),
            ),
            (None, Some(_)) if self.negative_prompt.is_some() => cx.problem_with(
                "negative_prompt",
                Problem::new("`conditioning` has a negative prompt of its own")
                    .hint("write `negative_prompt` in the EncodePrompt"),
            ),
            _ => {}
        }
        check_prompts(self.prompt, self.negative_prompt, cx);
    }

    /// How many prompts are encoded for a model.
    pub(in crate::node) fn count(&self, model: &Model) -> usize {
        match self.prompt {
            Some(_) => prompts(self.negative_prompt, model),
            None => 0,
        }
    }

    /// What they mean to a model.
    pub(in crate::node) fn encode(&self, model: &Model, cx: &Cx<'_>) -> Result<Arc<Conditioning>> {
        let Some(wire) = self.conditioning else {
            let prompt = self.prompt.unwrap_or_default();
            return Ok(Arc::new(Conditioning::encode(model, prompt, self.negative_prompt, cx)?));
        };
        let conditioning = cx.input(wire)?;
        let [first, second] = model.checkpoint().text_configs();
        let (takes, gives) = (first.hidden_size + second.hidden_size, conditioning.width()?);
        if takes != gives {
            let message =
                format!("the conditioning has {gives} features, but `{}` takes {takes}", model.name());
            return Err(Problem::new(message).hint("encode the prompt with the same model").into());
        }
        // One that was stored comes back on the CPU.
        conditioning.on(&model::compute(cx.settings())?.device)
    }
}
