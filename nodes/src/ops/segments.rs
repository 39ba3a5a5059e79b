//! Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): a network in segments, of which only what goes in and
//! out is kept for the gradient; the inside of each is computed once more when the walk back comes to it.
//!
//! It takes about a third more work, and the memory of the largest segment and of what is between them in the place of
//! all of it. Where a segment
//! neither trains anything nor gets what does, nothing is kept or computed again.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId, Var};
use flow_engine::Result;

/// How a forward pass keeps what its gradient needs.
#[derive(Debug, Default)]
pub struct Segments<'n> {
    /// None where everything is kept.
    walked: Option<RefCell<Walked<'n>>>,
}

/// What was kept of a pass.
#[derive(Debug, Default)]
struct Walked<'n> {
    segments: Vec<Segment<'n>>,
    /// What stands inside of segments for a tensor from between them.
    leaves: HashMap<TensorId, Tensor>,
}

/// One segment, ready to be computed again.
struct Segment<'n> {
    inputs: Vec<Tensor>,
    output: Var,
    compute: Box<Inside<'n>>,
}

/// From a segment's inputs to its output.
type Inside<'n> = dyn Fn(&[Tensor]) -> Result<Tensor> + 'n;

impl std::fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("inputs", &self.inputs).field("output", &self.output).finish()
    }
}

impl<'n> Segments<'n> {
    /// Keeps everything and computes nothing twice.
    pub fn whole() -> Self {
        Self { walked: None }
    }

    /// Keeps what is between segments, and computes their insides again for the gradient.
    pub fn recomputed() -> Self {
        Self { walked: Some(RefCell::default()) }
    }

    /// The output of a segment, which must depend on its inputs, on parameters and on nothing else that has a history.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn run(
        &self,
        inputs: &[&Tensor],
        compute: impl Fn(&[Tensor]) -> Result<Tensor> + 'n,
    ) -> Result<Tensor> {
        let Some(walked) = &self.walked else {
            return compute(&inputs.iter().map(|&input| input.clone()).collect::<Vec<_>>());
        };
        let output = compute(&inputs.iter().map(|input| input.detach()).collect::<Vec<_>>())?;
        if !output.track_op() && !inputs.iter().any(|input| input.track_op()) {
            return Ok(output);
        }
        let mut walked = walked.borrow_mut();
        let inputs = inputs.iter().map(|input| walked.leaf(input)).collect::<Result<_>>()?;
        let output = Var::from_tensor(&output.detach())?;
        let next = output.as_tensor().clone();
        walked.segments.push(Segment { inputs, output, compute: Box::new(compute) });
        Ok(next)
    }

    /// The gradient of `loss`, a number, by each of the parameters; none where the loss does not depend on one.
    ///
    /// # Errors
    /// A device without room.
    pub fn backward(self, loss: &Tensor, parameters: &[&Var]) -> Result<Vec<Option<Tensor>>> {
        let Walked { segments, .. } = self.walked.map(RefCell::into_inner).unwrap_or_default();
        let outputs = segments.iter().map(|segment| &segment.output);
        let wanted = parameters.iter().copied().chain(outputs).map(|leaf| leaf.id());
        let mut sums = Sums { wanted: wanted.collect(), sums: HashMap::new() };
        sums.add(&loss.backward()?)?;
        for Segment { inputs, output, compute } in segments.into_iter().rev() {
            // A segment whose output the loss does not depend on.
            let Some(gradient) = sums.take(&output) else { continue };
            sums.add(&seeded(&compute(&inputs)?, &gradient)?.backward()?)?;
        }
        Ok(parameters.iter().map(|parameter| sums.take(parameter)).collect())
    }
}

impl Walked<'_> {
    /// What stands for an input inside of a segment: it has no history.
    fn leaf(&mut self, input: &Tensor) -> Result<Tensor> {
        if input.is_variable() || !input.track_op() {
            return Ok(input.clone());
        }
        if let Some(leaf) = self.leaves.get(&input.id()) {
            return Ok(leaf.clone());
        }
        // What comes from between segments is the output of one that has its whole history already.
        let (output, history) = (Var::from_tensor(&input.detach())?, input.clone());
        let leaf = output.as_tensor().clone();
        self.leaves.insert(input.id(), leaf.clone());
        let compute = Box::new(move |_: &[Tensor]| Ok(history.clone()));
        self.segments.push(Segment { inputs: Vec::new(), output, compute });
        Ok(leaf)
    }
}

/// A number whose gradient by `output` is `gradient`.
fn seeded(output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    Ok((output * gradient)?.sum_all()?)
}

/// Gradients that come together from several walks.
struct Sums {
    wanted: Vec<TensorId>,
    sums: HashMap<TensorId, Tensor>,
}

impl Sums {
    fn add(&mut self, found: &GradStore) -> Result<()> {
        for leaf in &self.wanted {
            let Some(gradient) = found.get_id(*leaf) else { continue };
            // A gradient may hold the history that it came through.
            let gradient = gradient.detach();
            let sum = match self.sums.remove(leaf) {
                Some(sum) => (sum + gradient)?,
                None => gradient,
            };
            self.sums.insert(*leaf, sum);
        }
        Ok(())
    }

    fn take(&mut self, leaf: &Tensor) -> Option<Tensor> {
        self.sums.remove(&leaf.id())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn parameter(values: &[f32]) -> Var {
        Var::new(values, &Device::Cpu).unwrap()
    }

    /// Two segments with a way around the second, something between them, a parameter outside of both, and one that is
    /// used twice.
    fn network<'n>(
        [outer, shared, last]: &'n [Var; 3],
        x: &Tensor,
        segments: &Segments<'n>,
    ) -> Result<Tensor> {
        let before = (x * outer.as_tensor())?;
        let first =
            segments.run(&[&before, x], |inputs| Ok(((&inputs[0] * shared.as_tensor())? + &inputs[1])?))?;
        let between = (first.cos()? * outer.as_tensor())?;
        let second = segments.run(&[&between, &before], |inputs| {
            Ok(((inputs[0].sqr()? * shared.as_tensor())?.sin()? + (&inputs[1] * last.as_tensor())?)?)
        })?;
        Ok((second + first)?.sqr()?.sum_all()?)
    }

    #[test]
    fn gradients_are_those_of_the_whole_network() {
        let x = Tensor::new(&[0.3f32, -0.7, 1.1], &Device::Cpu).unwrap();
        let parameters =
            [[0.5f32, 1.5, -0.2], [0.9, -0.4, 0.1], [1.2, 0.3, -0.8]].map(|values| parameter(&values));
        let gradients = |again: bool| {
            let segments = if again { Segments::recomputed() } else { Segments::whole() };
            let loss = network(&parameters, &x, &segments).unwrap();
            segments.backward(&loss, &parameters.each_ref()).unwrap()
        };
        let (whole, again) = (gradients(false), gradients(true));
        for (whole, again) in whole.into_iter().zip(again) {
            let [whole, again] = [whole, again].map(|gradient| gradient.unwrap().to_vec1::<f32>().unwrap());
            for (whole, again) in whole.iter().zip(&again) {
                assert!((whole - again).abs() <= 1e-6 * whole.abs().max(1.0), "{whole} {again}");
            }
        }
    }

    #[test]
    fn nothing_is_kept_of_segments_before_the_first_trained_one() {
        let x = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
        let (trained, idle) = (parameter(&[1.0, 2.0, 3.0]), parameter(&[1.0, 1.0, 1.0]));
        let segments = Segments::recomputed();
        let still = segments.run(&[&x], |inputs| Ok((&inputs[0] * 2.0)?)).unwrap();
        assert!(!still.track_op());
        let out = segments.run(&[&still], |inputs| Ok((&inputs[0] * trained.as_tensor())?)).unwrap();
        assert_eq!(segments.walked.as_ref().unwrap().borrow().segments.len(), 1);
        let found = segments.backward(&out.sum_all().unwrap(), &[&trained, &idle]).unwrap();
        assert_eq!(found[0].as_ref().unwrap().to_vec1::<f32>().unwrap(), [2.0; 3]);
        assert!(found[1].is_none());
    }
}
