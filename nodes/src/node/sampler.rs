//! What all sampler nodes share: the model, what to show, where to begin, the size, the seeds.
//!
//! Not a node. A sampler node is its fields and its [`Sampler`]; everything around the walk is here.

mod canvas;
mod start;
mod words;

use candle_core::Tensor;
use flow_engine::{Check, Cx, Estimate, In, Problem, Result};
use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use canvas::{Canvas, tensor_from_pixels};
pub(super) use words::Words;

use crate::conditioning::Conditioning;
use crate::estimate::{Pictures, Walks};
use crate::latents::Latents;
use crate::model::{self, Model};
use crate::picture::{Generation, Images, Picture};
use crate::sample::noise::randn_each;
use crate::sample::{Denoiser, Generator, OnStep, Sampler, start_of, walk};
use crate::sdxl::config::{SchedulerConfig, Spacing};
use crate::sdxl::cost::Grid;
use start::{Begin, Start};

/// Latent pixels that go through the denoiser together: one picture of SDXL's native size, or as
/// many smaller ones as have that area.
const LATENTS_PER_BATCH: usize = 128 * 128;

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

impl TimestepSpacing {
    /// The chosen spacing, or else the model's own.
    pub(super) fn or_own(chosen: Option<Self>, config: &SchedulerConfig) -> Spacing {
        match chosen {
            None => config.timestep_spacing,
            Some(Self::Leading) => Spacing::Leading,
            Some(Self::Trailing) => Spacing::Trailing,
            Some(Self::Linspace) => Spacing::Linspace,
        }
    }
}

/// The fields that every sampler node has.
pub(super) struct Drawing<'a> {
    pub model: &'a In<Model>,
    pub prompt: Option<&'a str>,
    pub negative_prompt: Option<&'a str>,
    pub conditioning: Option<&'a In<Conditioning>>,
    pub steps: usize,
    pub guidance: f64,
    pub guidance_rescale: f64,
    pub image: Option<&'a In<Images>>,
    pub strength: Option<f64>,
    pub latents: Option<&'a In<Latents>>,
    pub width: Option<usize>,
    pub height: Option<usize>,
    pub seed: u64,
    pub count: usize,
}

/// A sampler node: a struct of the fields that all of them have, with its own behind `guidance_rescale`, and a node
/// whose sampler is made of itself, the model's noise schedule and the spacing of the timesteps.
///
/// It is a macro because a node's schema, its manual and its refusal of unknown fields want the fields in the struct
/// itself: serde's `flatten` gives up all three.
macro_rules! sampler_node {
    (
        $(#[$manual:meta])*
        pub struct $kind:ident {
            $($(#[$attribute:meta])* pub $field:ident: $type:ty,)*
        }

        $sampler:ty = |$node:ident, $schedule:ident, $spacing:ident| $made:expr
    ) => {
        $(#[$manual])*
        #[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $kind {
            /// Model to sample from.
            pub model: flow_engine::In<$crate::model::Model>,
            /// What to show, with brackets as in `EncodePrompt`. May be empty. Either this or `conditioning`
            /// is set.
            #[serde(default)]
            pub prompt: Option<String>,
            /// What not to show. Without one, the model's own default: zeros for SDXL.
            #[serde(default)]
            pub negative_prompt: Option<String>,
            /// An encoded prompt, in the place of `prompt` and `negative_prompt`.
            #[serde(default)]
            pub conditioning: Option<flow_engine::In<$crate::conditioning::Conditioning>>,
            /// Number of steps; at most the timesteps of the model's training, 1000 for SDXL, and for
            /// DPM++ one less.
            #[serde(default = "crate::node::sampler::thirty")]
            #[schemars(range(min = 1))]
            pub steps: usize,
            /// Guidance scale: how far to go from the negative prompt past the prompt. 1 or less leaves the
            /// negative prompt out and takes half the time.
            #[serde(default = "crate::node::sampler::five")]
            #[schemars(range(min = 0, max = 100))]
            pub guidance: f64,
            /// How much of the contrast that guidance adds is taken back. 0.7 suits models that predict v
            /// and begin at pure noise.
            #[serde(default)]
            #[schemars(range(min = 0, max = 1))]
            pub guidance_rescale: f64,
            $($(#[$attribute])* pub $field: $type,)*
            /// Pictures to begin with, in the place of noise alone. One is drawn over with every seed; several
            /// are drawn over with one seed each, from `seed` on.
            #[serde(default)]
            pub image: Option<flow_engine::In<$crate::picture::Images>>,
            /// How much of `image` to change: this share of the steps is taken, and 1 leaves almost nothing of
            /// it. 0.75, if not set.
            #[serde(default)]
            #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
            pub strength: Option<f64>,
            /// Latents to begin with, in the place of the seed's noise, such as a DDIMInvert gives. One goes
            /// with every seed; several go with one seed each.
            #[serde(default)]
            pub latents: Option<flow_engine::In<$crate::latents::Latents>>,
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
            #[serde(default = "crate::node::sampler::one")]
            #[schemars(range(min = 1, max = 10000))]
            pub count: usize,
            /// Where the steps lie among the timesteps of training. The model's own, if not set.
            #[serde(default)]
            pub timestep_spacing: Option<$crate::node::sampler::TimestepSpacing>,
        }

        impl $kind {
            fn sampler(&self, config: &$crate::sdxl::config::SchedulerConfig) -> flow_engine::Result<$sampler> {
                let $spacing = $crate::node::sampler::TimestepSpacing::or_own(self.timestep_spacing, config);
                let ($node, $schedule) = (self, &$crate::sample::NoiseSchedule::new(config));
                $made
            }

            fn drawing(&self) -> $crate::node::sampler::Drawing<'_> {
                $crate::node::sampler::Drawing {
                    model: &self.model,
                    prompt: self.prompt.as_deref(),
                    negative_prompt: self.negative_prompt.as_deref(),
                    conditioning: self.conditioning.as_ref(),
                    steps: self.steps,
                    guidance: self.guidance,
                    guidance_rescale: self.guidance_rescale,
                    image: self.image.as_ref(),
                    strength: self.strength,
                    latents: self.latents.as_ref(),
                    width: self.width,
                    height: self.height,
                    seed: self.seed,
                    count: self.count,
                }
            }
        }

        impl flow_engine::Node for $kind {
            const KIND: &'static str = stringify!($kind);
            const HOLDS_DEVICE: bool = true;
            type Output = $crate::picture::Images;

            fn check(&self, cx: &mut flow_engine::Check<'_>) {
                self.drawing().check(&|config| self.sampler(config).map(drop), cx);
            }

            fn estimate(&self, cx: &flow_engine::Check<'_>) -> Option<flow_engine::Estimate> {
                let sampler = self.sampler(cx.input(&self.model)?.checkpoint().scheduler_config()).ok()?;
                self.drawing().estimate(&sampler, cx)
            }

            fn run(&self, cx: &flow_engine::Cx<'_>) -> flow_engine::Result<Self::Output> {
                let model = cx.input(&self.model)?;
                self.drawing().draw(&self.sampler(model.checkpoint().scheduler_config())?, cx)
            }
        }
    };
}
pub(super) use sampler_node;

pub(super) fn thirty() -> usize {
    30
}

pub(super) fn five() -> f64 {
    5.0
}

pub(super) fn one() -> usize {
    1
}

/// What the pictures of a node have in common.
struct Scene<'a> {
    model: &'a Model,
    conditioning: &'a Conditioning,
    sampler: &'a dyn Sampler,
    /// The step at which the walks begin.
    first: usize,
    strength: Option<f64>,
}

impl Drawing<'_> {
    fn words(&self) -> Words<'_> {
        Words { prompt: self.prompt, negative_prompt: self.negative_prompt, conditioning: self.conditioning }
    }

    fn begin(&self) -> Begin<'_> {
        Begin {
            image: self.image,
            strength: self.strength,
            latents: self.latents,
            width: self.width,
            height: self.height,
            seed: self.seed,
            count: self.count,
        }
    }

    /// Reports what is wrong before anything runs; `sampler` tries to make the sampler for a model's settings.
    pub(super) fn check(&self, sampler: &dyn Fn(&SchedulerConfig) -> Result<()>, cx: &mut Check<'_>) {
        self.words().check(cx);
        self.begin().check(cx);
        if let Err(problem) = first_step(self.steps, self.begin().strength()) {
            cx.problem_with("strength", problem);
        }
        let Some(model) = cx.input(self.model) else { return };
        if cx.is_in_range()
            && let Err(problem) = sampler(model.checkpoint().scheduler_config())
        {
            cx.problem_with("steps", problem);
        }
        for (field, size) in [("width", self.width), ("height", self.height)] {
            if let Some(Err(problem)) = size.map(|size| canvas::latent_size(&model, field, size)) {
                cx.problem_with(field, problem);
            }
        }
    }

    /// What drawing them will take, if the sizes are known before.
    pub(super) fn estimate(&self, sampler: &dyn Sampler, cx: &Check<'_>) -> Option<Estimate> {
        let model = cx.input(self.model)?;
        let first = first_step(self.steps, self.begin().strength()).ok()?;
        let pictures: Vec<_> = self.begin().canvases(&model, cx)?.into_iter().map(pictures).collect();
        let walks = Walks {
            pictures: &pictures,
            steps: sampler.steps().len().saturating_sub(first),
            guided: self.guidance > 1.0,
            prompts: self.words().count(&model),
            encodes: self.image.is_some(),
            decodes: true,
        };
        walks.estimate(&model, cx.settings())
    }

    /// Draws the pictures.
    pub(super) fn draw(&self, sampler: &dyn Sampler, cx: &Cx<'_>) -> Result<Images> {
        self.draw_with(&*cx.input(self.model)?, sampler, "step", cx)
    }

    /// Draws the pictures with another model than the one on its wire; `unit` is what its steps are called.
    pub(super) fn draw_with(
        &self,
        model: &Model,
        sampler: &dyn Sampler,
        unit: &str,
        cx: &Cx<'_>,
    ) -> Result<Images> {
        let strength = self.begin().strength();
        let first = first_step(self.steps, strength)?;
        let starts = self.begin().starts(model, cx)?;
        let conditioning = self.words().encode(model, cx)?;
        let scene = Scene { model, conditioning: &conditioning, sampler, first, strength };

        let batches = batches(&starts);
        let steps = sampler.steps().len() - first;
        let total = steps * batches.len();
        let mut pictures = Vec::with_capacity(starts.len());
        for (batch, starts) in batches.into_iter().enumerate() {
            let mut on_step = |done: usize, _: &Tensor| cx.progress(batch * steps + done, total, unit);
            let pixels = self.draw_batch(&scene, starts, &mut on_step, cx)?;
            pictures.extend(pixels.into_iter().zip(starts).map(|(pixels, start)| Picture {
                generation: Some(self.generation(&scene, start)),
                ..Picture::new(start.name.clone(), pixels)
            }));
        }
        Ok(Images { pictures })
    }

    /// The pictures of some starts of one size, each as if it were drawn alone.
    fn draw_batch(
        &self,
        scene: &Scene<'_>,
        starts: &[Start],
        on_step: &mut OnStep<'_>,
        cx: &Cx<'_>,
    ) -> Result<Vec<RgbImage>> {
        let Scene { model, conditioning, sampler, first, .. } = *scene;
        let device = model::compute(cx.settings())?.device;
        let (unet, vae, b) = (model.unet(cx)?, model.vae(cx)?, starts.len());
        let (positive, negative) = (conditioning.positive.repeat(b)?, conditioning.negative.repeat(b)?);
        let Canvas { height, width, h, w } = starts[0].canvas;
        let time_ids = conditioning.time_ids(height, width).tensor(b, &device)?;
        let prediction = model.checkpoint().scheduler_config().prediction_type;
        let denoiser =
            Denoiser::new(&unet, prediction, &positive, Some(&negative), &time_ids, self.guidance)?
                .rescale(self.guidance_rescale)?;

        let channels = model.checkpoint().unet_config().in_channels;
        let mut generators: Vec<_> = starts.iter().map(|start| Generator::new(start.seed)).collect();
        let begin = starts.iter().zip(&mut generators);
        let latents = begin
            .map(|(start, generator)| start.latents(generator, sampler, first, (channels, &vae, &device)))
            .collect::<Result<Vec<_>>>()?;
        let mut fresh = |_: &[usize]| randn_each(&mut generators, &[channels, h, w]);
        let latents = Tensor::stack(&latents, 0)?;
        let latents = walk(sampler, first, &denoiser, &latents, &mut fresh, on_step)?;
        canvas::pixels_from_tensor(&vae.decode(&latents)?)
    }

    fn generation(&self, scene: &Scene<'_>, start: &Start) -> Generation {
        let Scene { model, conditioning, sampler, strength, .. } = *scene;
        Generation {
            prompt: conditioning.prompt.clone(),
            negative_prompt: conditioning.negative_prompt.clone(),
            steps: self.steps,
            sampler: sampler.name().to_owned(),
            schedule_type: sampler.schedule_type().map(ToOwned::to_owned),
            guidance: self.guidance,
            eta: sampler.eta(),
            strength,
            seed: start.seed,
            width: start.canvas.width,
            height: start.canvas.height,
            model: model.name(),
            model_hash: model.hash(),
        }
    }
}

/// The step at which the walks begin.
///
/// # Errors
/// A strength so small that no step is left.
fn first_step(steps: usize, strength: Option<f64>) -> Result<usize, Problem> {
    let Some(strength) = strength else { return Ok(0) };
    let first = start_of(steps, strength);
    if first < steps || steps == 0 || strength.is_nan() || strength <= 0.0 {
        return Ok(first);
    }
    let message = format!("a `strength` of {strength} leaves none of {steps} steps");
    let enough = (1.0 / strength).ceil();
    Err(Problem::new(message)
        .hint(format!("write at least {enough} steps, or a strength from {}", 1.0 / steps as f64)))
}

/// Starts of one size each, and no more of them than fit.
fn batches(starts: &[Start]) -> Vec<&[Start]> {
    let alike = starts.chunk_by(|a, b| a.canvas == b.canvas);
    alike.flat_map(|starts| starts.chunks(most_together(starts[0].canvas))).collect()
}

/// How many pictures of a size go through the denoiser together.
fn most_together(Canvas { h, w, .. }: Canvas) -> usize {
    (LATENTS_PER_BATCH / (h * w).max(1)).max(1)
}

/// So many pictures of one size, for an estimate.
fn pictures((canvas, count): (Canvas, usize)) -> Pictures {
    let latents = Grid { h: canvas.h, w: canvas.w };
    Pictures { latents, count, together: count.min(most_together(canvas)) }
}
