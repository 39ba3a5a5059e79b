//! PaRa (arXiv 2406.05641): personalization by taking directions out of a weight, `W' = W - Q Qᵀ W`.
//!
//! `Q` `[d, r]` is an orthonormal basis of the span of the stored columns, whatever their lengths; a kernel is a matrix
//! `[c_out, c_in · kh · kw]`, and the bias stays. It is a projection: twice is once, and there is no scale.

use candle_core::Tensor;
use flow_engine::Result;

use super::basis::{self, Basis};
use super::method::{Method, Piece, Pieces, columns};
use crate::ops::remove_span;

/// See the module.
#[derive(Debug)]
pub struct Para;

/// The columns that span what is removed: ours, the golden files', and PEFT's (its DEFT tuner with `para=True`).
pub(super) const SPAN: &str = "span";

impl Method for Para {
    fn name(&self) -> &'static str {
        "PaRa"
    }

    fn pieces(&self) -> &'static [Piece] {
        const PIECES: [Piece; 2] = [
            Piece::mark(SPAN, &[".para_q", ".para_B", ".deft_P", ".deft_P.weight"]),
            Piece::extra("deft_R", &[".deft_R", ".deft_R.weight"]),
        ];
        &PIECES
    }

    fn has_scale(&self) -> bool {
        false
    }

    fn check(&self, pieces: &Pieces<'_>, shape: &[usize]) -> Result<(), String> {
        if !is_projection(pieces) {
            return Err("it is DEFT with a second matrix, which is no PaRa (`para` is false)".into());
        }
        let found = pieces.needed(SPAN)?;
        let &[d, r] = found else { return Err(format!("its span is {found:?}, and [d, r] is wanted")) };
        if d != shape[0] {
            return Err(format!("its span has {d} rows, and the layer gives {} features", shape[0]));
        }
        let most = d.min(columns(shape));
        match r {
            0 => Err("its span has no column".into()),
            r if r > most => Err(format!("its span has {r} columns, and the layer's rank is at most {most}")),
            _ => Ok(()),
        }
    }

    fn rank(&self, pieces: &Pieces<'_>) -> Option<usize> {
        pieces.shape(SPAN).and_then(|shape| shape.last().copied())
    }

    fn apply(&self, weight: Tensor, pieces: &Pieces<'_>, _scale: f64) -> Result<Tensor> {
        let q = span(pieces)?.q;
        let q = basis::tensor(q.as_ref(), &[q.nrows(), q.ncols()], weight.device())?;
        remove_span(weight, &q)
    }
}

/// Whether the pieces are PaRa's; PEFT's of that name may be its DEFT, with a second matrix.
pub(super) fn is_projection(pieces: &Pieces<'_>) -> bool {
    !pieces.has("deft_R") && pieces.flag("para") != Some(false)
}

/// The orthonormal basis of what a layer's piece removes.
pub(crate) fn span(pieces: &Pieces<'_>) -> Result<Basis> {
    let b = pieces.get(SPAN, &candle_core::Device::Cpu)?;
    Ok(basis::orthonormal(basis::matrix(&b)?.as_ref()))
}
