//! Full fine-tuning: `W' = W + scale · D`, with a stored difference `D`, or with the weights of another checkpoint.
//!
//! It is the one method that changes biases and norms too. DreamBooth's checkpoints are applied so.

use candle_core::Tensor;
use flow_engine::Result;

use super::method::{Method, Of, Piece, Pieces, expect_shape};

/// See the module.
#[derive(Debug)]
pub struct Full;

/// What a tensor of another checkpoint is called here, behind its own name.
pub(super) const TUNED_END: &str = ".tuned";

const TUNED: &str = "tuned";
const DIFFERENCES: [&str; 2] = ["difference", "difference of a bias"];

impl Method for Full {
    fn name(&self) -> &'static str {
        "full"
    }

    fn pieces(&self) -> &'static [Piece] {
        const PIECES: [Piece; 3] = [
            Piece::mark(DIFFERENCES[0], &[".diff", ".w_norm"]),
            Piece::mark(DIFFERENCES[1], &[".diff_b", ".b_norm"]).about(Of::Bias),
            Piece::mark(TUNED, &[TUNED_END]).about(Of::Tensor),
        ];
        &PIECES
    }

    fn check(&self, pieces: &Pieces<'_>, shape: &[usize]) -> Result<(), String> {
        [TUNED, DIFFERENCES[0], DIFFERENCES[1]]
            .iter()
            .filter_map(|piece| Some((piece, pieces.shape(piece)?)))
            .try_for_each(|(piece, found)| expect_shape(piece, found, shape))
    }

    fn rank(&self, _pieces: &Pieces<'_>) -> Option<usize> {
        None
    }

    fn apply(&self, weight: Tensor, pieces: &Pieces<'_>, scale: f64) -> Result<Tensor> {
        let device = &weight.device().clone();
        let difference = match pieces.find(TUNED, device)? {
            Some(tuned) => (tuned - &weight)?,
            None => {
                let piece = DIFFERENCES.into_iter().find(|piece| pieces.has(piece)).unwrap_or(TUNED);
                pieces.get(piece, device)?
            }
        };
        Ok((weight + (difference * scale)?)?)
    }
}
