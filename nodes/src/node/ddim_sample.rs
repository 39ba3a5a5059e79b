//! `DDIMSample`: draws pictures with DDIM (Song et al. 2020, arXiv 2010.02502).

use flow_engine::{Check, Cx, In, Node, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sampler::{Drawing, Sampler};
use crate::conditioning::Conditioning;
use crate::model::Model;
use crate::picture::Images;
use crate::sample::{Ddim, NoiseSchedule};
use crate::sdxl::config::Spacing;

/// Sample pictures with DDIM.
///
/// A seed gives the picture that diffusers gives with `torch.Generator("cpu")` in float32, and
/// picture i of a node is the one that a single run with `seed` + i makes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DDIMSample {
    /// Model to sample from.
    pub model: In<Model>,
    /// What to show, with brackets as in `EncodePrompt`. May be empty. Either this or `conditioning`
    /// is set.
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
    /// Share of fresh noise at each step: 0 adds none, 1 is DDPM's.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub eta: f64,
    /// Width in pixels, a multiple of the autoencoder's factor, 8 for SDXL. The model's own size, if
    /// not set.
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

/// Where the steps of sampling lie among the timesteps of training.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub enum TimestepSpacing {
    /// At whole distances from the first one on; SDXL's own.
    Leading,
    /// Back from the last one.
    Trailing,
    /// Evenly from the first to the last.
    Linspace,
}

impl From<TimestepSpacing> for Spacing {
    fn from(spacing: TimestepSpacing) -> Self {
        match spacing {
            TimestepSpacing::Leading => Self::Leading,
            TimestepSpacing::Trailing => Self::Trailing,
            TimestepSpacing::Linspace => Self::Linspace,
        }
    }
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

impl DDIMSample {
    fn drawing(&self) -> Drawing<'_> {
        Drawing {
            model: &self.model,
            prompt: self.prompt.as_deref(),
            negative_prompt: self.negative_prompt.as_deref(),
            conditioning: self.conditioning.as_ref(),
            guidance: self.guidance,
            width: self.width,
            height: self.height,
            seed: self.seed,
            count: self.count,
        }
    }
}

impl Node for DDIMSample {
    const KIND: &'static str = "DDIMSample";
    const HOLDS_DEVICE: bool = true;
    type Output = Images;

    fn check(&self, cx: &mut Check<'_>) {
        self.drawing().check(self.steps, cx);
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Images> {
        let model = cx.input(&self.model)?;
        let config = model.checkpoint().scheduler_config();
        let spacing = self.timestep_spacing.map_or(config.timestep_spacing, Spacing::from);
        let ddim = Ddim::new(&NoiseSchedule::new(config), self.steps, spacing, self.eta)?;
        self.drawing().draw(
            &Sampler {
                name: "DDIM",
                steps: ddim.timesteps().len(),
                eta: self.eta,
                walk: &|denoiser, latents, fresh, on_step| ddim.sample(denoiser, latents, fresh, on_step),
            },
            cx,
        )
    }
}
