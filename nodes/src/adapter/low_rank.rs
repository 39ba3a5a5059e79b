//! Low-rank changes as two factors, in float64: what PaRas and LoRAs have in common once the base weight is known.
//!
//! `W' = W + up · down`. A PaRa is `up = -Q`, `down = Qᵀ W`: exact for the weight that it meets, and for no other.

use candle_core::Device;
use faer::{Mat, Scale};
use flow_engine::Result;

use super::basis::{self, Matrix, svd};
use super::lora;
use super::method::Pieces;

/// `up` `[d, r]` times `down` `[r, k]`.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `[d, r]`.
    pub up: Matrix,
    /// `[r, k]`.
    pub down: Matrix,
}

impl LowRank {
    /// Nothing, for a weight `[d, k]`.
    pub fn none(d: usize, k: usize) -> Self {
        Self { up: Mat::zeros(d, 0), down: Mat::zeros(0, k) }
    }

    /// What a LoRA adds at a scale, alpha included; none where it is no product of two factors (DoRA).
    ///
    /// # Errors
    /// Values that are no numbers.
    pub fn of_lora(pieces: &Pieces<'_>, scale: f64) -> Result<Option<Self>> {
        let Some((up, down)) = lora::factors(pieces, &Device::Cpu)? else { return Ok(None) };
        let up = basis::matrix(&up)? * Scale(scale);
        Ok(Some(Self { up, down: basis::matrix(&down.flatten_from(1)?)? }))
    }

    /// The rank, counted in columns.
    pub fn rank(&self) -> usize {
        self.up.ncols()
    }

    /// Both changes, one added to the other: exact.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (d, k) = (self.up.nrows(), self.down.ncols());
        let (r1, r) = (self.rank(), self.rank() + other.rank());
        let mut both = Self { up: Mat::zeros(d, r), down: Mat::zeros(r, k) };
        both.up.as_mut().subcols_mut(0, r1).copy_from(&self.up);
        both.up.as_mut().subcols_mut(r1, r - r1).copy_from(&other.up);
        both.down.as_mut().subrows_mut(0, r1).copy_from(&self.down);
        both.down.as_mut().subrows_mut(r1, r - r1).copy_from(&other.down);
        both
    }

    /// This change of `weight` `[d, k]`, and then the removal of the orthonormal `q` `[d, r]` from the result: exact.
    ///
    /// `(I - Q Qᵀ)(W + U D) - W = (U - Q Qᵀ U) D - Q (Qᵀ W)`.
    #[must_use]
    pub fn then_remove(&self, q: &Matrix, weight: &Matrix) -> Self {
        let kept = &self.up - q * (q.transpose() * &self.up);
        let removal = Self { up: q * Scale(-1.0), down: q.transpose() * weight };
        Self { up: kept, down: self.down.clone() }.and(&removal)
    }

    /// `‖up · down‖`, Frobenius, without forming the product.
    pub fn norm(&self) -> f64 {
        let (up, down) = (self.up.transpose() * &self.up, &self.down * self.down.transpose());
        let squared: f64 =
            (0..up.nrows()).map(|i| (0..up.ncols()).map(|j| up[(i, j)] * down[(j, i)]).sum::<f64>()).sum();
        squared.max(0.0).sqrt()
    }

    /// The nearest change of at most rank `r`, and the share of the norm that it misses. A change of smaller rank
    /// comes back with its own rank.
    ///
    /// # Errors
    /// As [`svd`].
    pub fn cut(&self, r: usize) -> Result<(Self, f64)> {
        let (left, right) =
            (basis::orthonormal(self.up.as_ref()).q, basis::orthonormal(self.down.transpose()).q);
        let core = (left.transpose() * &self.up) * (&self.down * &right);
        if core.nrows() == 0 || core.ncols() == 0 {
            return Ok((Self::none(self.up.nrows(), self.down.ncols()), 0.0));
        }
        let svd = svd(core.as_ref())?;
        let kept = r.min(basis::rank(&svd.s, core.nrows(), core.ncols()));
        let missed: f64 = svd.s.iter().skip(kept).map(|s| s * s).sum();
        let all: f64 = svd.s.iter().map(|s| s * s).sum();
        // The square root on either side keeps both factors of one size.
        let root = |m: &Matrix| Mat::from_fn(m.nrows(), kept, |i, j| m[(i, j)] * svd.s[j].sqrt());
        let (up, down) = (left * root(&svd.u), (right * root(&svd.v)).transpose().to_owned());
        Ok((Self { up, down }, if all > 0.0 { (missed / all).sqrt() } else { 0.0 }))
    }
}
