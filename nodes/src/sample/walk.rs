//! What samplers have in common: steps between levels of noise, and one walk along them.

use candle_core::{DType, Tensor};
use flow_engine::Result;

use super::{Denoiser, Estimate, Level};

/// One step of a walk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The timestep of training that the network is told.
    pub timestep: f64,
    /// The level of the latents before the step.
    pub from: Level,
    /// The level after it.
    pub to: Level,
}

/// A sampler: the steps that it takes, and how it takes one.
///
/// It is given what the network finds in the latents, and never hears what the network predicts, how its input is
/// scaled or how it is guided.
pub trait Sampler {
    /// Its name in other tools, as AUTOMATIC1111 writes it into a picture.
    fn name(&self) -> &'static str;

    /// The name of its noise schedule there, if it is not the usual one.
    fn schedule_type(&self) -> Option<&'static str> {
        None
    }

    /// The share of fresh noise, where a person can choose it.
    fn eta(&self) -> f64 {
        0.0
    }

    /// All steps, in the order of the walk.
    fn steps(&self) -> &[Step];

    /// What standard normal noise is multiplied with to begin at the first step.
    fn initial_scale(&self) -> f64 {
        1.0
    }

    /// Takes step `i` from `x` `[b, c, h, w]`.
    ///
    /// `now` is what the network finds in `x`, and `before` what it found one step earlier, if there was one.
    /// `draw` gives standard normal noise of a shape.
    ///
    /// # Errors
    /// What `draw` says.
    fn step(
        &self,
        i: usize,
        x: &Tensor,
        now: &Estimate,
        before: Option<&Estimate>,
        draw: &mut Draw<'_>,
    ) -> Result<Tensor>;
}

/// Draws standard normal noise of a shape.
pub type Draw<'a> = dyn FnMut(&[usize]) -> Result<Tensor> + 'a;

/// Called after every step with the number of steps done and the latents so far; an error stops the walk.
pub type OnStep<'a> = dyn FnMut(usize, &Tensor) -> Result<()> + 'a;

/// Walks `latents` `[b, c, h, w]` from step `start` to the end; gives latents of the same shape in float32.
///
/// The latents are of the level that step `start` begins at. That is [`Sampler::initial_scale`] times noise for step 0,
/// and a picture and noise mixed by [`Level::mix`] for a later one.
///
/// # Errors
/// Whatever `draw` and `on_step` say, and shapes that do not fit the network.
pub fn walk(
    sampler: &dyn Sampler,
    start: usize,
    denoiser: &Denoiser<'_>,
    latents: &Tensor,
    draw: &mut Draw<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Tensor> {
    let mut x = latents.to_dtype(DType::F32)?;
    let mut before = None;
    for (i, step) in sampler.steps().iter().enumerate().skip(start) {
        let now = denoiser.denoise(&x, step)?;
        x = sampler.step(i, &x, &now, before.as_ref(), draw)?;
        on_step(i + 1 - start, &x)?;
        before = Some(now);
    }
    Ok(x)
}

/// The step at which a walk of `steps` steps begins when a picture is changed with this `strength`, as diffusers'
/// `get_timesteps` has it: the last `steps * strength` steps are taken, rounded down.
pub fn start_of(steps: usize, strength: f64) -> usize {
    steps - ((steps as f64 * strength) as usize).min(steps)
}

/// Fresh noise of the shape of `x`, where `x` is.
pub(super) fn fresh(x: &Tensor, draw: &mut Draw<'_>) -> Result<Tensor> {
    Ok(draw(x.dims())?.to_device(x.device())?)
}
