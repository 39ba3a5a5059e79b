//! `DpmppSample`: draws pictures with DPM-Solver++ 2M (Lu et al. 2022, arXiv 2211.01095).

use super::sampler::sampler_node;
use crate::sample::Dpmpp;

sampler_node! {
    /// Sample pictures with DPM-Solver++ 2M, "DPM++ 2M" in other tools.
    ///
    /// It needs the fewest steps: 20 are often enough.
    ///
    /// A seed gives the picture that diffusers gives with `torch.Generator("cpu")` in float32, and
    /// picture i of a node is the one that a single run with `seed` + i makes, but for rounding.
    pub struct DpmppSample {
        /// Whether the levels of noise lie as Karras et al. 2022 (arXiv 2206.00364) put them: most of the
        /// steps where there is little noise. `timestep_spacing` is then without effect.
        #[serde(default = "yes")]
        pub karras: bool,
    }

    Dpmpp = |node, schedule, spacing| Dpmpp::new(schedule, node.steps, spacing, node.karras)
}

fn yes() -> bool {
    true
}
