//! What an adapter does inside of a layer while it is trained.
//!
//! A trained adapter is a function on weights; here it may compute the same on what the layer gives, which for PaRa and
//! LoRA is far less work. Which of both is the adapter's to choose.

use std::fmt;

use candle_core::Tensor;
use flow_engine::Result;

use super::conv::conv2d;
use super::linear::linear;
use super::weight::Weight;

/// An adapter in one layer, while it is trained.
pub trait Adapt: fmt::Debug + Send + Sync {
    /// What the layer gives with the adapter, without its bias.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn forward(&self, layer: &Bare<'_>) -> Result<Tensor>;
}

/// A layer that has its input and does not add its bias.
#[derive(Debug)]
pub struct Bare<'a> {
    /// `[n, d_in]`, or pictures `[b, c_in, h, w]`.
    pub x: &'a Tensor,
    /// `[d_out, d_in]`, or a kernel `[c_out, c_in, kernel, kernel]`.
    pub weight: &'a Weight,
    /// Stride and padding of a convolution.
    convolves: Option<(usize, usize)>,
}

impl<'a> Bare<'a> {
    pub(super) fn linear(x: &'a Tensor, weight: &'a Weight) -> Self {
        Self { x, weight, convolves: None }
    }

    pub(super) fn conv2d(x: &'a Tensor, weight: &'a Weight, stride: usize, padding: usize) -> Self {
        Self { x, weight, convolves: Some((stride, padding)) }
    }

    /// What the layer gives without any adapter.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn output(&self) -> Result<Tensor> {
        self.with(self.weight)
    }

    /// What the layer gives with another weight, which may have another number of outputs.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn with(&self, weight: impl Into<Weight>) -> Result<Tensor> {
        match self.convolves {
            None => linear(self.x, weight, None),
            Some((stride, padding)) => conv2d(self.x, weight, None, stride, padding),
        }
    }

    /// What the layer gives with a change added to its weight, which has as many elements.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn changed(&self, change: &Tensor) -> Result<Tensor> {
        let weight = self.weight.tensor()?;
        self.with((&weight + change.reshape(weight.shape())?.to_dtype(weight.dtype())?)?)
    }

    /// The features of `h`, `[n, r]` or `[b, r, h, w]`, mixed by `up` `[d, r]` or `[d, r, 1, 1]`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn mixed(&self, h: &Tensor, up: &Tensor) -> Result<Tensor> {
        let (d, r) = (up.dim(0)?, up.dim(1)?);
        match self.convolves {
            None => linear(h, up, None),
            Some(_) => conv2d(h, &up.reshape((d, r, 1, 1))?, None, 1, 0),
        }
    }
}
