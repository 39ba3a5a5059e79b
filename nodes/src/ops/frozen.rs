//! Layers whose weights no gradient is wanted of: those that only draw, and most of a graph that is trained.
//!
//! candle computes the gradient of both factors of a product and keeps them, the frozen one's too: half as much work
//! again, and the memory of the whole model. Here the weight is inside the operation and not an argument of it, so
//! only the input's gradient is computed: on a CPU in float32, and for linear layers on every other device. Elsewhere a
//! convolution is candle's own.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Storage, Tensor};

use super::conv::Patches;
use super::lanes::for_each;
use super::place::{Place, Written, made};
use super::product::{Product, View, parts_of};
use super::values::{ELSEWHERE, contiguous_f32, with_some, with_values};
use super::weight::Weight;
use super::{PRODUCT_WORTH_THREADS, is_f32_on_cpu};

/// Patches held at once by each picture, in elements (8 MiB in float32): what a cache holds a part of.
const HELD: usize = 2 << 20;
/// Output pixels that are made together all the same, or the kernel would be read too often.
const TOGETHER: usize = 512;

/// Whether a layer of this weight takes no gradient itself, where that is worth an operation of its own.
pub(super) fn is_frozen(x: &Tensor, weight: &Weight) -> bool {
    !weight.track_op() && is_f32_on_cpu(x)
}

/// Whether a bias takes no gradient, likewise.
pub(super) fn is_frozen_bias(x: &Tensor, bias: &Tensor) -> bool {
    !bias.track_op() && is_f32_on_cpu(x)
}

/// Whether a linear layer is frozen: off the CPU in every type.
pub(super) fn is_frozen_linear(x: &Tensor, weight: &Weight) -> bool {
    is_frozen(x, weight) || (x.track_op() && !weight.track_op() && !x.device().is_cpu())
}

/// `x Wᵀ + b`: `x` `[n, d_in]`, frozen `weight` `[d_out, d_in]` and `bias` `[d_out]`, which is only for a CPU; gives
/// `[n, d_out]`.
pub(super) fn linear(x: &Tensor, weight: &Weight, bias: Option<&Tensor>) -> Result<Tensor> {
    let bias = bias.map(Tensor::contiguous).transpose()?;
    x.contiguous()?.apply_op1(FrozenLinear { weight: weight.contiguous()?, bias })
}

struct FrozenLinear {
    weight: Weight,
    bias: Option<Tensor>,
}

/// A product of these sizes, whose columns `each` writes in parts: on all threads, each of which reads its own part of the
/// weight, where it is worth them.
fn by_columns(
    [rows, columns, summed]: [usize; 3],
    each: impl for<'a> Fn(Range<usize>, Place<'a>, &mut Vec<f32>) -> Result<Written<'a>> + Sync,
) -> Result<Vec<f32>> {
    let is_worth_threads = rows * columns * summed >= PRODUCT_WORTH_THREADS;
    let width = if is_worth_threads { parts_of(columns) } else { columns };
    made(1, [rows, columns], width, is_worth_threads, |_, columns, place, room| each(columns, place, room))
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, d_in) = layout.shape().dims2()?;
        let d_out = self.weight.dims()[0];
        let x = contiguous_f32(storage, layout)?;
        let out = with_some(self.bias.as_ref(), |bias| {
            by_columns([n, d_out, d_in], |columns, place, room| {
                self.weight.part(columns.clone(), 0..d_in, room, |weight| {
                    let product = Product::of([n, columns.len(), d_in], View::rows(x, d_in), weight.turned());
                    let mut written = product.threads(false).into_place(place);
                    if let Some(bias) = bias {
                        written.add_to_rows(&bias[columns.clone()]);
                    }
                    written
                })
            })
        })??;
        Ok((CpuStorage::F32(out), Shape::from((n, d_out))))
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let weight = self.weight.tensor()?;
        let (weight, weight_layout) = weight.storage_and_layout();
        match &*weight {
            Storage::Cuda(weight) => by_device((x, layout), (weight, weight_layout)),
            _ => candle_core::bail!("{ELSEWHERE}"),
        }
    }

    fn metal_fwd(&self, x: &MetalStorage, layout: &Layout) -> Result<(MetalStorage, Shape)> {
        let weight = self.weight.tensor()?;
        let (weight, weight_layout) = weight.storage_and_layout();
        match &*weight {
            Storage::Metal(weight) => by_device((x, layout), (weight, weight_layout)),
            _ => candle_core::bail!("{ELSEWHERE}"),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        if grad.device().is_cpu() {
            return grad.apply_op1_no_bwd(&FrozenLinearBack { weight: &self.weight }).map(Some);
        }
        grad.matmul(&self.weight.tensor()?).map(Some)
    }
}

/// From a gradient of [`FrozenLinear`]'s output, `[n, d_out]`, to that of its input, `[n, d_in]`.
struct FrozenLinearBack<'a> {
    weight: &'a Weight,
}

impl CustomOp1 for FrozenLinearBack<'_> {
    fn name(&self) -> &'static str {
        "frozen-linear-back"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((n, d_out), d_in) = (layout.shape().dims2()?, self.weight.dims()[1]);
        let grad = contiguous_f32(storage, layout)?;
        let out = by_columns([n, d_in, d_out], |columns, place, room| {
            self.weight.part(0..d_out, columns.clone(), room, |weight| {
                let product = Product::of([n, columns.len(), d_out], View::rows(grad, d_out), weight);
                product.threads(false).into_place(place)
            })
        })?;
        Ok((CpuStorage::F32(out), Shape::from((n, d_in))))
    }
}

/// `x Wᵀ` by the device's own product.
fn by_device<S: BackendStorage>(
    (x, x_layout): (&S, &Layout),
    (weight, weight_layout): (&S, &Layout),
) -> Result<(S, Shape)> {
    let ((n, d_in), (d_out, _)) = (x_layout.shape().dims2()?, weight_layout.shape().dims2()?);
    let product = x.matmul(weight, (1, n, d_out, d_in), x_layout, &weight_layout.transpose(0, 1)?)?;
    Ok((product, Shape::from((n, d_out))))
}

/// Cross-correlation of `x` `[b, c_in, h, w]` with a frozen `weight` `[c_out, c_in, kernel, kernel]`, plus a frozen
/// `bias` `[c_out]`.
pub(super) fn convolution(
    x: &Tensor,
    weight: &Weight,
    bias: Option<&Tensor>,
    patches: Patches,
) -> Result<Tensor> {
    let bias = bias.map(Tensor::contiguous).transpose()?;
    x.contiguous()?.apply_op1(FrozenConv { weight: weight.contiguous()?, bias, patches })
}

/// One direction of a frozen convolution.
#[derive(Clone)]
struct FrozenConv {
    weight: Weight,
    bias: Option<Tensor>,
    patches: Patches,
}

impl FrozenConv {
    /// Output channels, and the elements of a patch.
    fn sizes(&self) -> Result<(usize, usize)> {
        match self.weight.dims() {
            &[c_out, c_in, kernel, _] => Ok((c_out, c_in * kernel * kernel)),
            dims => candle_core::bail!("a kernel {dims:?}"),
        }
    }

    /// Output rows whose patches are held at once.
    fn height(&self, patch: usize) -> usize {
        let width = self.patches.width().max(1);
        (HELD / (patch * width).max(1)).max(TOGETHER.div_ceil(width)).min(self.patches.rows.len().max(1))
    }

    /// The patches of some rows of those to make.
    fn band(&self, first: usize, rows: usize) -> Patches {
        let first = self.patches.rows.start + first;
        self.patches.only(first..first + rows)
    }
}

impl CustomOp1 for FrozenConv {
    fn name(&self) -> &'static str {
        "frozen-conv2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c_in, h, w) = layout.shape().dims4()?;
        let ((c_out, patch), pictures) = (self.sizes()?, contiguous_f32(storage, layout)?);
        let (height, width) = (self.patches.rows.len(), self.patches.width());
        let together = self.height(patch) * width;
        let several = b * (height * width).div_ceil(together) > 1;
        let out = with_some(self.bias.as_ref(), |bias| {
            self.weight.whole(|weight| {
                made(b, [c_out, height * width], together, several, |i, pixels, place, room| {
                    let picture = &pictures[i * c_in * h * w..][..c_in * h * w];
                    let band = self.band(pixels.start / width, pixels.len() / width);
                    let columns = View::rows(band.columns(picture, c_in, !several, room), pixels.len());
                    let product =
                        Product::of([c_out, pixels.len(), patch], View::rows(weight, patch), columns);
                    let mut written = product.threads(!several).into_place(place);
                    if let Some(bias) = bias {
                        written.add_to_columns(bias);
                    }
                    Ok(written)
                })
            })
        })???;
        Ok((CpuStorage::F32(out), Shape::from((b, c_out, height, width))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = FrozenConvBack { conv: self.clone(), shape: x.shape().clone() };
        grad.contiguous()?.apply_op1_no_bwd(&back).map(Some)
    }
}

/// The transpose of [`FrozenConv`]: from a gradient of its output to that of its input.
struct FrozenConvBack {
    conv: FrozenConv,
    shape: Shape,
}

impl CustomOp1 for FrozenConvBack {
    fn name(&self) -> &'static str {
        "frozen-conv2d-back"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, c_in, h, w) = self.shape.dims4()?;
        let ((c_out, patch), grads) = (self.conv.sizes()?, contiguous_f32(storage, layout)?);
        let (height, width) = (self.conv.patches.rows.len(), self.conv.patches.width());
        let mut out = vec![0f32; self.shape.elem_count()];
        let pictures: Vec<_> = out.chunks_mut((c_in * h * w).max(1)).enumerate().collect();
        let (several, together) = (pictures.len() > 1, self.conv.height(patch));
        self.conv.weight.whole(|weight| {
            for_each(pictures, several, |(i, picture)| {
                let grad = &grads[i * c_out * height * width..][..c_out * height * width];
                let mut columns = Vec::new();
                for first in (0..height).step_by(together) {
                    let band = self.conv.band(first, together.min(height - first));
                    let pixels = band.rows.len() * width;
                    columns.resize(patch * pixels, 0.0);
                    let right = View::rows(grad, height * width).at(0, first * width);
                    let product = Product::of([patch, pixels, c_out], View::transposed(weight, patch), right);
                    product.threads(!several).into(&mut columns, pixels);
                    band.add_back(&columns, picture);
                }
            });
        })?;
        Ok((CpuStorage::F32(out), self.shape.clone()))
    }
}

/// Adds a frozen `bias` `[c]` to `y`, along the last axis of a matrix and along the second of pictures.
pub(super) fn add_bias(y: &Tensor, bias: &Tensor) -> Result<Tensor> {
    y.contiguous()?.apply_op1(FrozenBias { bias: bias.contiguous()? })
}

struct FrozenBias {
    bias: Tensor,
}

impl CustomOp1 for FrozenBias {
    fn name(&self) -> &'static str {
        "frozen-bias"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = contiguous_f32(storage, layout)?.to_vec();
        let pixels: usize = layout.dims().iter().skip(2).product();
        with_values(&self.bias, |bias| {
            for (plane, bias) in out.chunks_mut(pixels.max(1)).zip(bias.iter().cycle()) {
                plane.iter_mut().for_each(|value| *value += bias);
            }
        })?;
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// No other device is here: the same lines with the storage of a CPU.
    #[test]
    fn a_frozen_linear_layer_by_the_devices_own_product_is_the_layer() {
        let x = Tensor::rand(-1f32, 1., (5, 7), &Device::Cpu).unwrap();
        let weight = Tensor::rand(-1f32, 1., (3, 7), &Device::Cpu).unwrap();
        let expected =
            x.matmul(&weight.t().unwrap()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let ((x, x_layout), (weight, weight_layout)) = (x.storage_and_layout(), weight.storage_and_layout());
        let (Storage::Cpu(x), Storage::Cpu(weight)) = (&*x, &*weight) else { panic!("a CPU is one") };
        let (found, shape) = by_device((x, x_layout), (weight, weight_layout)).unwrap();
        assert_eq!(shape.dims(), [5, 3]);
        assert_eq!(found.as_slice::<f32>().unwrap(), expected);
    }
}
