//! Layers whose weights no gradient is wanted of: those that only draw, and most of a graph that is trained.
//!
//! candle computes the gradient of both factors of a product and keeps them, the frozen one's too: half as much work
//! again, and the memory of the whole model. Here the weight is inside the operation and not an argument of it, so
//! only the input's gradient is computed: on a CPU in float32, and for linear layers on every other device. Elsewhere a
//! convolution is candle's own.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Storage, Tensor};
use rayon::prelude::*;

use super::conv::Patches;
use super::is_f32_on_cpu;
use super::lanes::for_parts;
use super::product::{Product, View};
use super::values::{ELSEWHERE, contiguous_f32, with_values};
use super::weight::Weight;

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

/// Rows of `length` numbers, each of which is the bias, or zeros.
fn begun_rows(count: usize, length: usize, bias: Option<&Tensor>) -> Result<Vec<f32>> {
    let mut out = vec![0f32; count * length];
    if let Some(bias) = bias {
        with_values(bias, |bias| for_parts(&mut out, length, |_, row| row.copy_from_slice(bias)))?;
    }
    Ok(out)
}

/// Planes of `length` numbers, each of which is filled with its bias, or with zeros.
fn begun_planes(count: usize, length: usize, bias: Option<&Tensor>) -> Result<Vec<f32>> {
    let mut out = vec![0f32; count * length];
    if let Some(bias) = bias {
        with_values(bias, |bias| {
            for_parts(&mut out, length, |plane, to| to.fill(bias[plane % bias.len()]));
        })?;
    }
    Ok(out)
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, d_in) = layout.shape().dims2()?;
        let d_out = self.weight.dims()[0];
        let x = contiguous_f32(storage, layout)?;
        let mut out = begun_rows(n, d_out, self.bias.as_ref())?;
        self.weight.rows(|rows, weight| {
            let (left, right) = (View::rows(x, d_in), View::transposed(weight, d_in));
            let product = Product::of([n, rows.len(), d_in], left, right);
            let product = if self.bias.is_some() { product.adding(1.0) } else { product };
            if n > 0 {
                product.into(&mut out[rows.start..], d_out);
            }
        })?;
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
        let mut out = vec![0f32; n * d_in];
        self.weight.rows(|rows, weight| {
            let left =
                View { data: &grad[rows.start.min(grad.len())..], rows_apart: d_out, columns_apart: 1 };
            let product = Product::of([n, d_in, rows.len()], left, View::rows(weight, d_in));
            let product = if rows.start > 0 { product.adding(1.0) } else { product };
            product.into(&mut out, d_in);
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

    /// Bands of output rows whose patches are held at once.
    fn bands(&self, patch: usize) -> impl Iterator<Item = Patches> + '_ {
        let rows = &self.patches.rows;
        let width = self.patches.width().max(1);
        let height = (HELD / (patch * width).max(1)).max(TOGETHER.div_ceil(width));
        rows.clone().step_by(height).map(move |start| self.patches.only(start..rows.end.min(start + height)))
    }

    /// Each picture of a batch by itself, side by side if there are several.
    fn each(&self, out: &mut [f32], image: usize, one: impl Fn(usize, &mut [f32], bool) + Sync) {
        if out.len() == image {
            one(0, out, true);
        } else {
            out.par_chunks_mut(image.max(1)).enumerate().for_each(|(i, out)| one(i, out, false));
        }
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
        let mut out = begun_planes(b * c_out, height * width, self.bias.as_ref())?;
        self.weight.whole(|weight| {
            self.each(&mut out, c_out * height * width, |i, out, threads| {
                let picture = &pictures[i * c_in * h * w..][..c_in * h * w];
                for band in self.bands(patch) {
                    let pixels = band.rows.len() * width;
                    let columns = band.columns(picture, c_in);
                    let (left, right) = (View::rows(weight, patch), View::rows(&columns, pixels));
                    let product = Product::of([c_out, pixels, patch], left, right).threads(threads);
                    let product = if self.bias.is_some() { product.adding(1.0) } else { product };
                    let first = (band.rows.start - self.patches.rows.start) * width;
                    product.into(&mut out[first..], height * width);
                }
            });
        })?;
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
        self.conv.weight.whole(|weight| {
            self.conv.each(&mut out, c_in * h * w, |i, picture, threads| {
                let grad = &grads[i * c_out * height * width..][..c_out * height * width];
                for band in self.conv.bands(patch) {
                    let pixels = band.rows.len() * width;
                    let mut columns = vec![0f32; patch * pixels];
                    let start = (band.rows.start - self.conv.patches.rows.start) * width;
                    let right = View { data: &grad[start..], rows_apart: height * width, columns_apart: 1 };
                    let left = View::transposed(weight, patch);
                    Product::of([patch, pixels, c_out], left, right)
                        .threads(threads)
                        .into(&mut columns, pixels);
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
