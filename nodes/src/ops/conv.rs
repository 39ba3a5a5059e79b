//! Two-dimensional convolution.
//!
//! On a CPU: the patches of a band of output rows are copied out (`im2col`) and multiplied by the kernel, which gives
//! the output in place, without a transpose. Elsewhere, and in float64: candle's own.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Context;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};
use flow_engine::Result;

use super::adapt::{Adapt, Bare};
use super::lanes::for_parts;
use super::values::contiguous_f32;
use super::{Weight, frozen, is_f32_on_cpu, widens};

/// Patches held at once, in elements (128 MiB in float32).
pub(crate) const PATCHES: usize = 32 << 20;

/// A convolution, known by the name it has in a checkpoint.
///
/// An adapter sees `weight` as the matrix `[c_out, c_in * kernel * kernel]` and leaves `bias` alone.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// Its diffusers name, without `.weight`.
    pub name: String,
    /// `[c_out, c_in, kernel, kernel]`.
    pub weight: Weight,
    /// `[c_out]`.
    pub bias: Option<Tensor>,
    /// Pixels from one patch to the next, on both axes.
    pub stride: usize,
    /// Zeros around the picture, on all four sides.
    pub padding: usize,
    /// An adapter that is being trained.
    pub adapt: Option<Arc<dyn Adapt>>,
}

impl Conv2d {
    /// `x` `[b, c_in, h, w]` to `[b, c_out, h', w']`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.adapted(x).with_context(|| format!("in the convolution `{}`", self.name))
    }

    fn adapted(&self, x: &Tensor) -> Result<Tensor> {
        let Some(adapt) = &self.adapt else {
            return conv2d(x, &self.weight, self.bias.as_ref(), self.stride, self.padding);
        };
        add_bias(
            adapt.forward(&Bare::conv2d(x, &self.weight, self.stride, self.padding))?,
            self.bias.as_ref(),
        )
    }

    /// Rows and columns of the kernel.
    pub(super) fn kernel(&self) -> usize {
        self.weight.dims().last().copied().unwrap_or_default()
    }

    /// Pixels that `pixels` become along an axis, if they are enough for the kernel.
    pub(super) fn length(&self, pixels: usize) -> Option<usize> {
        Some((pixels + 2 * self.padding).checked_sub(self.kernel())? / self.stride + 1)
    }

    /// The rows of a picture of height `h` that some rows of the output read; the first is a whole number of strides
    /// from the top.
    pub(super) fn reads(&self, rows: Range<usize>, h: usize) -> Range<usize> {
        let first = (rows.start * self.stride).saturating_sub(self.padding) / self.stride * self.stride;
        let last = (rows.end.saturating_sub(1) * self.stride + self.kernel()).saturating_sub(self.padding);
        first.min(h)..last.min(h).max(first.min(h))
    }
}

/// Only some rows of what `conv` makes of `x`.
pub(super) fn conv2d_rows(conv: &Conv2d, x: &Tensor, rows: Range<usize>) -> Result<Tensor> {
    if widens(x) {
        let bias = conv.bias.as_ref().map(|bias| bias.to_dtype(DType::F32)).transpose()?;
        let conv = Conv2d { weight: conv.weight.widened()?, bias, ..conv.clone() };
        return Ok(conv2d_rows(&conv, &x.to_dtype(DType::F32)?, rows)?.to_dtype(x.dtype())?);
    }
    let &Conv2d { stride, padding, .. } = conv;
    let (_, c, h, w) = x.dims4()?;
    let takes = conv.weight.dims()[1];
    anyhow::ensure!(c == takes, "`{}` takes {takes} channels, but its input is {:?}", conv.name, x.dims());
    if is_f32_on_cpu(x) {
        let patches = Patches { kernel: conv.kernel(), stride, padding, h, w, rows };
        return by_patches(x, &conv.weight, conv.bias.as_ref(), patches);
    }
    let y = x.conv2d(&conv.weight.tensor()?, padding, stride, 1, 1)?.narrow(2, rows.start, rows.len())?;
    add_bias(y, conv.bias.as_ref())
}

/// Cross-correlation of `x` `[b, c_in, h, w]` with `weight` `[c_out, c_in, kernel, kernel]`, plus `bias` `[c_out]`.
///
/// Gives `[b, c_out, (h + 2 padding - kernel) / stride + 1, ..]`.
///
/// # Errors
/// Channels that do not match, a picture smaller than the kernel.
pub fn conv2d(
    x: &Tensor,
    weight: impl Into<Weight>,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
) -> Result<Tensor> {
    let weight = weight.into();
    if widens(x) {
        let wide = |x: &Tensor| x.to_dtype(DType::F32);
        let bias = bias.map(wide).transpose()?;
        let y = conv2d(&wide(x)?, weight.widened()?, bias.as_ref(), stride, padding)?;
        return Ok(y.to_dtype(x.dtype())?);
    }
    let (_, c_in, h, w) = x.dims4()?;
    let &[_, c_weight, kernel, _] = weight.dims() else { anyhow::bail!("its weight is {:?}", weight.dims()) };
    anyhow::ensure!(c_in == c_weight, "it takes {c_weight} channels, but its input is {:?}", x.dims());
    let smallest = h.min(w) + 2 * padding;
    anyhow::ensure!(smallest >= kernel, "a {h} x {w} picture is smaller than its kernel of {kernel}");
    if !is_f32_on_cpu(x) {
        return add_bias(x.conv2d(&weight.tensor()?, padding, stride, 1, 1)?, bias);
    }
    let patches = Patches { kernel, stride, padding, h, w, rows: 0..(h + 2 * padding - kernel) / stride + 1 };
    by_patches(x, &weight, bias, patches)
}

pub(super) fn add_bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let Some(bias) = bias else { return Ok(y) };
    let bias = &bias.to_dtype(y.dtype())?;
    if frozen::is_frozen_bias(&y, bias) {
        return Ok(frozen::add_bias(&y, bias)?);
    }
    Ok(y.broadcast_add(&bias.to_dtype(y.dtype())?.reshape((1, bias.elem_count(), 1, 1))?)?)
}

/// A convolution in float32 on a CPU.
fn by_patches(x: &Tensor, weight: &Weight, bias: Option<&Tensor>, patches: Patches) -> Result<Tensor> {
    if frozen::is_frozen(x, weight) {
        return match bias {
            Some(bias) if !frozen::is_frozen_bias(x, bias) => {
                add_bias(frozen::convolution(x, weight, None, patches)?, Some(bias))
            }
            bias => Ok(frozen::convolution(x, weight, bias, patches)?),
        };
    }
    let per_row = x.dim(0)? * x.dim(1)? * patches.kernel * patches.kernel * patches.width();
    let band = (PATCHES / per_row.max(1)).max(1);
    let weight = weight.tensor()?;
    let bands = patches.rows.clone().step_by(band).map(|start| {
        let rows = start..patches.rows.end.min(start + band);
        convolve(x, &weight, patches.only(rows))
    });
    let y = match bands.collect::<Result<Vec<_>>>()?.as_slice() {
        [whole] => whole.clone(),
        bands => Tensor::cat(bands, 2)?,
    };
    add_bias(y, bias)
}

/// One band of output rows.
fn convolve(x: &Tensor, weight: &Tensor, patches: Patches) -> Result<Tensor> {
    let (b, c_out) = (x.dim(0)?, weight.dim(0)?);
    let shape = (b, c_out, patches.rows.len(), patches.width());
    let columns = match patches.are_pixels() {
        true => x.flatten_from(2)?.contiguous()?,
        false => x.contiguous()?.apply_op1(patches)?,
    };
    let kernel = weight.reshape((1, c_out, ()))?; // [1, c_out, c_in * kernel * kernel]
    let kernel = kernel.broadcast_as((b, c_out, columns.dim(1)?))?;
    Ok(kernel.matmul(&columns)?.reshape(shape)?)
}

/// Copies patches of `[b, c, h, w]` into the columns of `[b, c * kernel * kernel, rows * columns]`.
#[derive(Debug, Clone)]
pub(super) struct Patches {
    kernel: usize,
    stride: usize,
    padding: usize,
    h: usize,
    w: usize,
    /// The rows of the output to make.
    pub(super) rows: Range<usize>,
}

impl Patches {
    /// The patches of some rows of the output.
    pub(super) fn only(&self, rows: Range<usize>) -> Self {
        Self { rows, ..self.clone() }
    }

    /// Columns of the output.
    pub(super) fn width(&self) -> usize {
        (self.w + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Whether the patches are the picture itself.
    fn are_pixels(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0 && self.rows == (0..self.h)
    }

    /// The patches of a picture of so many planes: the picture itself, where they are that, or made in the room.
    pub(super) fn columns<'a>(
        &self,
        picture: &'a [f32],
        planes: usize,
        threads: bool,
        room: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        if self.are_pixels() {
            return picture;
        }
        room.resize(planes * self.of_a_plane(), 0.0);
        self.copy(picture, threads, room);
        room
    }

    /// Elements of the patches of one plane.
    fn of_a_plane(&self) -> usize {
        self.kernel * self.kernel * self.rows.len() * self.width()
    }

    /// Writes the patches of a picture, on all threads or on one.
    fn copy(&self, picture: &[f32], threads: bool, out: &mut [f32]) {
        let of_plane = |plane: usize, out: &mut [f32]| {
            let picture = &picture[plane * self.h * self.w..][..self.h * self.w];
            self.runs(|row, inside, from| {
                out[row.start..inside.start].fill(0.0);
                out[inside.end..row.end].fill(0.0);
                let out = &mut out[inside];
                if self.stride == 1 {
                    out.copy_from_slice(&picture[from..from + out.len()]);
                } else {
                    out.iter_mut()
                        .zip(picture[from..].iter().step_by(self.stride))
                        .for_each(|(o, x)| *o = *x);
                }
            });
        };
        if threads {
            for_parts(out, self.of_a_plane(), of_plane);
        } else {
            out.chunks_mut(self.of_a_plane().max(1)).enumerate().for_each(|(i, out)| of_plane(i, out));
        }
    }

    /// Adds the columns of patches to the pixels that they were copied from.
    pub(super) fn add_back(&self, columns: &[f32], picture: &mut [f32]) {
        for_parts(picture, self.h * self.w, |plane, picture| {
            let columns = &columns[plane * self.of_a_plane()..][..self.of_a_plane()];
            self.runs(|_, inside, from| {
                let pixels = picture[from..].iter_mut().step_by(self.stride);
                pixels.zip(&columns[inside]).for_each(|(o, g)| *o += *g);
            });
        });
    }

    /// Pairs every row of patch elements of a plane with the picture's: `(the row, those of it that are inside the picture,
    /// where the first of these is in the picture)`.
    ///
    /// Elements of a row stand one apart in the patches and `stride` apart in the picture.
    fn runs(&self, mut visit: impl FnMut(Range<usize>, Range<usize>, usize)) {
        let (k, width) = (self.kernel, self.width());
        for (row, (ky, kx)) in (0..k).flat_map(|y| (0..k).map(move |x| (y, x))).enumerate() {
            let first = self.padding.saturating_sub(kx).div_ceil(self.stride).min(width);
            let end = (self.w + self.padding).saturating_sub(kx).div_ceil(self.stride).clamp(first, width);
            for (i, oy) in self.rows.clone().enumerate() {
                let start = (row * self.rows.len() + i) * width;
                let y = (oy * self.stride + ky).wrapping_sub(self.padding);
                if y < self.h && first < end {
                    let from = y * self.w + first * self.stride + kx - self.padding;
                    visit(start..start + width, start + first..start + end, from);
                } else {
                    visit(start..start + width, start..start, 0);
                }
            }
        }
    }
}

impl CustomOp1 for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, c, _, _) = layout.shape().dims4()?;
        let picture = contiguous_f32(storage, layout)?;
        let shape = Shape::from((b, c * self.kernel * self.kernel, self.rows.len() * self.width()));
        let mut out = vec![0f32; shape.elem_count()];
        self.copy(picture, true, &mut out);
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let back = AddPatches { patches: self.clone(), shape: x.shape().clone() };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}

/// The transpose of [`Patches`]: adds every patch element back to its pixel.
struct AddPatches {
    patches: Patches,
    shape: Shape,
}

impl CustomOp1 for AddPatches {
    fn name(&self) -> &'static str {
        "add-patches"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let grad = contiguous_f32(storage, layout)?;
        let mut out = vec![0f32; self.shape.elem_count()];
        self.patches.add_back(grad, &mut out);
        Ok((CpuStorage::F32(out), self.shape.clone()))
    }
}
