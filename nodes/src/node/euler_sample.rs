//! `EulerSample`: draws pictures with Euler steps (Karras et al. 2022, arXiv 2206.00364, algorithm 2).

use flow_engine::{Check, Cx, In, Node, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sampler::{TimestepSpacing, drawing};
use crate::conditioning::Conditioning;
use crate::latents::Latents;
use crate::model::Model;
use crate::picture::Images;
use crate::sample::{Euler, NoiseSchedule};
use crate::sdxl::config::SchedulerConfig;

/// Sample pictures with Euler steps.
///
/// A seed gives the picture that diffusers gives with `torch.Generator("cpu")` in float32, and
/// picture i of a node is the one that a single run with `seed` + i makes, but for rounding.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EulerSample {
    /// Model to sample from.
    pub model: In<Model>,
    /// What to show. May be empty. Either this or `conditioning` is set.
    #[serde(default)]
    pub prompt: Option<String>,
    /// What not to show. Without one, the model's own default: zeros for SDXL.
    #[serde(default)]
    pub negative_prompt: Option<String>,
    /// An encoded prompt, in the place of `prompt` and `negative_prompt`.
    #[serde(default)]
    pub conditioning: Option<In<Conditioning>>,
    /// Number of steps; at most the timesteps of the model's training, 1000 for SDXL.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1))]
    pub steps: usize,
    /// Guidance scale: how far to go from the negative prompt past the prompt. 1 or less leaves the
    /// negative prompt out and takes half the time.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 100))]
    pub guidance: f64,
    /// How much of the contrast that guidance adds is taken back. 0.7 suits models that predict v
    /// and begin at pure noise.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub guidance_rescale: f64,
    /// Pictures to begin with, in the place of noise alone. One is drawn over with every seed; several
    /// are drawn over with one seed each, from `seed` on.
    #[serde(default)]
    pub image: Option<In<Images>>,
    /// How much of `image` to change: this share of the steps is taken, and 1 leaves almost nothing of
    /// it. 0.75, if not set.
    #[serde(default)]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub strength: Option<f64>,
    /// Latents to begin with, in the place of the seed's noise, such as a DDIMInvert gives. One goes
    /// with every seed; several go with one seed each.
    #[serde(default)]
    pub latents: Option<In<Latents>>,
    /// Width in pixels, a multiple of the autoencoder's factor, 8 for SDXL. If not set, that of `image`
    /// or `latents`, or else the model's own.
    #[serde(default)]
    #[schemars(range(min = 1, max = 8192))]
    pub width: Option<usize>,
    /// Height in pixels, like `width`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 8192))]
    pub height: Option<usize>,
    /// Seed of the first picture's noise.
    #[serde(default)]
    pub seed: u64,
    /// Number of pictures.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10000))]
    pub count: usize,
    /// Where the steps lie among the timesteps of training. The model's own, if not set.
    #[serde(default)]
    pub timestep_spacing: Option<TimestepSpacing>,
}

fn thirty() -> usize {
    30
}

fn five() -> f64 {
    5.0
}

fn one() -> usize {
    1
}

impl EulerSample {
    fn sampler(&self, config: &SchedulerConfig) -> Result<Euler> {
        let spacing = TimestepSpacing::or_own(self.timestep_spacing, config);
        Euler::new(&NoiseSchedule::new(config), self.steps, spacing)
    }
}

impl Node for EulerSample {
    const KIND: &'static str = "EulerSample";
    const HOLDS_DEVICE: bool = true;
    type Output = Images;

    fn check(&self, cx: &mut Check<'_>) {
        drawing!(self).check(&|config| self.sampler(config).map(drop), cx);
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Images> {
        let model = cx.input(&self.model)?;
        drawing!(self).draw(&self.sampler(model.checkpoint().scheduler_config())?, cx)
    }
}
