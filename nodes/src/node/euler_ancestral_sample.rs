//! `EulerAncestralSample`: draws pictures with Euler steps and fresh noise (k-diffusion's ancestral sampling).

use super::sampler::sampler_node;
use crate::sample::EulerAncestral;

sampler_node! {
    /// Sample pictures with Euler steps and fresh noise in each, "Euler a" in other tools.
    ///
    /// More steps give other pictures, not only finer ones.
    ///
    /// A seed gives the picture that diffusers gives with `torch.Generator("cpu")` in float32, and
    /// picture i of a node is the one that a single run with `seed` + i makes, but for rounding.
    pub struct EulerAncestralSample {
    }

    EulerAncestral = |node, schedule, spacing| EulerAncestral::new(schedule, node.steps, spacing)
}
