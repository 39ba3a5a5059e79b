//! OFT (arXiv 2306.07280): a weight turned by a block-diagonal rotation.
//!
//! PEFT turns the input side, `W' = W blockdiag(R)ᵀ`, with the upper triangle of a skew matrix `S` per block, row by
//! row; `R = (I - S)(I + S)⁻¹`, or with `use_cayley_neumann` the series `I + 2S + 2S² + 2S³ + S⁴`, which goes near
//! `(I + S)(I - S)⁻¹`: the *inverse* rotation, so the file must say which it is. kohya turns the output side,
//! `W' = Rᵀ W` with `S = B - Bᵀ`, whose norm over all blocks is at most alpha · d, and `R = (I + S)(I - S)⁻¹`.
//!
//! Rotations keep the norms and angles of what they turn, and have no scale.

use candle_core::{DType, Device, Tensor};
use faer::Mat;
use faer::linalg::solvers::Solve;
use flow_engine::Result;

use super::basis::{self, Matrix};
use super::method::{ALPHA, Method, Piece, Pieces, columns};

/// See the module.
#[derive(Debug)]
pub struct Oft;

/// PEFT's pieces.
const INPUT: &str = "oft_R";
/// kohya's pieces.
const OUTPUT: &str = "oft_blocks";
/// Which of PEFT's two forms a file is of.
const NEUMANN: &str = "use_cayley_neumann";

impl Method for Oft {
    fn name(&self) -> &'static str {
        "OFT"
    }

    fn pieces(&self) -> &'static [Piece] {
        const PIECES: [Piece; 3] = [
            Piece::mark(INPUT, &[".oft_R.weight", ".oft_R.default.weight"]),
            Piece::mark(OUTPUT, &[".oft_blocks"]),
            ALPHA,
        ];
        &PIECES
    }

    fn has_scale(&self) -> bool {
        false
    }

    fn check(&self, pieces: &Pieces<'_>, shape: &[usize]) -> Result<(), String> {
        if let Some(found) = pieces.shape(OUTPUT) {
            let &[n, b, b2] = found else {
                return Err(format!("`{OUTPUT}` is {found:?}, and [n, b, b] is wanted"));
            };
            if b == b2 && n * b == shape[0] {
                return Ok(());
            }
            return Err(format!("`{OUTPUT}` is {found:?}, and its blocks do not make {} features", shape[0]));
        }
        let found = pieces.needed(INPUT)?;
        let &[n, entries] = found else { return Err(format!("`{INPUT}` is {found:?}")) };
        if pieces.flag(NEUMANN).is_none() {
            return Err(format!(
                "the file does not say `{NEUMANN}`, and its two forms turn in opposite directions; \
                 PEFT has it in `adapter_config.json`: load the folder that holds both files"
            ));
        }
        match block_size(entries) {
            Some(b) if n > 0 && columns(shape) == n * b => Ok(()),
            _ => Err(format!("`{INPUT}` is {found:?}, and its blocks do not make {} inputs", columns(shape))),
        }
    }

    fn rank(&self, _pieces: &Pieces<'_>) -> Option<usize> {
        None
    }

    fn apply(&self, weight: Tensor, pieces: &Pieces<'_>, _scale: f64) -> Result<Tensor> {
        let rotations = if pieces.has(OUTPUT) { of_output(&weight, pieces)? } else { of_input(pieces)? };
        let rotations = rotations.to_device(weight.device())?;
        let matrix = weight.flatten_from(1)?;
        let (d, k) = matrix.dims2()?;
        let (n, b, _) = rotations.dims3()?;
        let turned = if pieces.has(OUTPUT) {
            rotations.transpose(1, 2)?.contiguous()?.matmul(&matrix.reshape((n, b, k))?)?
        } else {
            let blocks = matrix.reshape((d, n, b))?.transpose(0, 1)?.contiguous()?;
            blocks.matmul(&rotations.transpose(1, 2)?.contiguous()?)?.transpose(0, 1)?.contiguous()?
        };
        Ok(turned.reshape(weight.shape())?)
    }
}

/// The side of a block whose skew matrix has so many entries above its diagonal.
fn block_size(entries: usize) -> Option<usize> {
    let b = (1 + 8 * entries).isqrt().div_ceil(2);
    (entries > 0 && b * (b - 1) / 2 == entries).then_some(b)
}

/// PEFT's rotations of the input side, `[n, b, b]`.
fn of_input(pieces: &Pieces<'_>) -> Result<Tensor> {
    let entries = basis::matrix(&pieces.get(INPUT, &Device::Cpu)?)?;
    let b = block_size(entries.ncols()).unwrap_or(1);
    let series = pieces.flag(NEUMANN) == Some(true);
    let rotations = (0..entries.nrows()).map(|i| {
        let mut upper = (0..entries.ncols()).map(|j| entries[(i, j)]);
        let mut s = Mat::<f64>::zeros(b, b);
        for row in 0..b {
            for column in row + 1..b {
                let entry = upper.next().unwrap_or_default();
                (s[(row, column)], s[(column, row)]) = (entry, -entry);
            }
        }
        if series { neumann(&s) } else { cayley(&(-&s)) }
    });
    stacked(rotations.collect(), b)
}

/// kohya's rotations of the output side, `[n, b, b]`.
fn of_output(weight: &Tensor, pieces: &Pieces<'_>) -> Result<Tensor> {
    let blocks = pieces.get(OUTPUT, &Device::Cpu)?.to_dtype(DType::F64)?;
    let mut skew = (&blocks - blocks.transpose(1, 2)?)?;
    if let Some(alpha) = pieces.number(ALPHA.name)? {
        let (norm, most) =
            (skew.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>()?, alpha * weight.dim(0)? as f64);
        if norm > most {
            skew = (skew * (most / norm))?;
        }
    }
    let b = skew.dim(1)?;
    let rotations = (0..skew.dim(0)?).map(|i| Ok(cayley(&basis::matrix(&skew.get(i)?)?)));
    stacked(rotations.collect::<Result<_>>()?, b)
}

/// `(I + S)(I - S)⁻¹`, a rotation for a skew `S` `[b, b]`; both factors commute.
fn cayley(s: &Matrix) -> Matrix {
    let one = Mat::<f64>::identity(s.nrows(), s.ncols());
    (&one - s).partial_piv_lu().solve(&one + s)
}

/// PEFT's five terms of the Neumann series of [`cayley`].
fn neumann(s: &Matrix) -> Matrix {
    let (two, one) = (faer::Scale(2.0), Mat::<f64>::identity(s.nrows(), s.ncols()));
    let s2 = s * s;
    let (s3, s4) = (&s2 * s, &s2 * &s2);
    one + s * two + s2 * two + s3 * two + s4
}

fn stacked(blocks: Vec<Matrix>, b: usize) -> Result<Tensor> {
    let blocks: Result<Vec<_>> =
        blocks.iter().map(|block| basis::tensor(block.as_ref(), &[b, b], &Device::Cpu)).collect();
    Ok(Tensor::stack(&blocks?, 0)?)
}
