//! A model's weights with its adapters in them.
//!
//! [`Folded`] stands between a checkpoint's files and a network under construction: a tensor that adapters change is
//! read in float32, goes through them in order, and only then becomes the type of the run. So one layer at a time is
//! in float32, and nothing is folded that no network asks for.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};
use flow_engine::{Problem, Result};
use rayon::prelude::*;

use super::names::Target;
use super::{Bound, Layer, Single};
use crate::ops::Weight;
use crate::sdxl::files::WeightFiles;
use crate::sdxl::weights::{Compute, Source};
use crate::sdxl::{Checkpoint, Part};

/// How strongly an adapter is applied: `W' = W + scale (..)`, 1 as trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// To the denoiser.
    pub unet: f64,
    /// To both text encoders.
    pub text_encoders: f64,
}

impl Scales {
    /// The same everywhere.
    pub fn both(scale: f64) -> Self {
        Self { unet: scale, text_encoders: scale }
    }

    /// To a network.
    pub fn of(self, part: Part) -> f64 {
        if part == Part::Unet { self.unet } else { self.text_encoders }
    }
}

/// An adapter in its place in a model.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The adapter.
    pub single: Arc<Single>,
    /// How strongly.
    pub scales: Scales,
    /// Which tensors it changes.
    pub bound: Arc<Bound>,
}

impl Applied {
    /// Whether any tensor of a network changes; new words are in the text encoders.
    pub fn changes(&self, part: Part) -> bool {
        let reads = matches!(part, Part::TextEncoder | Part::TextEncoder2);
        (reads && self.single.word().is_some()) || self.bound.targets().any(|target| target.part == part)
    }

    /// `W -> W'` for one tensor, in float32; a tensor that is not its own comes back as it is.
    ///
    /// # Errors
    /// Values in the adapter that are no numbers, or that make such a weight.
    pub fn apply(&self, target: &Target, weight: Tensor) -> Result<Tensor> {
        let Some(layer) = self.bound.layer(&self.single, target) else { return Ok(weight) };
        changed(&self.single, layer, weight, self.scales.of(target.part))
    }
}

/// `W -> W'` for one layer of an adapter, in float32.
///
/// # Errors
/// Values in the adapter that are no numbers, or that make such a weight.
pub fn changed(single: &Single, layer: &Layer, weight: Tensor, scale: f64) -> Result<Tensor> {
    let changed = layer.method.apply(weight, &single.pieces(layer), scale)?;
    if all_finite(&changed)? {
        return Ok(changed);
    }
    let message = format!("`{}` makes `{}` a weight that is no number", single.name(), layer.module);
    Err(Problem::new(message).hint("is its scale too large, or did its training diverge?").into())
}

/// The tensors of one network, adapters folded in.
#[derive(Debug)]
pub struct Folded<'a> {
    files: &'a WeightFiles,
    part: Part,
    compute: &'a Compute,
    applied: Vec<&'a Applied>,
}

impl<'a> Folded<'a> {
    /// A network of `checkpoint` under `applied`, in this order.
    pub fn new(checkpoint: &'a Checkpoint, part: Part, compute: &'a Compute, applied: &'a [Applied]) -> Self {
        let applied = applied.iter().filter(|applied| applied.changes(part)).collect();
        Self { files: checkpoint.weights(part), part, compute, applied }
    }

    fn is_changed(&self, target: &Target) -> bool {
        self.applied.iter().any(|applied| applied.bound.changes(target))
    }

    fn folded(&self, target: &Target, shape: &[usize]) -> Result<Tensor> {
        let Compute { device, dtype } = self.compute;
        let weight = self.files.convert(&target.tensor, device, DType::F32)?.reshape(shape)?;
        let folded = self.applied.iter().try_fold(weight, |weight, applied| applied.apply(target, weight))?;
        in_type(&target.tensor, folded, *dtype)
    }
}

impl Source for Folded<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let target = Target { part: self.part, tensor: name.to_owned() };
        if self.is_changed(&target) {
            return self.folded(&target, shape);
        }
        Ok(self.files.convert(name, &self.compute.device, self.compute.dtype)?.reshape(shape)?)
    }

    fn weight(&self, name: &str, shape: &[usize]) -> Result<Weight> {
        let target = Target { part: self.part, tensor: name.to_owned() };
        if self.is_changed(&target) {
            return Ok(self.folded(&target, shape)?.into());
        }
        Ok(self.files.weight(name, &self.compute.device, self.compute.dtype)?.reshape(shape)?)
    }
}

/// Whether every value of a float32 tensor is a number.
fn all_finite(tensor: &Tensor) -> Result<bool> {
    if tensor.device().is_cpu() && tensor.is_contiguous() {
        return Ok(tensor.apply_op1_no_bwd(&AllFinite)?.to_scalar::<u8>()? == 1);
    }
    Ok(tensor.abs()?.max_all()?.to_scalar::<f32>()?.is_finite())
}

/// 1 if all of a float32 tensor are numbers, in one pass and without a copy.
struct AllFinite;

impl CustomOp1 for AllFinite {
    fn name(&self) -> &'static str {
        "all-finite"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = &x.as_slice::<f32>()?[layout.start_offset()..][..layout.shape().elem_count()];
        let finite = |values: &[f32]| values.iter().fold(true, |all, value| all & value.is_finite());
        let all = x.par_chunks(1 << 16).all(finite);
        Ok((CpuStorage::U8(vec![u8::from(all)]), Shape::from(())))
    }
}

/// A folded weight in the type of the run.
fn in_type(name: &str, weight: Tensor, dtype: DType) -> Result<Tensor> {
    let narrowed = weight.to_dtype(dtype)?;
    if dtype == DType::F16 && !weight.abs()?.max_all()?.to_scalar::<f32>()?.le(&half::f16::MAX.to_f32()) {
        let message = format!("`{name}` with its adapters is too large for f16");
        return Err(Problem::new(message).hint("run it in bf16 or f32").into());
    }
    Ok(narrowed)
}
