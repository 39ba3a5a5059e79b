//! Spans, singular values and ranks: the linear algebra of adapters, in float64 on the processor.
//!
//! Matrices here are thin or belong to one layer. Nothing here knows adapters or models.

use candle_core::{DType, Device, Tensor};
use faer::{Mat, MatRef};
use flow_engine::{Problem, Result};

/// Length below which what is left of a unit column, once the columns before it are taken out, counts as nothing
/// (`para-maths`: Gram-Schmidt in float64 keeps far more digits; float32 files keep about seven).
pub const DEPENDENT: f64 = 1e-6;

/// A matrix in float64.
pub type Matrix = Mat<f64>;

/// A tensor `[d, ..]` as a matrix `[d, product of the rest]`; a vector becomes one column.
pub fn matrix(tensor: &Tensor) -> Result<Matrix> {
    let rows = tensor.dim(0)?;
    let columns = tensor.elem_count() / rows.max(1);
    let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let values = tensor.flatten_all()?.to_vec1::<f64>()?;
    Ok(Mat::from_fn(rows, columns, |i, j| values[i * columns + j]))
}

/// A matrix as a float32 tensor of this shape on a device.
pub fn tensor(matrix: MatRef<'_, f64>, shape: &[usize], device: &Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(matrix.nrows() * matrix.ncols());
    for i in 0..matrix.nrows() {
        values.extend((0..matrix.ncols()).map(|j| matrix[(i, j)] as f32));
    }
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(device)?)
}

/// An orthonormal basis of a span.
#[derive(Debug, Clone)]
pub struct Basis {
    /// `[d, r]`, orthonormal columns.
    pub q: Matrix,
    /// Columns that gave no direction of their own, counted from 0.
    pub dropped: Vec<usize>,
}

/// An orthonormal basis of the columns of `b` `[d, r]`: Gram-Schmidt, twice, with a positive diagonal in `R`. Columns
/// that depend on those before them, zero columns among them, give no direction.
pub fn orthonormal(b: MatRef<'_, f64>) -> Basis {
    beyond(Mat::zeros(b.nrows(), 0).as_ref(), b)
}

/// What the columns of `b` `[d, r]` span beyond the orthonormal columns of `first` `[d, r1]`.
pub fn beyond(first: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Basis {
    let (d, before) = (b.nrows(), first.ncols());
    let mut q = Mat::<f64>::zeros(d, before + b.ncols());
    q.as_mut().subcols_mut(0, before).copy_from(first);
    let (mut count, mut dropped) = (before, Vec::new());
    for j in 0..b.ncols() {
        let length = b.col(j).norm_l2();
        let mut v = if length > 0.0 { b.col(j) * faer::Scale(1.0 / length) } else { b.col(j).to_owned() };
        for _ in 0..2 {
            let known = q.as_ref().subcols(0, count);
            v -= known * (known.transpose() * &v);
        }
        let left = v.norm_l2();
        if left.is_nan() || left <= DEPENDENT || count == d {
            dropped.push(j);
            continue;
        }
        q.as_mut().col_mut(count).copy_from(v * faer::Scale(1.0 / left));
        count += 1;
    }
    Basis { q: q.subcols(before, count - before).to_owned(), dropped }
}

/// A singular value decomposition `U diag(s) Vᵀ`.
#[derive(Debug, Clone)]
pub struct Svd {
    /// `[d, min(d, k)]`.
    pub u: Matrix,
    /// Singular values, the largest first.
    pub s: Vec<f64>,
    /// `[k, min(d, k)]`.
    pub v: Matrix,
}

/// The singular value decomposition of `m` `[d, k]`.
///
/// # Errors
/// A matrix whose decomposition does not converge; none is known among finite ones.
pub fn svd(m: MatRef<'_, f64>) -> Result<Svd> {
    let svd = m.thin_svd().map_err(|_| Problem::new("a singular value decomposition does not converge"))?;
    let s = svd.S().column_vector().iter().copied().collect();
    Ok(Svd { u: svd.U().to_owned(), s, v: svd.V().to_owned() })
}

/// The singular values of `m` `[d, k]`, the largest first.
///
/// # Errors
/// As [`svd`].
pub fn singular_values(m: MatRef<'_, f64>) -> Result<Vec<f64>> {
    let values = m.singular_values();
    Ok(values.map_err(|_| Problem::new("a singular value decomposition does not converge"))?)
}

/// The numerical rank of a `[d, k]` matrix with these singular values: how many of them lie above the largest times
/// `max(d, k) · 2⁻²³`, the rule of the golden files.
pub fn rank(singular_values: &[f64], d: usize, k: usize) -> usize {
    let largest = singular_values.iter().copied().fold(0.0, f64::max);
    let smallest = largest * d.max(k) as f64 * 2f64.powi(-23);
    singular_values.iter().filter(|&&s| s > smallest).count()
}

/// The numerical rank of `m` `[d, k]`, as [`rank`] counts it. A decomposition is needed only where it may not be full.
///
/// # Errors
/// As [`svd`].
pub fn rank_of(m: MatRef<'_, f64>) -> Result<usize> {
    let (d, k) = m.shape();
    if d.min(k) > 0 && is_surely_full(m) {
        return Ok(d.min(k));
    }
    Ok(rank(&singular_values(m)?, d, k))
}

/// Whether no singular value is small for certain: `M Mᵀ - t² I` has a Cholesky factor, for a `t` that is at least the
/// bound of [`rank`]. Norms of `M Mᵀ` are at least its largest eigenvalue.
fn is_surely_full(m: MatRef<'_, f64>) -> bool {
    let (d, k) = m.shape();
    let mut gram = if d <= k { m * m.transpose() } else { m.transpose() * m };
    let row_sum = |i: usize| gram.row(i).iter().map(|value| value.abs()).sum::<f64>();
    let largest = (0..gram.nrows()).map(row_sum).fold(0.0, f64::max).min(gram.norm_l2());
    let bound = largest * (d.max(k) as f64 * 2f64.powi(-23)).powi(2);
    gram.diagonal_mut().column_vector_mut().iter_mut().for_each(|value| *value -= bound);
    gram.llt(faer::Side::Lower).is_ok()
}

/// The cosines of the principal angles between the spans of two orthonormal bases `[d, r1]` and `[d, r2]`, the
/// largest (the smallest angle) first.
///
/// # Errors
/// As [`svd`].
pub fn principal_cosines(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Result<Vec<f64>> {
    if a.ncols() == 0 || b.ncols() == 0 {
        return Ok(Vec::new());
    }
    let product = a.transpose() * b;
    Ok(singular_values(product.as_ref())?.into_iter().map(|cosine| cosine.min(1.0)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gaussian enough: sums of hashed indices.
    fn some(d: usize, r: usize, seed: u64) -> Matrix {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        Mat::from_fn(d, r, |_, _| next() + next() + next())
    }

    fn unit_error(q: &Matrix) -> f64 {
        let gram = q.transpose() * q;
        (gram - Mat::<f64>::identity(q.ncols(), q.ncols())).norm_max()
    }

    #[test]
    fn a_basis_of_128_columns_is_orthonormal_in_float32() {
        let basis = orthonormal(some(1280, 128, 7).as_ref());
        assert!(basis.dropped.is_empty());
        let rounded = tensor(basis.q.as_ref(), &[1280, 128], &Device::Cpu).expect("a tensor");
        let error = unit_error(&matrix(&rounded).expect("a matrix"));
        assert!(error < 1e-6, "{error}");
    }

    #[test]
    fn nearly_dependent_columns_still_give_an_orthonormal_basis() {
        let mut b = some(64, 16, 3);
        for j in 1..16 {
            let near = b.col(0) + b.col(j) * faer::Scale(1e-5);
            b.col_mut(j).copy_from(near);
        }
        let basis = orthonormal(b.as_ref());
        assert_eq!(basis.q.ncols(), 16);
        assert!(unit_error(&basis.q) < 1e-12);
    }

    #[test]
    fn zero_and_repeated_columns_give_no_direction_and_are_told() {
        let mut b = some(32, 5, 5);
        b.col_mut(1).fill(0.0);
        let twice = b.col(0) * faer::Scale(-2.0);
        b.col_mut(3).copy_from(twice);
        let basis = orthonormal(b.as_ref());
        assert_eq!(basis.dropped, [1, 3]);
        assert_eq!(basis.q.ncols(), 3);
        assert!(orthonormal(Mat::zeros(8, 3).as_ref()).q.ncols() == 0);
    }

    #[test]
    fn no_basis_has_more_directions_than_the_space() {
        let basis = orthonormal(some(4, 7, 2).as_ref());
        assert_eq!(basis.q.ncols(), 4);
        assert_eq!(basis.dropped, [4, 5, 6]);
    }

    #[test]
    fn what_lies_beyond_a_span_is_orthogonal_to_it() {
        let first = orthonormal(some(40, 6, 1).as_ref()).q;
        let mut second = some(40, 4, 9);
        let shared = first.col(2).to_owned();
        second.col_mut(1).copy_from(shared);
        let more = beyond(first.as_ref(), second.as_ref());
        assert_eq!(more.dropped, [1]);
        assert!((first.transpose() * &more.q).norm_max() < 1e-14);
    }

    #[test]
    fn equal_spans_have_angle_zero_and_orthogonal_ones_a_right_angle() {
        let q = orthonormal(some(20, 6, 4).as_ref()).q;
        let cosines = principal_cosines(q.subcols(0, 3), q.subcols(0, 3)).expect("they converge");
        assert!(cosines.iter().all(|cosine| (cosine - 1.0).abs() < 1e-12));
        let cosines = principal_cosines(q.subcols(0, 3), q.subcols(3, 3)).expect("they converge");
        assert!(cosines.iter().all(|cosine| cosine.abs() < 1e-12));
    }

    #[test]
    fn a_rank_is_the_same_with_and_without_a_decomposition() {
        let cases =
            [(30, 12, 12, 1.0), (12, 30, 12, 1.0), (20, 20, 7, 1.0), (20, 20, 20, 1e-7), (9, 4, 4, 0.0)];
        for (d, k, inner, scale) in cases {
            // One direction is as good as nothing where the scale is small.
            let left = some(d, inner, 1);
            let scaled = Mat::from_fn(d, inner, |i, j| left[(i, j)] * if j == 0 { scale } else { 1.0 });
            let m = scaled * some(inner, k, 2);
            let counted = rank(&singular_values(m.as_ref()).unwrap(), d, k);
            assert_eq!(rank_of(m.as_ref()).unwrap(), counted, "{d} {k} {inner} {scale}");
        }
        assert!(is_surely_full(some(40, 25, 3).as_ref()) && !is_surely_full(Mat::zeros(4, 4).as_ref()));
    }

    proptest! {
        #[test]
        fn a_decomposition_multiplies_out(d in 1usize..24, k in 1usize..24, seed in 0u64..1000) {
            let m = some(d, k, seed);
            let svd = svd(m.as_ref()).expect("it converges");
            let scaled = Mat::from_fn(d, svd.s.len(), |i, j| svd.u[(i, j)] * svd.s[j]);
            prop_assert!((scaled * svd.v.transpose() - m).norm_max() < 1e-12);
            prop_assert!(svd.s.is_sorted_by(|a, b| a >= b));
            prop_assert_eq!(rank(&svd.s, d, k), d.min(k));
        }
    }
}
