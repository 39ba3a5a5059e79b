//! Training steps for benchmarks: one picture of noise, and a text of noise.

use flow_engine::{Digest, Result};
use flow_nodes::model::Model;
use flow_nodes::sample::NoiseSchedule;
use flow_nodes::sample::guidance::TimeIds;
use flow_nodes::sdxl::{Checkpoint, Compute};
use flow_nodes::train::dataset::{Dataset, Drawing, Example, Latent};
use flow_nodes::train::method::Method;
use flow_nodes::train::network::{Beginning, Trainees};
use flow_nodes::train::objective::Objective;
use flow_nodes::train::optimizer::AdamWSettings;
use flow_nodes::train::schedule::RateSchedule;
use flow_nodes::train::trainer::{Course, Trainer};

use super::asked;

/// As deep a call stack as a training has: a gradient's is as deep as the network.
const STACK: usize = 256 << 20;

/// What is trained, and how.
pub struct Training<'a> {
    pub checkpoint: &'a Checkpoint,
    pub method: &'a dyn Method,
    /// Pixels each way.
    pub size: usize,
    /// Whether blocks are computed again for the gradient.
    pub recomputes: bool,
    pub compute: Compute,
}

impl Training<'_> {
    /// Calls, on a thread of its own, with a trainer whose denoiser is loaded.
    ///
    /// # Errors
    /// Those of the training and of `work`.
    pub fn run<T: Send>(&self, work: impl FnOnce(&mut Trainer<'_>) -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let deep = std::thread::Builder::new().stack_size(STACK);
            let training = deep.spawn_scoped(scope, || self.with_trainer(work))?;
            training.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn with_trainer<T>(&self, work: impl FnOnce(&mut Trainer<'_>) -> Result<T>) -> Result<T> {
        let (checkpoint, compute) = (self.checkpoint, &self.compute);
        let model = Model::new(checkpoint.clone(), Digest::of(b"made up"));
        let data = dataset(checkpoint, self.size)?;
        let trainees =
            Trainees::of(self.method, &model, Beginning::at_random(0), compute, &mut |_, _| Ok(()))?;
        let config = checkpoint.scheduler_config();
        let schedule = NoiseSchedule::new(config);
        let objective = Objective { schedule: &schedule, prediction: config.prediction_type, min_snr: None };
        let drawing = Drawing {
            seed: 0,
            batch: 1,
            timesteps: schedule.alphas_cumprod().len(),
            caption_dropout: 0.0,
            noise_offset: 0.0,
            class_weight: 1.0,
        };
        let load = || trainees.unet(&model, compute);
        let course = course(self.recomputes);
        let mut trainer = Trainer::new(&trainees, load, (&data, drawing), objective, course, compute)?;
        trainer.validate(&[])?; // which loads the denoiser
        work(&mut trainer)
    }
}

fn course(gradient_checkpointing: bool) -> Course {
    Course {
        steps: 1000,
        rate: 1e-3,
        schedule: RateSchedule::Constant,
        warmup: 0,
        accumulate: 1,
        clip: 1.0,
        optimizer: AdamWSettings::default(),
        ema: None,
        gradient_checkpointing,
    }
}

fn dataset(checkpoint: &Checkpoint, size: usize) -> Result<Dataset> {
    let mean = asked::latents(checkpoint, size)?.squeeze(0)?;
    let deviation = (mean.ones_like()? * 0.1)?;
    let example = Example {
        latents: vec![Latent { mean, deviation }],
        text: 0,
        time_ids: TimeIds::whole(size, size),
        masks: Vec::new(),
    };
    Ok(Dataset {
        subjects: vec![example],
        class: Vec::new(),
        texts: vec![asked::text(checkpoint)?],
        prompts: vec!["noise".to_owned()],
        empty: None,
    })
}
