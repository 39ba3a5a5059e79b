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
use super::values::{contiguous_f32, with_all};

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
        let taking = TakeSpan::new(&wide, &basis, strength, gradient)?;
        wide.apply_op2(&basis, taking)?
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

/// Features as they lie: one place after the other, or pictures feature by feature.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Pictures; 1 for rows of features.
    pictures: usize,
    /// Places of a picture, or rows.
    places: usize,
    d: usize,
    r: usize,
    /// Whether a place's features lie side by side.
    in_rows: bool,
}

impl Sizes {
    /// Of features `[n, d]` or `[b, d, ..]`, and a basis `[d, r]`.
    fn of(h: &[usize], basis: &[usize]) -> Result<Self> {
        match (h, basis) {
            (&[places, d], &[_, r]) => Ok(Self { pictures: 1, places, d, r, in_rows: true }),
            (&[pictures, d, ref places @ ..], &[_, r]) => {
                Ok(Self { pictures, places: places.iter().product(), d, r, in_rows: false })
            }
            _ => candle_core::bail!("a basis {basis:?} in features {h:?}"),
        }
    }

    /// Each picture's part of numbers `[pictures, width, places]`, or all rows.
    fn parts(self, numbers: &[f32], width: usize) -> impl Iterator<Item = &[f32]> {
        numbers.chunks_exact((width * self.places).max(1)).take(self.pictures)
    }

    /// `width` numbers of each place as a matrix of places by numbers, and its transpose.
    fn views(self, part: &[f32], width: usize) -> [View<'_>; 2] {
        let (rows, columns) = match self.in_rows {
            true => (View::rows(part, width), View::transposed(part, width)),
            false => (View::transposed(part, self.places), View::rows(part, self.places)),
        };
        [rows, columns]
    }

    /// `Bᵀ h`: `[n, r]`, of pictures `[b, r, places]`.
    fn within(self, h: &[f32], q: &[f32]) -> Vec<f32> {
        let Self { pictures, places, d, r, in_rows } = self;
        let mut out = vec![0f32; pictures * places * r];
        let parts = self.parts(h, d).zip(out.chunks_exact_mut((r * places).max(1)));
        parts.for_each(|(h, out)| match in_rows {
            true => Product::of([places, r, d], View::rows(h, d), View::rows(q, r)).into(out, r),
            false => {
                Product::of([r, places, d], View::transposed(q, r), View::rows(h, places)).into(out, places);
            }
        });
        out
    }

    /// Adds a share of `B y` to features.
    fn add(self, share: f32, q: &[f32], y: &[f32], features: &mut [f32]) {
        let Self { places, d, r, in_rows, .. } = self;
        let parts = features.chunks_exact_mut((d * places).max(1)).zip(self.parts(y, r));
        parts.for_each(|(to, y)| match in_rows {
            true => {
                let product = Product::of([places, d, r], View::rows(y, r), View::transposed(q, r));
                product.adding(share).into(to, d);
            }
            false => {
                let product = Product::of([d, places, r], View::rows(q, r), View::rows(y, places));
                product.adding(share).into(to, places);
            }
        });
    }

    /// Adds a share of the sum over all places of `left rightᵀ` to a matrix of `widths`.
    fn add_moment(self, share: f32, (left, right): (&[f32], &[f32]), widths: [usize; 2], to: &mut [f32]) {
        for (left, right) in self.parts(left, widths[0]).zip(self.parts(right, widths[1])) {
            let ([_, left], [right, _]) = (self.views(left, widths[0]), self.views(right, widths[1]));
            Product::of([widths[0], widths[1], self.places], left, right).adding(share).into(to, widths[1]);
        }
    }
}

/// `h - t B Y`, with the gradients of the module's formula.
struct TakeSpan {
    /// `Y`: `[n, r]`, of pictures `[b, r, places]`.
    within: Vec<f32>,
    strength: f32,
    gradient: BasisGradient,
}

impl TakeSpan {
    /// For contiguous features and a contiguous basis.
    fn new(h: &Tensor, basis: &Tensor, strength: f64, gradient: BasisGradient) -> Result<Self> {
        let sizes = Sizes::of(h.dims(), basis.dims())?;
        let within = with_all([h, basis], |[h, q]| sizes.within(h, q))?;
        Ok(Self { within, strength: strength as f32, gradient })
    }

    /// The gradient of the basis, `[d, r]`; `z` is `Z`.
    fn toward_basis(&self, sizes: Sizes, [h, q, grad]: [&[f32]; 3], z: &[f32]) -> Vec<f32> {
        let (Sizes { d, r, .. }, y, share) = (sizes, self.within.as_slice(), -self.strength);
        let mut out = vec![0f32; d * r];
        sizes.add_moment(share, (grad, y), [d, r], &mut out);
        sizes.add_moment(share, (h, z), [d, r], &mut out);
        if self.gradient == BasisGradient::OfSpan {
            let mut both = vec![0f32; r * r];
            sizes.add_moment(1.0, (z, y), [r, r], &mut both);
            sizes.add_moment(1.0, (y, z), [r, r], &mut both);
            let product = Product::of([d, r, r], View::rows(q, r), View::rows(&both, r));
            product.adding(self.strength).into(&mut out, r);
        }
        out
    }
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
        let mut out = h.to_vec();
        Sizes::of(h_at.dims(), basis_at.dims())?.add(-self.strength, q, &self.within, &mut out);
        Ok((CpuStorage::F32(out), h_at.shape().clone()))
    }

    fn bwd(
        &self,
        h: &Tensor,
        basis: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (sizes, grad) = (Sizes::of(h.dims(), basis.dims())?, grad.contiguous()?);
        let wanted = [h, basis].map(Tensor::track_op);
        let (toward_h, toward_basis) = with_all([h, basis, &grad], |[h, q, grad]| {
            let z = sizes.within(grad, q);
            let toward_basis = wanted[1].then(|| self.toward_basis(sizes, [h, q, grad], &z));
            // The operation is its own transpose.
            let toward_h = wanted[0].then(|| {
                let mut out = grad.to_vec();
                sizes.add(-self.strength, q, &z, &mut out);
                out
            });
            (toward_h, toward_basis)
        })?;
        let tensor = |values: Option<Vec<f32>>, like: &Tensor| {
            values.map(|values| Tensor::from_vec(values, like.shape(), like.device())).transpose()
        };
        Ok((tensor(toward_h, h)?, tensor(toward_basis, basis)?))
    }
}
