//! What a method is: a function `W -> W'` on each layer that an adapter has something for.
//!
//! A method knows one layer at a time: the shape of its weight, and the few tensors (its pieces) that the adapter has
//! for it. It knows neither files nor models; which piece has which name in files is all it says of those.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use flow_engine::Result;

use super::peft::Config;
use crate::sdxl::files::WeightFiles;

/// Which tensor of a module an adapter's piece is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Of {
    /// The weight of a layer.
    Weight,
    /// The bias of a layer.
    Bias,
    /// A tensor that is named in full.
    Tensor,
}

/// One kind of piece, and how files call it.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// What the method calls it.
    pub name: &'static str,
    /// What is behind the layer in a tensor's name.
    pub ends: &'static [&'static str],
    /// What it is about.
    pub of: Of,
    /// Whether no layer of this method is without one of these, and no other method has it.
    pub marks: bool,
}

impl Piece {
    /// A piece that only layers of this method have.
    pub(super) const fn mark(name: &'static str, ends: &'static [&'static str]) -> Self {
        Self { name, ends, of: Of::Weight, marks: true }
    }

    /// A piece that a layer may have.
    pub(super) const fn extra(name: &'static str, ends: &'static [&'static str]) -> Self {
        Self { name, ends, of: Of::Weight, marks: false }
    }

    /// The same piece about another tensor.
    pub(super) const fn about(self, of: Of) -> Self {
        Self { of, ..self }
    }
}

/// The scale of a low-rank product, which several methods have under one name.
pub(super) const ALPHA: Piece = Piece::extra("alpha", &[".alpha"]);

/// One way to change a weight. All of a method is in its file and its line in [`METHODS`](super::METHODS).
pub trait Method: fmt::Debug + Send + Sync {
    /// What the field calls it.
    fn name(&self) -> &'static str;

    /// The pieces that a layer may have.
    fn pieces(&self) -> &'static [Piece];

    /// Whether it can be applied with a scale other than 1. A scale of 0 is then the base weight.
    fn has_scale(&self) -> bool {
        true
    }

    /// What is wrong with a layer's pieces for a weight of this shape; only shapes and metadata are looked at.
    ///
    /// # Errors
    /// What was expected and what there is, in words.
    fn check(&self, pieces: &Pieces<'_>, shape: &[usize]) -> Result<(), String>;

    /// The rank of the change, where that is a number of the method's.
    fn rank(&self, pieces: &Pieces<'_>) -> Option<usize>;

    /// `W -> W'`: `weight` is in float32 and so is the result, of the same shape and on the same device. It is nobody
    /// else's, and may be changed where it lies.
    ///
    /// # Errors
    /// Values that no weight comes of.
    fn apply(&self, weight: Tensor, pieces: &Pieces<'_>, scale: f64) -> Result<Tensor>;
}

/// The pieces that an adapter has for one layer.
#[derive(Debug, Clone, Copy)]
pub struct Pieces<'a> {
    pub(super) files: &'a WeightFiles,
    pub(super) config: &'a Config,
    /// Name of a piece, and name of its tensor in the file.
    pub(super) names: &'a [(&'static str, String)],
    /// The layer as the file calls it.
    pub(super) module: &'a str,
}

impl Pieces<'_> {
    /// The layer as the file calls it.
    pub fn module(&self) -> &str {
        self.module
    }

    fn tensor_name(&self, piece: &str) -> Option<&str> {
        self.names.iter().find(|(name, _)| *name == piece).map(|(_, tensor)| tensor.as_str())
    }

    /// Whether there is such a piece.
    pub fn has(&self, piece: &str) -> bool {
        self.tensor_name(piece).is_some()
    }

    /// The shape of a piece.
    pub fn shape(&self, piece: &str) -> Option<&[usize]> {
        self.files.shape(self.tensor_name(piece)?)
    }

    /// The shape of a piece that must be there.
    pub(super) fn needed(&self, piece: &str) -> Result<&[usize], String> {
        self.shape(piece).ok_or_else(|| format!("there is no `{piece}`"))
    }

    /// A piece in float32.
    ///
    /// # Errors
    /// No such piece; a value in it that is no number.
    pub fn get(&self, piece: &str, device: &Device) -> Result<Tensor> {
        let name = self.tensor_name(piece);
        let name = name.ok_or_else(|| anyhow::anyhow!("`{}` has no `{piece}`", self.module))?;
        self.files.convert(name, device, DType::F32)
    }

    /// A piece in float32, if there is one.
    ///
    /// # Errors
    /// A value in it that is no number.
    pub fn find(&self, piece: &str, device: &Device) -> Result<Option<Tensor>> {
        if self.has(piece) { self.get(piece, device).map(Some) } else { Ok(None) }
    }

    /// A piece that is one number.
    ///
    /// # Errors
    /// A value that is no number.
    pub fn number(&self, piece: &str) -> Result<Option<f64>> {
        let Some(tensor) = self.find(piece, &Device::Cpu)? else { return Ok(None) };
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        Ok(values.first().copied().map(f64::from))
    }

    /// A setting of the file's that is true or false; none if it says nothing.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.config.flag(self.module, name)
    }

    /// The alpha that the file states elsewhere than in a tensor.
    pub(super) fn stated_alpha(&self) -> Option<f64> {
        self.config.alpha(self.module)
    }
}

/// The number of columns of a weight as a matrix `[d, k]`: a convolution's kernel is flattened.
pub(super) fn columns(shape: &[usize]) -> usize {
    shape.iter().skip(1).product()
}

/// Says that a piece is of another shape.
pub(super) fn expect_shape(piece: &str, found: &[usize], wanted: &[usize]) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("`{piece}` is {found:?}, and {wanted:?} fits")) }
}
