//! PaRa on what a layer gives: a span is taken out of its features, and the weight is never touched.
//!
//! `y = h - t B Bᵀ h` for orthonormal `B` `[d, r]` is what the weight `W - t B Bᵀ W` gives for `h = W x`, so no gradient
//! of a weight is needed. The gradient of `B` is that of the projection `B (BᵀB)⁻¹ Bᵀ`, of which only the span matters:
//!
//! ```text
//! Y = Bᵀ h,  Z = Bᵀ E,  M = E Yᵀ + h Zᵀ       E the gradient of y, columns one for each place
//! dL/dh = E - t B Z
//! dL/dB = -t (I - B Bᵀ) M                      B orthonormal
//! ```

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::conv::contiguous_f32;
use super::product::{Product, View};

/// Which gradient a basis gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BasisGradient {
    /// That of the span: what only turns the basis within it has none. Right where the basis is a parameter.
    OfSpan,
    /// That of the entries. Right where the basis comes of other parameters.
    OfEntries,
}

/// Takes the span of orthonormal columns out of features: `h` `[n, d]`, or pictures `[b, d, h, w]`; `basis` `[d, r]` on
/// the same device in float32; `strength` is `t`, 1 for all of it. Gives the shape of `h`.
///
/// # Errors
/// A basis of another width than the features.
pub fn take_span(
    h: &Tensor,
    basis: &Tensor,
    strength: f64,
    gradient: BasisGradient,
) -> flow_engine::Result<Tensor> {
    let (features, (d, _)) = (h.dim(1)?, basis.dims2()?);
    anyhow::ensure!(d == features, "a span of {d} features is taken out of {features}");
    let wide = h.to_dtype(DType::F32)?.contiguous()?;
    let op = TakeSpan { strength, gradient };
    let y = if h.device().is_cpu() {
        wide.apply_op2(&basis.contiguous()?, op)?
    } else {
        op.composed(&wide, basis)?
    };
    Ok(y.to_dtype(h.dtype())?)
}

#[derive(Clone, Copy)]
struct TakeSpan {
    strength: f64,
    gradient: BasisGradient,
}

impl TakeSpan {
    /// The same in candle's operations: `Y` is followed by `2Y - (BᵀB)Y`, which is `Y` for an orthonormal basis and has
    /// the projection's gradient (first order).
    fn composed(&self, h: &Tensor, basis: &Tensor) -> Result<Tensor> {
        let rows = places_in_rows(h)?; // [n, d]
        let y = rows.matmul(basis)?;
        let y = match self.gradient {
            BasisGradient::OfEntries => y,
            BasisGradient::OfSpan => ((&y * 2.0)? - y.matmul(&basis.t()?.contiguous()?.matmul(basis)?)?)?,
        };
        let taken = (y.matmul(&basis.t()?.contiguous()?)? * self.strength)?;
        h - back_to(&taken, h.shape())?
    }
}

/// Features `[n, d]` or `[b, d, ..]` as rows `[n, d]`, one for each place.
fn places_in_rows(h: &Tensor) -> Result<Tensor> {
    if h.rank() == 2 {
        Ok(h.clone())
    } else {
        h.flatten_from(2)?.transpose(1, 2)?.contiguous()?.flatten_to(1)
    }
}

/// The way back from [`places_in_rows`].
fn back_to(rows: &Tensor, shape: &Shape) -> Result<Tensor> {
    if shape.rank() == 2 {
        return Ok(rows.clone());
    }
    let (b, d) = (shape.dims()[0], shape.dims()[1]);
    rows.reshape((b, (), d))?.transpose(1, 2)?.contiguous()?.reshape(shape)
}

impl CustomOp2 for TakeSpan {
    fn name(&self) -> &'static str {
        "take-span"
    }

    fn cpu_fwd(
        &self,
        h: &CpuStorage,
        h_at: &Layout,
        basis: &CpuStorage,
        basis_at: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (h, q) = (contiguous_f32(h, h_at)?, contiguous_f32(basis, basis_at)?);
        let (d, r) = basis_at.shape().dims2()?;
        let mut out = h.to_vec();
        let share = -self.strength as f32;
        if h_at.shape().rank() == 2 {
            let n = h_at.dims()[0];
            let mut y = vec![0f32; n * r];
            Product::of([n, r, d], View::rows(h, d), View::rows(q, r)).into(&mut y, r);
            Product::of([n, d, r], View::rows(&y, r), View::transposed(q, r)).adding(share).into(&mut out, d);
        } else {
            let pixels: usize = h_at.dims()[2..].iter().product();
            let mut y = vec![0f32; r * pixels];
            let picture = (d * pixels).max(1);
            for (from, to) in h.chunks(picture).zip(out.chunks_mut(picture)) {
                let (basis, here) = (View::transposed(q, r), View::rows(from, pixels));
                Product::of([r, pixels, d], basis, here).into(&mut y, pixels);
                let (basis, there) = (View::rows(q, r), View::rows(&y, pixels));
                Product::of([d, pixels, r], basis, there).adding(share).into(to, pixels);
            }
        }
        Ok((CpuStorage::F32(out), h_at.shape().clone()))
    }

    fn bwd(
        &self,
        h: &Tensor,
        basis: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (grad, basis) = (grad.contiguous()?, basis.detach());
        // The operation is its own transpose.
        let toward_h = h.track_op().then(|| grad.apply_op2_no_bwd(&basis, self)).transpose()?;
        let m = moment(&h.detach(), &grad, &basis)?;
        let m = match self.gradient {
            BasisGradient::OfEntries => m,
            BasisGradient::OfSpan => (&m - basis.matmul(&basis.t()?.matmul(&m)?)?)?,
        };
        Ok((toward_h, Some((m * -self.strength)?)))
    }
}

/// `E Yᵀ + h Zᵀ` of the module's formula, `[d, r]`.
fn moment(h: &Tensor, grad: &Tensor, basis: &Tensor) -> Result<Tensor> {
    if h.rank() == 2 {
        let (y, z) = (h.matmul(basis)?, grad.matmul(basis)?);
        return grad.t()?.matmul(&y)? + h.t()?.matmul(&z)?;
    }
    let (h, grad) = (h.flatten_from(2)?, grad.flatten_from(2)?);
    let basis = basis.t()?.contiguous()?.broadcast_left(h.dim(0)?)?.contiguous()?; // [b, r, d]
    let (y, z) = (basis.matmul(&h)?, basis.matmul(&grad)?);
    (grad.matmul(&y.t()?)? + h.matmul(&z.t()?)?)?.sum(0)
}
