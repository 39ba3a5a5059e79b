//! Where a network under construction takes its tensors from.
//!
//! A network is written once, as a constructor over [`Weights`]. Given [`Layout`] the constructor only tells which
//! tensors it wants and of which shapes; given a checkpoint it gets them. So the layout of a checkpoint has one source
//! of truth, and a folder is checked against it from headers alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use flow_engine::{Problem, Result};

use crate::ops::{Adapt, Conv2d, GroupNorm, LayerNorm, Linear, Weight};

/// Where a network runs and in which type.
#[derive(Debug, Clone)]
pub struct Compute {
    /// Where its tensors are.
    pub device: Device,
    /// The type of its weights and activations: float32, float16 or bfloat16.
    pub dtype: DType,
}

impl Compute {
    /// Float32 on the CPU.
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32 }
    }

    /// The same device in float32.
    pub fn in_f32(&self) -> Self {
        Self { device: self.device.clone(), dtype: DType::F32 }
    }

    /// # Errors
    /// A type that no network runs in.
    pub(crate) fn check(&self) -> Result<()> {
        if matches!(self.dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Ok(());
        }
        Err(Problem::new(format!("networks do not run in {:?}", self.dtype))
            .hint("use f32, f16 or bf16")
            .into())
    }
}

/// Gives tensors by name.
pub trait Source {
    /// The tensor `name`, of exactly this shape, on the device and in the type that the network will run in.
    ///
    /// # Errors
    /// No such tensor, another shape, or a value that is no number.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor>;

    /// The weight of a layer, likewise; it may stay where it lies.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    fn weight(&self, name: &str, shape: &[usize]) -> Result<Weight> {
        Ok(self.tensor(name, shape)?.into())
    }

    /// The adapter that is being trained in the layer of this name, if one is.
    fn adapt(&self, _layer: &str) -> Option<Arc<dyn Adapt>> {
        None
    }
}

/// A source of tensors, seen from one module.
#[derive(Clone)]
pub struct Weights<'a> {
    source: &'a dyn Source,
    path: String,
}

impl<'a> Weights<'a> {
    /// The view from the top of a file.
    pub fn new(source: &'a dyn Source) -> Self {
        Self { source, path: String::new() }
    }

    /// The view from the module `name` inside this one.
    #[must_use]
    pub fn at(&self, name: impl Display) -> Self {
        Self { source: self.source, path: self.name(name) }
    }

    /// The full name of this module.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn name(&self, name: impl Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    /// A tensor of this module.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.source.tensor(&self.name(name), shape)
    }

    fn weight(&self, shape: &[usize]) -> Result<Weight> {
        self.source.weight(&self.name("weight"), shape)
    }

    fn bias(&self, width: usize, wanted: bool) -> Result<Option<Tensor>> {
        wanted.then(|| self.tensor("bias", &[width])).transpose()
    }

    /// A linear layer inside this module.
    pub fn linear(&self, name: impl Display, d_in: usize, d_out: usize, bias: bool) -> Result<Linear> {
        let at = self.at(name);
        Ok(Linear {
            weight: at.weight(&[d_out, d_in])?,
            bias: at.bias(d_out, bias)?,
            adapt: self.source.adapt(&at.path),
            name: at.path,
        })
    }

    /// A convolution with a bias inside this module; `kernel`, `stride` and `padding` in pixels.
    pub fn conv2d(
        &self,
        name: impl Display,
        channels: (usize, usize),
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Conv2d> {
        let (at, (c_in, c_out)) = (self.at(name), channels);
        let weight = at.weight(&[c_out, c_in, kernel, kernel])?;
        let (bias, adapt) = (at.bias(c_out, true)?, self.source.adapt(&at.path));
        Ok(Conv2d { weight, bias, stride, padding, adapt, name: at.path })
    }

    /// A group norm inside this module.
    pub fn group_norm(
        &self,
        name: impl Display,
        channels: usize,
        groups: usize,
        eps: f64,
    ) -> Result<GroupNorm> {
        let at = self.at(name);
        let (weight, bias) = (at.tensor("weight", &[channels])?, at.tensor("bias", &[channels])?);
        Ok(GroupNorm { weight, bias, groups, eps, name: at.path })
    }

    /// A layer norm inside this module.
    pub fn layer_norm(&self, name: impl Display, width: usize, eps: f64) -> Result<LayerNorm> {
        let at = self.at(name);
        let (weight, bias) = (at.tensor("weight", &[width])?, at.tensor("bias", &[width])?);
        Ok(LayerNorm { weight, bias, eps, name: at.path })
    }
}

/// Records which tensors a constructor asks for; what it gives are views of one zero and take no memory.
#[derive(Debug, Default)]
pub struct Layout(RefCell<BTreeMap<String, Vec<usize>>>);

impl Layout {
    /// The names and shapes of what `construct` asks for.
    pub fn of<T>(construct: impl FnOnce(&Weights<'_>) -> Result<T>) -> Result<BTreeMap<String, Vec<usize>>> {
        let layout = Self::default();
        construct(&Weights::new(&layout))?;
        Ok(layout.0.into_inner())
    }
}

impl Source for Layout {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.0.borrow_mut().insert(name.to_owned(), shape.to_vec());
        Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)?)
    }
}
