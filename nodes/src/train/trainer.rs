//! From step to step: gradients, the optimizer's step, and what a training can be gone on from.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Context as _;
use candle_core::{DType, Device, Tensor};
use flow_engine::{Problem, Result};

use super::dataset::{Batch, Dataset, Drawing};
use super::network::Trainees;
use super::objective::Objective;
use super::optimizer::{AdamW, AdamWSettings, Gradients, clip, norm};
use super::schedule::RateSchedule;
use super::state::State;
use crate::ops::Segments;
use crate::sdxl::{Compute, TextEmbeds, UNet};

/// How a training goes.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Steps in all.
    pub steps: usize,
    /// The learning rate.
    pub rate: f64,
    /// How it goes on over the steps.
    pub schedule: RateSchedule,
    /// Steps over which it grows at first.
    pub warmup: usize,
    /// Passes whose gradients make one step.
    pub accumulate: usize,
    /// The longest gradient of a step.
    pub clip: f64,
    /// The optimizer's settings.
    pub optimizer: AdamWSettings,
    /// How slowly the smoothed parameters follow, if there are any.
    pub ema: Option<f64>,
    /// Whether the inside of the denoiser's blocks is computed again for the gradient, in the place of being kept.
    pub gradient_checkpointing: bool,
}

/// What is trained, on what, and how.
pub struct Trainer<'a> {
    trainees: &'a Trainees,
    /// Gives the denoiser with what is trained in it.
    load: Box<dyn Fn() -> Result<UNet> + 'a>,
    /// The denoiser, from when it is needed until it is let go.
    unet: Option<UNet>,
    data: &'a Dataset,
    drawing: Drawing,
    objective: Objective<'a>,
    course: Course,
    device: Device,
    optimizer: AdamW,
    /// Smoothed parameters.
    ema: Option<BTreeMap<String, Tensor>>,
    /// Steps that were taken.
    step: usize,
    /// The loss of each of them.
    losses: Vec<f32>,
    /// A mean of the losses, the last ones most.
    smoothed: Option<f64>,
    /// By what losses are multiplied on the way to gradients: half types have no room below 6e-8.
    scale: f64,
}

/// What is told of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// The loss.
    pub loss: f64,
    /// A mean of the losses, the last ones most.
    pub smoothed: f64,
    /// The learning rate.
    pub rate: f64,
    /// The length of the gradient before it is clipped.
    pub gradient_norm: f64,
}

/// How much of the mean a loss moves.
const SMOOTHING: f64 = 0.05;
/// What is to be said has a variance of about 1, so that saying nothing costs about 1; a loss of so much will not come back.
const EXPLODED: f64 = 100.0;
/// Nor will losses whose mean is this.
const DIVERGED: f64 = 10.0;
/// The scale of losses in float16, whose gradients are about 1e-5 at SDXL's size.
const HALF_SCALE: f64 = 16384.0;
/// Names of what a state holds.
const PARAMETER: &str = "p.";
const SMOOTH: &str = "ema.";
const LOSSES: &str = "losses";

impl<'a> Trainer<'a> {
    /// A training before its first step; `load` gives [`Trainees::unet`] when it is needed.
    ///
    /// # Errors
    /// A device without room.
    pub fn new(
        trainees: &'a Trainees,
        load: impl Fn() -> Result<UNet> + 'a,
        (data, drawing): (&'a Dataset, Drawing),
        objective: Objective<'a>,
        course: Course,
        compute: &Compute,
    ) -> Result<Self> {
        let parameters = trainees.parameters();
        let ema = course.ema.map(|_| copies(&parameters)).transpose()?;
        Ok(Self {
            optimizer: AdamW::new(parameters, course.optimizer)?,
            ema,
            step: 0,
            losses: Vec::new(),
            smoothed: None,
            scale: if compute.dtype == DType::F16 { HALF_SCALE } else { 1.0 },
            device: compute.device.clone(),
            trainees,
            load: Box::new(load),
            unet: None,
            data,
            drawing,
            objective,
            course,
        })
    }

    /// Steps that were taken.
    pub fn steps_taken(&self) -> usize {
        self.step
    }

    /// The loss of every step that was taken.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// Lets the denoiser go; it is loaded again when it is needed.
    pub fn unload(&mut self) {
        self.unet = None;
    }

    /// Takes a step.
    ///
    /// # Errors
    /// A loss that is no number or explodes; parameters that get no gradient.
    pub fn step(&mut self) -> Result<Told> {
        self.be_ready()?;
        self.trainees.begin_step(self.step);
        let (loss, mut gradients) = self.gradients()?;
        let gradient_norm = norm(&gradients)?;
        self.refuse_explosion(loss, gradient_norm, &gradients)?;
        clip(&mut gradients, gradient_norm, self.course.clip)?;
        let Course { steps, rate, schedule, warmup, .. } = self.course;
        let rate = rate * schedule.share(self.step, steps, warmup);
        self.optimizer.step(&gradients, rate)?;
        self.trainees.end_step()?;
        self.follow()?;
        self.step += 1;
        self.losses.push(loss as f32);
        let smoothed = self.smoothed_with(loss);
        self.smoothed = Some(smoothed);
        Ok(Told { loss, smoothed, rate, gradient_norm })
    }

    fn be_ready(&mut self) -> Result<()> {
        if self.unet.is_none() {
            self.unet = Some((self.load)()?);
        }
        Ok(())
    }

    /// The mean loss and the mean gradients of a step's passes.
    fn gradients(&self) -> Result<(f64, Gradients)> {
        let (passes, mut sum, mut loss) = (self.course.accumulate.max(1), Gradients::new(), 0.0);
        let parameters = self.optimizer.parameters();
        let in_order: Vec<_> = parameters.values().collect();
        for pass in 0..passes {
            let batch = self.data.batch(&self.drawing, self.step * passes + pass, &self.device)?;
            let segments = self.segments();
            let of_pass = (self.loss(&batch, &segments)? / passes as f64)?;
            loss += f64::from(of_pass.to_dtype(DType::F32)?.to_scalar::<f32>()?);
            let found = segments.backward(&(of_pass * self.scale)?, &in_order)?;
            for (name, gradient) in parameters.keys().zip(found) {
                let Some(gradient) = gradient else { continue };
                let gradient = if self.scale == 1.0 { gradient } else { (gradient / self.scale)? };
                let total = match sum.get(name) {
                    Some(total) => (total + gradient)?,
                    None => gradient,
                };
                sum.insert(name.clone(), total);
            }
        }
        Ok((loss, sum))
    }

    fn segments<'s>(&self) -> Segments<'s> {
        if self.course.gradient_checkpointing { Segments::recomputed() } else { Segments::whole() }
    }

    /// The loss of a batch.
    fn loss<'s>(&'s self, batch: &Batch, segments: &Segments<'s>) -> Result<Tensor> {
        let unet = self.unet.as_ref().context("the denoiser is not loaded")?;
        let noisy = self.objective.noisy(&batch.question)?;
        let timesteps: Vec<f32> = batch.question.timesteps.iter().map(|&timestep| timestep as f32).collect();
        let timesteps = Tensor::new(timesteps, &self.device)?;
        let text = self.text(batch)?;
        let said = unet.forward_in(&noisy, &timesteps, &text, &batch.time_ids, segments)?;
        self.objective.loss(&batch.question, &said)
    }

    /// What a batch's pictures show; with a word that is learned, as the encoders read it now.
    fn text<'b>(&self, batch: &'b Batch) -> Result<Cow<'b, TextEmbeds>> {
        let Some(words) = self.trainees.words() else { return Ok(Cow::Borrowed(&batch.text)) };
        let read = words.encode(&batch.prompts)?;
        Ok(Cow::Owned(TextEmbeds::cat(&read.iter().collect::<Vec<_>>())?))
    }

    /// The mean loss of fixed questions, which no chance moves.
    ///
    /// # Errors
    /// Questions that do not fit the model.
    pub fn validate(&mut self, questions: &[Batch]) -> Result<f64> {
        self.be_ready()?;
        let Some(ema) = &self.ema else { return self.mean_loss(questions) };
        // Measured is what comes out.
        let trained = copies(self.optimizer.parameters())?;
        self.set(ema)?;
        let loss = self.mean_loss(questions);
        self.set(&trained)?;
        loss
    }

    fn set(&self, values: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, parameter) in self.optimizer.parameters() {
            if let Some(value) = values.get(name) {
                parameter.set(value)?;
            }
        }
        Ok(())
    }

    fn mean_loss(&self, questions: &[Batch]) -> Result<f64> {
        let mut sum = 0.0;
        for question in questions {
            sum += f64::from(
                self.loss(question, &Segments::recomputed())?.to_dtype(DType::F32)?.to_scalar::<f32>()?,
            );
        }
        Ok(sum / questions.len().max(1) as f64)
    }

    fn refuse_explosion(&self, loss: f64, gradient_norm: f64, gradients: &Gradients) -> Result<()> {
        let Some(what) = self.wrong_with(loss, gradient_norm, gradients) else { return Ok(()) };
        let message = match self.blamed()? {
            Some(blamed) => format!("{what}: {blamed}"),
            None => what,
        };
        Err(Problem::new(message).hint("take a smaller `learning_rate`, or a `warmup`").into())
    }

    /// What is wrong with a step's numbers, if anything is.
    fn wrong_with(&self, loss: f64, gradient_norm: f64, gradients: &Gradients) -> Option<String> {
        let (step, weight) = (self.step + 1, 1.0 + self.drawing.class_weight);
        let smoothed = self.smoothed_with(loss);
        if !loss.is_finite() {
            return Some(format!("the loss of step {step} is no number"));
        }
        if loss > EXPLODED * weight {
            return Some(format!("the loss of step {step} is {loss:.0}, where saying nothing costs 1"));
        }
        if smoothed > DIVERGED * weight {
            return Some(format!(
                "the losses up to step {step} have a mean of {smoothed:.0}, where saying nothing costs 1"
            ));
        }
        if gradient_norm.is_finite() {
            return None;
        }
        let broken = gradients.iter().find(|(_, gradient)| !is_finite(gradient).unwrap_or(false));
        Some(match broken {
            Some((name, _)) => format!("the gradient of `{name}` in step {step} is no number"),
            None => format!("the gradient of step {step} is too long to be measured"),
        })
    }

    /// The mean of the losses with one more.
    fn smoothed_with(&self, loss: f64) -> f64 {
        self.smoothed.map_or(loss, |mean| mean + SMOOTHING * (loss - mean))
    }

    /// Which parameter is to blame, as far as values tell: one that holds no numbers, or else the one with the largest.
    fn blamed(&self) -> Result<Option<String>> {
        let mut largest: Option<(&String, f64)> = None;
        for (name, parameter) in self.optimizer.parameters() {
            if !is_finite(parameter)? {
                return Ok(Some(not_numbers(name)));
            }
            let value = f64::from(parameter.to_dtype(DType::F32)?.abs()?.max_all()?.to_scalar::<f32>()?);
            if largest.is_none_or(|(_, known)| value > known) {
                largest = Some((name, value));
            }
        }
        Ok(largest.map(|(name, value)| {
            format!("the largest values by now are those of `{name}`, up to {value:.1e}")
        }))
    }

    /// Lets the smoothed parameters follow.
    fn follow(&mut self) -> Result<()> {
        let (Some(ema), Some(decay)) = (&mut self.ema, self.course.ema) else { return Ok(()) };
        for (name, parameter) in self.optimizer.parameters() {
            if let Some(mean) = ema.get_mut(name) {
                *mean = ((&*mean * decay)? + (parameter.as_detached_tensor() * (1.0 - decay))?)?;
            }
        }
        Ok(())
    }

    /// The values that an adapter's file takes: the smoothed ones, if there are any. They are the parameters themselves,
    /// which the next step moves.
    pub fn values(&self) -> BTreeMap<String, Tensor> {
        self.ema.clone().unwrap_or_else(|| self.parameters())
    }

    fn parameters(&self) -> BTreeMap<String, Tensor> {
        let parameters = self.optimizer.parameters().iter();
        parameters.map(|(name, parameter)| (name.clone(), parameter.as_detached_tensor())).collect()
    }

    /// Everything that the next step depends on. The next step moves it.
    ///
    /// # Errors
    /// Parameters that are no numbers: nothing can be gone on from them, and an older state is worth more.
    pub fn state(&self) -> Result<State> {
        for (name, parameter) in self.optimizer.parameters() {
            if !is_finite(parameter)? {
                return Err(Problem::new(not_numbers(name)).into());
            }
        }
        let named = |prefix: &str, tensors: BTreeMap<String, Tensor>| {
            tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect::<Vec<_>>()
        };
        let mut tensors: BTreeMap<String, Tensor> = self.optimizer.state();
        tensors.extend(named(PARAMETER, self.parameters()));
        tensors.extend(named(SMOOTH, self.ema.clone().unwrap_or_default()));
        if !self.losses.is_empty() {
            tensors.insert(LOSSES.to_owned(), Tensor::new(self.losses.as_slice(), &Device::Cpu)?);
        }
        let here = tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?)));
        let numbers = self.smoothed.map(|smoothed| ("smoothed".to_owned(), smoothed)).into_iter().collect();
        Ok(State { step: self.step, tensors: here.collect::<Result<_>>()?, numbers })
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// A state of other parameters.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let saved = |prefix: &str, name: &str| {
            let tensor = state.tensors.get(&format!("{prefix}{name}"));
            tensor.ok_or_else(|| Problem::new(format!("the checkpoint has no `{name}`")))
        };
        for (name, parameter) in self.optimizer.parameters() {
            parameter.set(&saved(PARAMETER, name)?.to_device(&self.device)?)?;
        }
        if let Some(ema) = &mut self.ema {
            for (name, mean) in ema.iter_mut() {
                *mean = saved(SMOOTH, name)?.to_device(&self.device)?;
            }
        }
        self.optimizer.restore(&state.tensors, state.step)?;
        self.losses = state.tensors.get(LOSSES).map_or(Ok(Vec::new()), Tensor::to_vec1)?;
        self.step = state.step;
        self.smoothed = state.numbers.get("smoothed").copied();
        Ok(())
    }
}

fn not_numbers(name: &str) -> String {
    format!("`{name}` holds values that are no numbers")
}

fn is_finite(tensor: &Tensor) -> Result<bool> {
    Ok(tensor.to_dtype(DType::F32)?.abs()?.max_all()?.to_scalar::<f32>()?.is_finite()
        && tensor.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?.is_finite())
}

fn copies(parameters: &BTreeMap<String, candle_core::Var>) -> Result<BTreeMap<String, Tensor>> {
    parameters
        .iter()
        .map(|(name, parameter)| Ok((name.clone(), parameter.as_detached_tensor().copy()?)))
        .collect()
}
