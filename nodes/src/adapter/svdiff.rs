//! SVDiff (arXiv 2303.11305): `W' = U relu(σ + scale · δ) Vᵀ`, a shift of the singular values.
//!
//! `δ` `[min(d, k)]` goes with the singular values in descending order; a kernel is a matrix `[c_out, c_in · kh · kw]`.

use candle_core::{Device, Tensor};
use flow_engine::Result;

use super::basis::{self, svd};
use super::method::{Method, Piece, Pieces, columns, expect_shape};

/// See the module.
#[derive(Debug)]
pub struct SvDiff;

const SHIFT: &str = "delta";

impl Method for SvDiff {
    fn name(&self) -> &'static str {
        "SVDiff"
    }

    fn pieces(&self) -> &'static [Piece] {
        const PIECES: [Piece; 1] = [Piece::mark(SHIFT, &[".svdiff_delta"])];
        &PIECES
    }

    fn check(&self, pieces: &Pieces<'_>, shape: &[usize]) -> Result<(), String> {
        expect_shape(SHIFT, pieces.needed(SHIFT)?, &[shape[0].min(columns(shape))])
    }

    fn rank(&self, _pieces: &Pieces<'_>) -> Option<usize> {
        None
    }

    fn apply(&self, weight: Tensor, pieces: &Pieces<'_>, scale: f64) -> Result<Tensor> {
        let shift = basis::matrix(&pieces.get(SHIFT, &Device::Cpu)?)?;
        let svd = svd(basis::matrix(&weight)?.as_ref())?;
        // Only the change goes through float32 factors, so that the weight keeps its own digits.
        let change: Vec<f64> =
            svd.s.iter().enumerate().map(|(i, s)| (s + scale * shift[(i, 0)]).max(0.0) - s).collect();
        let scaled = faer::Mat::from_fn(svd.u.nrows(), svd.u.ncols(), |i, j| svd.u[(i, j)] * change[j]);
        let change = scaled * svd.v.transpose();
        let change = basis::tensor(change.as_ref(), weight.dims(), weight.device())?;
        Ok((weight + change)?)
    }
}
