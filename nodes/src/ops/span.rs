//! PaRa on what a layer gives: a span is taken out of its features, and the weight is never touched.
//!
//! `y = h - t B Bᵀ h` for orthonormal `B` `[d, r]` is what the weight `W - t B Bᵀ W` gives for `h = W x`, so no gradient
//! of a weight is needed. The gradient of `B` is that of the projection `B (BᵀB)⁻¹ Bᵀ`, of which only the span matters:
//!
//! ```text
//! Y = Bᵀ h,  Z = Bᵀ E,  M = E Yᵀ + h Zᵀ       E the gradient of y, columns one for each place
//! dL/dh = E - t B Z
//! dL/dB = -t (I - B Bᵀ) M = -t (M - B (Z Yᵀ + Y Zᵀ))       B orthonormal
//! ```
//!
//! `Y` is computed once for the way forward and back, `Z` once for both gradients.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::product::{Product, View};
use super::values::{contiguous_f32, with_values};

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
    let y = if h.device().is_cpu() {
        let basis = basis.contiguous()?;
        let within = within(&wide.detach(), &basis.detach())?;
        wide.apply_op2(&basis, TakeSpan { within, strength, gradient })?
    } else {
        composed(&wide, basis, strength, gradient)?
    };
    Ok(y.to_dtype(h.dtype())?)
}

/// The same in candle's operations: `Y` is followed by `2Y - (BᵀB)Y`, which is `Y` for an orthonormal basis and has the
/// projection's gradient (first order).
fn composed(h: &Tensor, basis: &Tensor, strength: f64, gradient: BasisGradient) -> Result<Tensor> {
    let rows = places_in_rows(h)?; // [n, d]
    let y = rows.matmul(basis)?;
    let y = match gradient {
        BasisGradient::OfEntries => y,
        BasisGradient::OfSpan => ((&y * 2.0)? - y.matmul(&basis.t()?.contiguous()?.matmul(basis)?)?)?,
    };
    let taken = (y.matmul(&basis.t()?.contiguous()?)? * strength)?;
    h - back_to(&taken, h.shape())?
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

/// `Bᵀ h`: `[n, r]`, of pictures `[b, r, h w]`.
fn within(h: &Tensor, basis: &Tensor) -> Result<Tensor> {
    if h.rank() == 2 {
        return h.matmul(basis);
    }
    let basis = basis.t()?.contiguous()?.broadcast_left(h.dim(0)?)?.contiguous()?; // [b, r, d]
    basis.matmul(&h.flatten_from(2)?)
}

/// The sum over all places of `left rightᵀ`, `[left's features, right's features]`.
fn moment(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    if left.rank() == 2 {
        return left.t()?.matmul(right);
    }
    left.flatten_from(2)?.matmul(&right.flatten_from(2)?.t()?)?.sum(0)
}

/// `h - t B Y`, with the gradients of the module's formula.
struct TakeSpan {
    /// `Y`: `[n, r]`, of pictures `[b, r, h w]`.
    within: Tensor,
    strength: f64,
    gradient: BasisGradient,
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
        with_values(&self.within, |y| {
            if h_at.shape().rank() == 2 {
                let basis = View::transposed(q, r);
                Product::of([h_at.dims()[0], d, r], View::rows(y, r), basis).adding(share).into(&mut out, d);
                return;
            }
            let places: usize = h_at.dims()[2..].iter().product();
            let pictures = out.chunks_mut((d * places).max(1));
            for (to, y) in pictures.zip(y.chunks((r * places).max(1))) {
                let (basis, y) = (View::rows(q, r), View::rows(y, places));
                Product::of([d, places, r], basis, y).adding(share).into(to, places);
            }
        })?;
        Ok((CpuStorage::F32(out), h_at.shape().clone()))
    }

    fn bwd(
        &self,
        h: &Tensor,
        basis: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (frozen, grad) = (basis.detach(), grad.contiguous()?);
        let z = within(&grad, &frozen)?;
        let toward_basis = basis.track_op().then(|| {
            let m = (moment(&grad, &self.within)? + moment(&h.detach(), &z)?)?;
            let m = match self.gradient {
                BasisGradient::OfEntries => m,
                BasisGradient::OfSpan => {
                    let half = moment(&z, &self.within)?;
                    (m - frozen.matmul(&(&half + half.t()?)?)?)?
                }
            };
            m * -self.strength
        });
        // The operation is its own transpose.
        let back = TakeSpan { within: z, ..*self };
        let toward_h = h.track_op().then(|| grad.apply_op2_no_bwd(&frozen, &back));
        Ok((toward_h.transpose()?, toward_basis.transpose()?))
    }
}
