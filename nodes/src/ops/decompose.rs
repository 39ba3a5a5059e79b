//! Decompositions that pass gradients, for parameters that stay on a curved surface: candle has none.
//!
//! They are small beside a layer, and are taken on the CPU in float64 whatever the device.

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor};
use faer::Mat;
use faer::linalg::solvers::Solve;

use super::values::contiguous_f32;

/// A column's share of its own, beyond those before it, at which it counts as dependent.
const DEPENDENT: f64 = 1e-6;

/// An orthonormal basis `Q` `[d, r]` of the columns of `b` `[d, r]`: `b = QR` with an upper `R`.
///
/// `dL/db = (G + Q copyltu(-Gᵀ Q)) R⁻ᵀ` for the gradient `G` of `Q`, where `copyltu` mirrors the lower triangle
/// upwards (Walter and Lehmann 2018, arXiv 1009.6112, for the derivative).
///
/// # Errors
/// Columns that depend on each other, a column of zeros among them.
pub fn qr(b: &Tensor) -> flow_engine::Result<Tensor> {
    on_cpu(b, |b| b.apply_op1(Qr))
}

/// `(I - S)(I + S)⁻¹` for each of the skew matrices `s` `[n, b, b]`: rotations (Cayley).
///
/// # Errors
/// A shape that is no list of square matrices.
pub fn cayley(s: &Tensor) -> flow_engine::Result<Tensor> {
    on_cpu(s, |s| s.apply_op1(Cayley))
}

fn on_cpu(x: &Tensor, f: impl Fn(Tensor) -> Result<Tensor>) -> flow_engine::Result<Tensor> {
    let here = x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
    Ok(f(here)?.to_device(x.device())?)
}

struct Qr;

impl CustomOp1 for Qr {
    fn name(&self) -> &'static str {
        "qr"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (d, r) = layout.shape().dims2()?;
        let b = matrix(contiguous_f32(storage, layout)?, d, r);
        let decomposed = b.qr();
        let diagonal = || decomposed.thin_R().diagonal().column_vector().iter().map(|entry| entry.abs());
        let largest = diagonal().fold(0.0, f64::max);
        if d < r || diagonal().any(|entry| entry.is_nan() || entry <= DEPENDENT * largest) {
            candle_core::bail!("the {r} columns of a basis [{d}, {r}] depend on each other");
        }
        Ok((CpuStorage::F32(values(&decomposed.compute_thin_Q())), layout.shape().clone()))
    }

    fn bwd(&self, b: &Tensor, q: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [b, q, g] = [of(b)?, of(q)?, of(grad)?];
        let r = q.transpose() * &b;
        let m = -(g.transpose() * &q);
        let mirrored = Mat::from_fn(m.nrows(), m.ncols(), |i, j| if i >= j { m[(i, j)] } else { m[(j, i)] });
        let right = g + &q * mirrored;
        // X Rᵀ = right, so R Xᵀ = rightᵀ.
        let solved = r.partial_piv_lu().solve(right.transpose());
        back(&solved.transpose().to_owned(), grad).map(Some)
    }
}

struct Cayley;

impl CustomOp1 for Cayley {
    fn name(&self) -> &'static str {
        "cayley"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, b, _) = layout.shape().dims3()?;
        let s = contiguous_f32(storage, layout)?;
        let rotated = s.chunks((b * b).max(1)).flat_map(|s| {
            let s = matrix(s, b, b);
            values(&(inverse_of_one_plus(&s) * (one(b) - &s))) // both factors commute
        });
        Ok((CpuStorage::F32(rotated.collect()), layout.shape().clone()))
    }

    /// `dR = -(I + R) dS (I + S)⁻¹`, so `dL/dS = -(I + R)ᵀ G (I + S)⁻ᵀ`.
    fn bwd(&self, s: &Tensor, r: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (n, b, _) = s.dims3()?;
        let blocks = (0..n).map(|i| {
            let [s, r, g] = [of(&s.get(i)?)?, of(&r.get(i)?)?, of(&grad.get(i)?)?];
            let back = -((one(b) + r).transpose() * g * inverse_of_one_plus(&s).transpose());
            Tensor::from_vec(values(&back), (b, b), &Device::Cpu)
        });
        Tensor::stack(&blocks.collect::<Result<Vec<_>>>()?, 0).map(Some)
    }
}

fn one(b: usize) -> Mat<f64> {
    Mat::identity(b, b)
}

fn inverse_of_one_plus(s: &Mat<f64>) -> Mat<f64> {
    (one(s.nrows()) + s).partial_piv_lu().solve(one(s.nrows()))
}

fn matrix(values: &[f32], rows: usize, columns: usize) -> Mat<f64> {
    Mat::from_fn(rows, columns, |i, j| f64::from(values[i * columns + j]))
}

fn of(x: &Tensor) -> Result<Mat<f64>> {
    let (rows, columns) = x.dims2()?;
    Ok(matrix(&x.flatten_all()?.to_vec1::<f32>()?, rows, columns))
}

fn values(m: &Mat<f64>) -> Vec<f32> {
    (0..m.nrows()).flat_map(|i| (0..m.ncols()).map(move |j| m[(i, j)] as f32)).collect()
}

fn back(m: &Mat<f64>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values(m), like.shape(), &Device::Cpu)
}
