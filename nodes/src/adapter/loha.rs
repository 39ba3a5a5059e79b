//! LoHa (arXiv 2108.06098, LyCORIS): `W' = W + scale · alpha / r · (A1 B1) ∘ (A2 B2)`, entry by entry.
//!
//! `A` `[d, r]`, `B` `[r, k]`; in the Tucker form of convolutions `A` is `[r, d]`, `B` is `[r, c_in]`, and a core
//! `[r, r, kh, kw]` stands between them.

use candle_core::Tensor;
use flow_engine::Result;

use super::method::{ALPHA, Method, Piece, Pieces, columns, expect_shape};
use super::tucker;

/// See the module.
#[derive(Debug)]
pub struct LoHa;

/// The pieces of the two factors: left, right, core.
const FACTORS: [[&str; 3]; 2] = [["w1_a", "w1_b", "t1"], ["w2_a", "w2_b", "t2"]];

impl Method for LoHa {
    fn name(&self) -> &'static str {
        "LoHa"
    }

    fn pieces(&self) -> &'static [Piece] {
        const PIECES: [Piece; 7] = [
            Piece::mark("w1_a", &[".hada_w1_a"]),
            Piece::mark("w1_b", &[".hada_w1_b"]),
            Piece::mark("w2_a", &[".hada_w2_a"]),
            Piece::mark("w2_b", &[".hada_w2_b"]),
            Piece::extra("t1", &[".hada_t1"]),
            Piece::extra("t2", &[".hada_t2"]),
            ALPHA,
        ];
        &PIECES
    }

    fn check(&self, pieces: &Pieces<'_>, shape: &[usize]) -> Result<(), String> {
        let r = self.rank(pieces).filter(|&r| r > 0).ok_or("it has no rank")?;
        for [left, right, core] in FACTORS {
            let (a, b) = (pieces.needed(left)?, pieces.needed(right)?);
            if let Some(found) = pieces.shape(core) {
                if shape.len() != 4 {
                    return Err(format!("it has the core `{core}`, and the layer is linear"));
                }
                expect_shape(core, found, &[r, r, shape[2], shape[3]])?;
                expect_shape(left, a, &[r, shape[0]])?;
                expect_shape(right, b, &[r, shape[1]])?;
            } else {
                expect_shape(left, a, &[shape[0], r])?;
                expect_shape(right, b, &[r, columns(shape)])?;
            }
        }
        Ok(())
    }

    fn rank(&self, pieces: &Pieces<'_>) -> Option<usize> {
        pieces.shape("w1_b").and_then(|shape| shape.first().copied())
    }

    fn apply(&self, weight: Tensor, pieces: &Pieces<'_>, scale: f64) -> Result<Tensor> {
        let r = self.rank(pieces).unwrap_or(1) as f64;
        let alpha = pieces.number(ALPHA.name)?.unwrap_or(r);
        let product = (factor(&weight, pieces, FACTORS[0])? * factor(&weight, pieces, FACTORS[1])?)?;
        Ok((weight + (product * (scale * alpha / r))?)?)
    }
}

/// One of the two factors, in the shape of `weight`.
fn factor(weight: &Tensor, pieces: &Pieces<'_>, [left, right, core]: [&str; 3]) -> Result<Tensor> {
    let device = weight.device();
    let (a, b) = (pieces.get(left, device)?, pieces.get(right, device)?);
    let product = match pieces.find(core, device)? {
        Some(core) => tucker::product(&core, &a.t()?.contiguous()?, &b)?,
        None => a.matmul(&b)?,
    };
    Ok(product.reshape(weight.shape())?)
}
