//! AdamW, as PyTorch computes it, with a state that can be saved. One parameter's step is [`AdamWStep`]'s.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use flow_engine::{Problem, Result};

use crate::ops::AdamWStep;

/// The settings of a step, but for its learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// How slowly the means of gradients and of their squares move.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub eps: f64,
    /// The share, times the learning rate, that a parameter loses in a step.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 }
    }
}

/// The optimizer of some parameters.
#[derive(Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    parameters: BTreeMap<String, Var>,
    /// The running means of the gradient and of its square, by parameter.
    moments: BTreeMap<String, [Tensor; 2]>,
    /// Steps taken.
    steps: usize,
}

/// The gradients of parameters, by their names.
pub type Gradients = BTreeMap<String, Tensor>;

impl AdamW {
    /// An optimizer that has seen no gradient.
    ///
    /// # Errors
    /// A device without room.
    pub fn new(parameters: BTreeMap<String, Var>, settings: AdamWSettings) -> Result<Self> {
        let moments = parameters.iter().map(|(name, parameter)| {
            let zero = || Ok::<_, candle_core::Error>(parameter.zeros_like()?.detach());
            Ok((name.clone(), [zero()?, zero()?]))
        });
        Ok(Self { settings, moments: moments.collect::<Result<_>>()?, parameters, steps: 0 })
    }

    /// Its parameters by name.
    pub fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.parameters
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Moves every parameter.
    ///
    /// # Errors
    /// A parameter without a gradient.
    pub fn step(&mut self, gradients: &Gradients, rate: f64) -> Result<()> {
        self.steps += 1;
        let AdamWSettings { betas, eps, weight_decay } = self.settings;
        let step = AdamWStep { betas, eps, rate, weight_decay, number: self.steps };
        for (name, parameter) in &self.parameters {
            let gradient = gradients.get(name).ok_or_else(|| no_gradient(name))?;
            let moments = self.moments.get_mut(name).ok_or_else(|| no_gradient(name))?;
            step.take(parameter, moments, gradient)?;
        }
        Ok(())
    }

    /// Everything that a later step depends on, by name. The next step moves it.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let moments = self
            .moments
            .iter()
            .flat_map(|(name, [m, v])| [(format!("m.{name}"), m.clone()), (format!("v.{name}"), v.clone())]);
        moments.collect()
    }

    /// Goes on from a state after so many steps.
    ///
    /// # Errors
    /// A state of other parameters.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: usize) -> Result<()> {
        for (name, moments) in &mut self.moments {
            for (moment, prefix) in moments.iter_mut().zip(["m", "v"]) {
                let saved = state.get(&format!("{prefix}.{name}"));
                let saved = saved.filter(|saved| saved.dims() == moment.dims());
                let saved = saved.ok_or_else(|| Problem::new(format!("it has no state of `{name}`")))?;
                *moment = saved.to_device(moment.device())?.copy()?; // steps move it in place
            }
        }
        self.steps = steps;
        Ok(())
    }
}

fn no_gradient(name: &str) -> Problem {
    Problem::new(format!("`{name}` got no gradient, so that nothing would train it"))
}

/// The length of all gradients together.
///
/// # Errors
/// None on a working device.
pub fn norm(gradients: &Gradients) -> Result<f64> {
    let mut squares = 0.0;
    for gradient in gradients.values() {
        squares += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(squares.sqrt())
}

/// Scales gradients of this length down to `most`, if they are longer.
///
/// # Errors
/// None on a working device.
pub fn clip(gradients: &mut Gradients, norm: f64, most: f64) -> Result<()> {
    if norm <= most {
        return Ok(());
    }
    for gradient in gradients.values_mut() {
        *gradient = (&*gradient * (most / norm))?;
    }
    Ok(())
}
