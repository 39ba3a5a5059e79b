//! `DDIMSample`: draws pictures with DDIM (Song et al. 2020, arXiv 2010.02502).

use flow_engine::{Cx, In, Result};

use super::sampler::{five, one, sampler_node, thirty};
use crate::model::Model;
use crate::picture::Images;
use crate::sample::Ddim;

sampler_node! {
    /// Sample pictures with DDIM.
    ///
    /// A seed gives the picture that diffusers gives with `torch.Generator("cpu")` in float32, and
    /// picture i of a node is the one that a single run with `seed` + i makes, but for rounding.
    pub struct DDIMSample {
        /// Share of fresh noise at each step: 0 adds none, 1 is DDPM's.
        #[serde(default)]
        #[schemars(range(min = 0, max = 1))]
        pub eta: f64,
    }

    Ddim = |node, schedule, spacing| Ddim::new(schedule, node.steps, spacing, node.eta)
}

impl DDIMSample {
    /// The node that has nothing but a prompt and a seed.
    pub(super) fn plain(model: &In<Model>, prompt: String, seed: u64) -> Self {
        Self {
            model: model.clone(),
            prompt: Some(prompt),
            negative_prompt: None,
            conditioning: None,
            steps: thirty(),
            guidance: five(),
            guidance_rescale: 0.0,
            eta: 0.0,
            image: None,
            strength: None,
            latents: None,
            width: None,
            height: None,
            seed,
            count: one(),
            timestep_spacing: None,
        }
    }

    /// What the node gives for another model than the one on its wire; `unit` is what its steps are called.
    pub(super) fn draw_with(&self, model: &Model, unit: &str, cx: &Cx<'_>) -> Result<Images> {
        let sampler = self.sampler(model.checkpoint().scheduler_config())?;
        self.drawing().draw_with(model, &sampler, unit, cx)
    }
}
