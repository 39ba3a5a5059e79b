//! `Train`: from pictures and what they show to an adapter.

mod mistakes;
mod pictures;
mod running;

use std::path::PathBuf;

use candle_core::DType;
use flow_engine::{Check, Cx, Digest, Dtype, In, Node, Project, Result, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::running::Running;
use super::load_adapter;
use crate::adapter::write::{BASE_DIGEST, FileDtype, Metadata};
use crate::adapter::{Adapter, read};
use crate::kept::{Kept, Size};
use crate::model::{self, Model};
use crate::picture::Images;
use crate::registry::NUMERICS;
use crate::sample::NoiseSchedule;
use crate::sdxl::{Compute, Part};
use crate::train::curve;
use crate::train::dataset::Drawing;
use crate::train::method::TrainMethod;
use crate::train::network::{Beginning, Trainees};
use crate::train::objective::Objective;
use crate::train::optimizer::AdamWSettings;
use crate::train::scalars::Scalars;
use crate::train::schedule::RateSchedule;
use crate::train::state::States;
use crate::train::trainer::{Course, Trainer};

/// Train an adapter on pictures.
///
/// What comes out is what its file would hold, rounded to the file's precision, so that a graph and what it saved never
/// differ. Every step is decided by the seed and its number. A training that is interrupted goes on from its last
/// checkpoint, under `.flow/train`; with a constant learning rate, raising `steps` goes on from the end.
///
/// On a CPU everything is in float32; elsewhere the networks run in the precision of the run, and what is trained stays
/// in float32.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Model to train, with the adapters that it has; the new one is made to come after them.
    pub model: In<Model>,
    /// Pictures of the subject.
    pub images: In<Images>,
    /// What the pictures show, with a word of its own for the subject: `"a photo of sks plushie"`. Either this or
    /// `captions` is set.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Whether each picture goes with the caption that stands beside it.
    #[serde(default)]
    pub captions: bool,
    /// What is trained, and how it enters the layers.
    pub method: TrainMethod,
    /// Steps of the optimizer. 200 for PaRa and 1000 for the others, as in PaRa's paper (arXiv 2406.05641, section 4.1),
    /// if not set.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub steps: Option<usize>,
    /// Learning rate. If not set, the method's own:
    /// - 0.01 for `Para`, whose directions of length 1 turn by about so much in a step, and for `SvDiff`;
    /// - 0.002 for `Lora`, `Locon`, `Loha`, `Lokr` and `Oft`;
    /// - 0.005 for `TextualInversion`, as in diffusers' script for SDXL;
    /// - 0.0001 for `DreamBooth`.
    ///
    /// All but diffusers' were found on `models/mini-sdxl`. SDXL takes smaller ones: 0.0001 for LoRA in diffusers' script.
    #[serde(default)]
    #[schemars(range(max = 10), extend("exclusiveMinimum" = 0))]
    pub learning_rate: Option<f64>,
    /// How the learning rate goes on over the steps.
    #[serde(default)]
    pub schedule: RateSchedule,
    /// Steps over which the learning rate grows at first.
    #[serde(default)]
    pub warmup: usize,
    /// Pictures at once; 1 in the paper.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub batch: usize,
    /// Passes whose gradients make one step.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub accumulate: usize,
    /// Side, in pixels, of a square of the area that pictures are trained at. The model's own, if not set.
    #[serde(default)]
    #[schemars(range(min = 8, max = 8192))]
    pub resolution: Option<usize>,
    /// Whether pictures keep about their own shape; else they are cut to squares.
    #[serde(default = "yes")]
    pub buckets: bool,
    /// Whether half of the pictures are mirrored.
    #[serde(default)]
    pub flip: bool,
    /// Whether the masks beside the pictures say which pixels count.
    #[serde(default)]
    pub masks: bool,
    /// How often a picture goes with no caption at all.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub caption_dropout: f64,
    /// Pictures of the subject's class, which the model is not to forget (prior preservation, arXiv 2208.12242): from a
    /// folder, or drawn by the same model, `DDIMSample(model: "base", prompt: "a photo of a toy", count: 100)` say, whose
    /// pictures are stored.
    #[serde(default)]
    pub class_images: Option<In<Images>>,
    /// What the pictures of the class show.
    #[serde(default)]
    pub class_prompt: Option<String>,
    /// What a picture of the class counts.
    #[serde(default = "whole")]
    #[schemars(range(min = 0, max = 100))]
    pub class_weight: f64,
    /// The γ of min-SNR (arXiv 2303.09556), 5 in its paper; timesteps count alike, if not set.
    #[serde(default)]
    #[schemars(range(max = 1000), extend("exclusiveMinimum" = 0))]
    pub min_snr: Option<f64>,
    /// How much one number of noise for each channel is mixed in; 0.1 helps with very dark and very bright pictures.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub noise_offset: f64,
    /// The longest gradient of a step; longer ones are scaled down.
    #[serde(default = "whole")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub clip: f64,
    /// AdamW's weight decay. None by default: on PaRa's directions it only raises the learning rate.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub weight_decay: f64,
    /// How slowly smoothed parameters follow the trained ones, 0.99 say; the adapter then holds the smoothed ones.
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub ema: Option<f64>,
    /// Whether what the denoiser's blocks hold is computed again on the way back, in the place of being kept: a third
    /// more work and far less memory (arXiv 1604.06174). If not set, for denoisers of 500 million parameters and more.
    #[serde(default)]
    pub gradient_checkpointing: Option<bool>,
    /// Decides every draw.
    #[serde(default)]
    pub seed: u64,
    /// The precision of the adapter's file.
    #[serde(default)]
    pub dtype: FileDtype,
    /// Steps from one checkpoint to the next.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1))]
    pub checkpoint_every: usize,
    /// Steps from one preview to the next; 0 for none.
    #[serde(default = "hundred")]
    pub sample_every: usize,
    /// What previews show; `prompt`, or the first picture's caption, if not set.
    #[serde(default)]
    pub sample_prompt: Option<String>,
    /// Pictures that are not trained on; the loss on them is measured with every preview, at fixed timesteps.
    #[serde(default)]
    pub held_out: Option<In<Images>>,
}

fn one() -> usize {
    1
}

fn whole() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn hundred() -> usize {
    100
}

/// What decides how a training ends but not how it goes, or is said by digests.
const NOT_IN_KEY: [&str; 9] = [
    "model",
    "images",
    "class_images",
    "held_out",
    "dtype",
    "checkpoint_every",
    "sample_every",
    "sample_prompt",
    "steps",
];
/// From so many parameters on, activations are computed again.
const LARGE: usize = 500_000_000;
/// Timesteps at which the loss on held out pictures is measured.
const VALIDATION: [usize; 5] = [100, 300, 500, 700, 900];
/// A gradient is found by a walk back through as many calls as the network has operations.
const STACK: usize = 256 << 20;

impl Node for Train {
    const KIND: &'static str = "Train";
    const HOLDS_DEVICE: bool = true;
    type Output = Adapter;

    fn check(&self, cx: &mut Check<'_>) {
        self.look_for_mistakes(cx);
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        match self.method.method().given() {
            Some(path) => read::files(&load_adapter::found(path, project)?),
            None => Ok(Vec::new()),
        }
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Adapter> {
        // The call stack of a gradient is as deep as the network.
        std::thread::scope(|scope| {
            let deep = std::thread::Builder::new().stack_size(STACK);
            let running = deep.spawn_scoped(scope, || self.train(cx))?;
            running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Train {
    fn steps(&self) -> usize {
        self.steps.unwrap_or_else(|| self.method.method().steps())
    }

    fn compute(&self, cx: &Cx<'_>) -> Result<Compute> {
        let compute = model::compute(cx.settings())?;
        // Weights that are trained themselves take steps smaller than half types can tell.
        let is_wide = compute.device.is_cpu() || self.method.method().trains_tensors();
        Ok(if is_wide { compute.in_f32() } else { compute })
    }

    fn rate(&self) -> f64 {
        self.learning_rate.unwrap_or_else(|| self.method.method().rate())
    }

    fn course(&self, model: &Model) -> Course {
        Course {
            steps: self.steps(),
            rate: self.rate(),
            schedule: self.schedule,
            warmup: self.warmup,
            accumulate: self.accumulate,
            clip: self.clip,
            optimizer: AdamWSettings { weight_decay: self.weight_decay, ..AdamWSettings::default() },
            ema: self.ema,
            gradient_checkpointing: self.recomputes(model),
        }
    }

    fn recomputes(&self, model: &Model) -> bool {
        self.gradient_checkpointing.unwrap_or(model.parameters(Part::Unet) >= LARGE)
    }

    fn drawing(&self, schedule: &NoiseSchedule) -> Drawing {
        Drawing {
            seed: self.seed,
            batch: self.batch,
            timesteps: schedule.alphas_cumprod().len(),
            caption_dropout: self.caption_dropout,
            noise_offset: self.noise_offset,
            class_weight: self.class_weight,
        }
    }

    fn train(&self, cx: &Cx<'_>) -> Result<Adapter> {
        let model = cx.input(&self.model)?;
        self.warn_of_split_words(&model, cx)?;
        let compute = self.compute(cx)?;
        let data = self.dataset(&model, cx)?;
        let validation = self.validation(&model, cx)?;
        let given = self.given(cx.project(), &|files| cx.digest_of_files(files))?;
        let beginning = Beginning { seed: self.seed, given: given.as_ref() };
        let trainees =
            Trainees::of(self.method.method(), &model, beginning, &compute, &mut |done, total| {
                cx.progress(done, total, "layer")
            })?;
        let config = model.checkpoint().scheduler_config();
        let schedule = NoiseSchedule::new(config);
        let objective =
            Objective { schedule: &schedule, prediction: config.prediction_type, min_snr: self.min_snr };
        let drawing = self.drawing(&schedule);
        let questions = match &validation {
            Some(data) => data.validation(&drawing, &VALIDATION, &compute.device)?,
            None => Vec::new(),
        };
        let dtype = if compute.dtype == DType::F32 { Dtype::F32 } else { cx.settings().dtype };
        let size = Size(model.loaded_bytes(Part::Unet, Settings { dtype, ..cx.settings() }));
        let load = || {
            cx.shared::<Kept>().make_room(size, cx);
            trainees.unet(&model, &compute)
        };
        let course = self.course(&model);
        let trainer = Trainer::new(&trainees, load, (&data, drawing), objective, course, &compute)?;
        let states = self.states(&model, cx)?;
        let scalars = Some(Scalars::new(states.folder()));
        let trainees = &trainees;
        let run =
            Running { node: self, model: &model, trainees, states, questions, scalars, cx, before: 0.0 };
        run.finish(trainer)
    }

    /// Where this training's checkpoints are.
    fn states(&self, model: &Model, cx: &Cx<'_>) -> Result<States> {
        let key = self.key(model, cx)?;
        Ok(States::new(cx.project().home().join("train").join(&key.to_string()[..16]), key))
    }

    /// Everything that decides a training but for its number of steps, where that decides none of them.
    fn key(&self, model: &Model, cx: &Cx<'_>) -> Result<Digest> {
        use flow_engine::Value as _;
        let mut fields = serde_json::to_value(self)?;
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("gradient_checkpointing".to_owned(), self.recomputes(model).into());
            let is_left_out = |name: &&str| self.schedule == RateSchedule::Constant || *name != "steps";
            NOT_IN_KEY.iter().filter(|name| is_left_out(name)).for_each(|name| drop(fields.remove(*name)));
        }
        let images = [Some(&self.images), self.class_images.as_ref()].into_iter().flatten();
        let images = images.map(|wire| Ok(cx.input(wire)?.digest())).collect::<Result<Vec<_>>>()?;
        let settings = cx.settings();
        let said = format!("{fields} {} {} {NUMERICS}", settings.dtype, settings.device.class());
        let model = model.digest();
        let given = cx.digest_of_files(&self.files(cx.project())?)?;
        let digests = images.iter().chain([&model, &given]).map(|digest| &digest.as_bytes()[..]);
        Ok(Digest::of_parts(digests.chain([said.as_bytes()])))
    }

    /// What the adapter is called: the node's own name decides no result.
    fn title(&self) -> String {
        let shown = self.prompt.as_deref().unwrap_or("pictures with captions");
        format!("{} of {shown}", self.method.method().name())
    }

    /// What an adapter's file says of its training.
    fn says(&self, model: &Model, losses: &[f32]) -> Metadata {
        let mut says = Metadata::from([
            (BASE_DIGEST.to_owned(), model.base_digest().to_string()),
            ("base_model".to_owned(), model.name()),
            ("method".to_owned(), self.method.method().name().to_owned()),
            ("steps".to_owned(), losses.len().to_string()),
            (curve::LOSS_CURVE.to_owned(), curve::written(losses)),
            ("seed".to_owned(), self.seed.to_string()),
            ("learning_rate".to_owned(), self.rate().to_string()),
        ]);
        if let Some(prompt) = &self.prompt {
            says.insert("prompt".to_owned(), prompt.clone());
        }
        says
    }
}

#[cfg(test)]
mod tests {
    use flow_engine::NodeType;

    use super::*;

    #[test]
    fn the_manual_says_the_learning_rate_of_every_method() {
        let doc = NodeType::of::<Train>().field("learning_rate").unwrap().doc;
        for name in
            ["Para", "Lora", "Locon", "Loha", "Lokr", "Oft", "SvDiff", "TextualInversion", "DreamBooth"]
        {
            let fields = match name {
                "TextualInversion" => serde_json::json!({ "token": "<bear>" }),
                _ => serde_json::json!({}),
            };
            let method: TrainMethod = serde_json::from_value(serde_json::json!({ name: fields })).unwrap();
            let start = format!("- {} for ", method.method().rate());
            let line = doc.lines().find(|line| line.starts_with(&start));
            assert!(line.is_some_and(|line| line.contains(&format!("`{name}`"))), "{start}`{name}`: {doc}");
        }
    }
}
