//! `EulerSample`: draws pictures with Euler steps (Karras et al. 2022, arXiv 2206.00364, algorithm 2).

use super::sampler::sampler_node;
use crate::sample::Euler;

sampler_node! {
    /// Sample pictures with Euler steps.
    ///
    /// A seed gives the picture that diffusers gives with `torch.Generator("cpu")` in float32, and
    /// picture i of a node is the one that a single run with `seed` + i makes, but for rounding.
    pub struct EulerSample {
    }

    Euler = |node, schedule, spacing| Euler::new(schedule, node.steps, spacing)
}
