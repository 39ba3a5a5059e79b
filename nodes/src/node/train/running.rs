//! A training from its first step, or its last checkpoint, to its end; what is told and shown on the way.

use std::time::Instant;

use flow_engine::{Cancelled, Cx, Result, Wish, file};

use super::super::ddim_sample::DDIMSample;
use super::Train;
use crate::adapter::fold::Scales;
use crate::adapter::{Adapter, Single};
use crate::model::Model;
use crate::picture::png;
use crate::train::dataset::Batch;
use crate::train::network::Trainees;
use crate::train::scalars::Scalars;
use crate::train::state::States;
use crate::train::trainer::{Told, Trainer};

/// Under which name a state says how long its steps took.
const SECONDS: &str = "seconds";

/// A training under way.
pub(super) struct Running<'a> {
    pub node: &'a Train,
    pub model: &'a Model,
    pub trainees: &'a Trainees,
    pub states: States,
    /// What is measured with every preview.
    pub questions: Vec<Batch>,
    /// The curves for TensorBoard, while they can be written.
    pub scalars: Option<Scalars>,
    pub cx: &'a Cx<'a>,
    /// Seconds that were given to the steps before those of now.
    pub before: f64,
}

impl Running<'_> {
    /// Takes the steps that are left, and gives the adapter.
    pub fn finish(mut self, mut trainer: Trainer<'_>) -> Result<Adapter> {
        let (steps, cx) = (self.node.steps(), self.cx);
        self.go_on(&mut trainer, steps)?;
        cx.took_before(self.before);
        let (begun, held, first) = (Instant::now(), cx.held(), trainer.steps_taken());
        let busy = || begun.elapsed().saturating_sub(cx.held().saturating_sub(held)).as_secs_f64();
        let mut saved = first;
        while trainer.steps_taken() < steps {
            if let Err(stopped) = cx.progress(trainer.steps_taken(), steps, "step") {
                if trainer.steps_taken() > saved {
                    self.save(&trainer, busy());
                }
                return Err(stopped);
            }
            let told = trainer.step()?;
            let step = trainer.steps_taken();
            self.tell(told, step, busy() / (step - first) as f64);
            let wishes = cx.wishes();
            let is_due = step.is_multiple_of(self.node.checkpoint_every) || step == steps;
            if is_due || wishes.contains(&Wish::Checkpoint) {
                self.save(&trainer, busy());
                saved = step;
            }
            let every = self.node.sample_every;
            let is_due = every > 0 && (step.is_multiple_of(every) || step == steps);
            if is_due || wishes.contains(&Wish::Sample) {
                self.look_or_stop(&mut trainer, saved, busy())?;
            }
        }
        Ok(self.single(&trainer)?.into())
    }

    /// Saves where the training stands. A full disk is told, and the training goes on.
    fn save(&self, trainer: &Trainer<'_>, busy: f64) {
        let state = trainer.state().map(|mut state| {
            state.numbers.insert(SECONDS.to_owned(), self.before + busy);
            state
        });
        match state.and_then(|state| self.states.save(&state)) {
            Ok(path) => self.cx.checkpoint(&path, trainer.steps_taken() as u64),
            Err(error) => self.cx.warn(
                format!("no checkpoint after step {}: {error:#}", trainer.steps_taken()),
                Some("if it is stopped now, it goes on from an earlier one".into()),
            ),
        }
    }

    /// Draws a preview. One that cannot be drawn is told; one that is stopped stops the training, at a checkpoint.
    fn look_or_stop(&mut self, trainer: &mut Trainer<'_>, saved: usize, busy: f64) -> Result<()> {
        let step = trainer.steps_taken();
        match self.look(trainer, step) {
            Err(error) if error.is::<Cancelled>() => {
                if step > saved {
                    self.save(trainer, busy);
                }
                Err(error)
            }
            Err(error) => {
                self.cx.warn(format!("no preview after step {step}: {error:#}"), None);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Takes up the last checkpoint, if there is one.
    fn go_on(&mut self, trainer: &mut Trainer<'_>, steps: usize) -> Result<()> {
        let (state, wrong) = self.states.last(steps);
        for why in wrong {
            self.cx.warn(format!("a checkpoint cannot be used: {why}"), None);
        }
        let Some(state) = state else { return Ok(()) };
        self.before = state.numbers.get(SECONDS).copied().unwrap_or_default();
        trainer.restore(&state)
    }

    fn tell(&mut self, told: Told, step: usize, seconds: f64) {
        let numbers = [
            ("loss", told.loss),
            ("smoothed loss", told.smoothed),
            ("learning rate", told.rate),
            ("gradient norm", told.gradient_norm),
        ];
        self.measure(step, &numbers);
        let left = seconds * (self.node.steps() - step) as f64;
        for (name, seconds) in [("seconds per step", seconds), ("time left", left)] {
            self.cx.metric(name, seconds, Some(step as u64), "s");
        }
    }

    /// Tells of numbers without a unit, and draws on their curves.
    fn measure(&mut self, step: usize, numbers: &[(&str, f64)]) {
        for (name, number) in numbers {
            self.cx.metric(name, *number, Some(step as u64), "");
        }
        if let Some(scalars) = &mut self.scalars
            && let Err(error) = scalars.write(step, numbers)
        {
            self.cx.warn(format!("TensorBoard gets no more numbers: {error:#}"), None);
            self.scalars = None;
        }
    }

    /// The adapter as it stands.
    fn single(&self, trainer: &Trainer<'_>) -> Result<Single> {
        let (values, says) = (trainer.values(), self.node.says(self.model, trainer.losses()));
        if let Some(words) = self.trainees.words() {
            return words.file(&self.node.title(), &values, self.node.dtype, says);
        }
        let pieces = self.trainees.pieces(&values, self.model)?;
        self.node.method.method().writing().file(&self.node.title(), &pieces, self.node.dtype, says)
    }

    /// Shows what the model draws by now, and measures the loss on pictures that it does not train on.
    fn look(&mut self, trainer: &mut Trainer<'_>, step: usize) -> Result<()> {
        if !self.questions.is_empty() {
            let loss = trainer.validate(&self.questions)?;
            self.measure(step, &[("validation loss", loss)]);
        }
        let model = self.model.with(&self.single(trainer)?.into(), Scales::both(1.0), false)?;
        let Some(prompt) = self.node.shown(self.cx)? else { return Ok(()) };
        // Two denoisers of full size fit into few memories.
        trainer.unload();
        let pictures = DDIMSample::plain(&self.node.model, prompt, self.node.seed).draw_with(
            &model,
            "step of a preview",
            self.cx,
        )?;
        for picture in &pictures.pictures {
            let path = self.states.folder().join(format!("preview-{step:08}.png"));
            file::write_if_changed(&path, &png::encode(&picture.pixels, &[])?)?;
            self.cx.preview(&path, &format!("step {step}"));
        }
        Ok(())
    }
}
