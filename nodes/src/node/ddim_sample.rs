//! `DDIMSample`: draws pictures with DDIM (Song et al. 2020, arXiv 2010.02502).

use super::sampler::sampler_node;
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
