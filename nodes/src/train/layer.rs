//! One layer in training.

use candle_core::{Device, Tensor, Var};
use flow_engine::Result;

use crate::adapter::names::Target;
use crate::ops::Adapt;

/// A layer whose parameters are trained. What it gives is [`Adapt`]'s.
pub trait TrainedLayer: Adapt {
    /// Its parameters by their names within the layer, always in the same order; in float32.
    fn parameters(&self) -> Vec<(&'static str, &Var)>;

    /// What an adapter's file holds of the layer for these values of its parameters, in their order: how the tensor's
    /// name ends, and the tensor in float32 on the CPU.
    ///
    /// # Errors
    /// Values that no file can hold.
    fn pieces(&self, values: &[Tensor]) -> Result<Vec<(&'static str, Tensor)>>;

    /// Hears the number of the step that begins, from 0.
    fn begin_step(&self, _step: usize) {}

    /// Brings the parameters back to where they have to be, after a step of the optimizer has moved them.
    ///
    /// # Errors
    /// None for finite parameters.
    fn end_step(&self) -> Result<()> {
        Ok(())
    }
}

/// A layer before training.
#[derive(Debug)]
pub struct Base<'a> {
    /// Its weight in a model.
    pub target: &'a Target,
    /// The weight in float32, `[d_out, d_in]` or `[c_out, c_in, kernel, kernel]`, with the adapters that the model has.
    pub weight: Tensor,
    /// What a PaRa that the training starts from takes out of it: an orthonormal basis `[d, r]`.
    pub given: Option<Tensor>,
}

impl Base<'_> {
    /// Rows and columns of the weight as a matrix: a kernel is flattened.
    pub fn sides(&self) -> (usize, usize) {
        let dims = self.weight.dims();
        (dims[0], dims[1..].iter().product())
    }

    /// Whether it convolves.
    pub fn is_convolution(&self) -> bool {
        self.weight.rank() == 4
    }

    /// Where its parameters are to be.
    pub fn device(&self) -> &Device {
        self.weight.device()
    }
}

/// A tensor that is trained, on a device.
///
/// # Errors
/// A device without room.
pub(super) fn parameter(tensor: &Tensor, device: &Device) -> Result<Var> {
    Ok(Var::from_tensor(&tensor.to_device(device)?.contiguous()?)?)
}
