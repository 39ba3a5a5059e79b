//! LoKr (LyCORIS, arXiv 2309.14859): `W' = W + scale · alpha / r · W1 ⊗ W2`, a Kronecker product.
//!
//! `W1` is whole or a product of two factors, and so is `W2`, which on convolutions carries the kernel and may have a
//! Tucker core. The rank is the one of `W1`'s factors, else that of `W2`'s; where both halves are whole there is no
//! rank, and alpha does not count. alpha / r counts once: LyCORIS' own merge counts it twice, its forward pass once.

use candle_core::{Device, Tensor};
use flow_engine::Result;

use super::method::{ALPHA, Method, Piece, Pieces};
use super::tucker;

/// See the module.
#[derive(Debug)]
pub struct LoKr;

impl Method for LoKr {
    fn name(&self) -> &'static str {
        "LoKr"
    }

    fn pieces(&self) -> &'static [Piece] {
        const PIECES: [Piece; 8] = [
            Piece::mark("w1", &[".lokr_w1"]),
            Piece::mark("w1_a", &[".lokr_w1_a"]),
            Piece::mark("w1_b", &[".lokr_w1_b"]),
            Piece::mark("w2", &[".lokr_w2"]),
            Piece::mark("w2_a", &[".lokr_w2_a"]),
            Piece::mark("w2_b", &[".lokr_w2_b"]),
            Piece::extra("t2", &[".lokr_t2"]),
            ALPHA,
        ];
        &PIECES
    }

    fn check(&self, pieces: &Pieces<'_>, shape: &[usize]) -> Result<(), String> {
        let (first, second) = (first_shape(pieces)?, second_shape(pieces, shape)?);
        let product = [first[0] * second[0], first[1] * second[1]];
        let places = |kernel: &[usize]| kernel.iter().product::<usize>();
        let kernel_fits = places(&second[2..]) == places(&shape[2..]);
        if product == shape[..2] && kernel_fits {
            return Ok(());
        }
        Err(format!("{first:?} ⊗ {second:?} does not give a weight {shape:?}"))
    }

    fn rank(&self, pieces: &Pieces<'_>) -> Option<usize> {
        let of_first = pieces.shape("w1_a").and_then(|shape| shape.get(1).copied());
        of_first.or_else(|| pieces.shape("w2_b").and_then(|shape| shape.first().copied()))
    }

    fn apply(&self, weight: Tensor, pieces: &Pieces<'_>, scale: f64) -> Result<Tensor> {
        let device = &weight.device().clone();
        let first = match pieces.find("w1", device)? {
            Some(whole) => whole,
            None => pieces.get("w1_a", device)?.matmul(&pieces.get("w1_b", device)?)?,
        };
        let second = second(pieces, device)?;
        let factor = match (self.rank(pieces), pieces.number(ALPHA.name)?) {
            (Some(r), Some(alpha)) => alpha / r as f64,
            _ => 1.0,
        };
        let product = kronecker(&first, &second.flatten_from(1)?)?;
        let change = (product.reshape(weight.shape())? * (scale * factor))?;
        Ok((weight + change)?)
    }
}

/// The shape of `W1`.
fn first_shape(pieces: &Pieces<'_>) -> Result<Vec<usize>, String> {
    match pieces.shape("w1") {
        Some(&[rows, columns]) => Ok(vec![rows, columns]),
        Some(other) => Err(format!("`w1` is {other:?}, and a matrix is wanted")),
        None => product_shape("w1_a", pieces.needed("w1_a")?, "w1_b", pieces.needed("w1_b")?),
    }
}

/// The shape of `W2`, with the kernel of a convolution behind it.
fn second_shape(pieces: &Pieces<'_>, shape: &[usize]) -> Result<Vec<usize>, String> {
    if let Some(whole) = pieces.shape("w2") {
        return if whole.len() >= 2 { Ok(whole.to_vec()) } else { Err(format!("`w2` is {whole:?}")) };
    }
    let (a, b) = (pieces.needed("w2_a")?, pieces.needed("w2_b")?);
    let Some(core) = pieces.shape("t2") else {
        let [rows, columns] = product_shape("w2_a", a, "w2_b", b)?[..] else {
            return Err("no matrix".into());
        };
        let kernel: usize = shape[2..].iter().product();
        if columns % kernel != 0 {
            return Err(format!("`w2_b` has {columns} columns, and the kernel has {kernel} places"));
        }
        return Ok(vec![rows, columns / kernel, kernel]);
    };
    match (core, a, b) {
        (&[r1, r2, h, w], &[ra, rows], &[rb, columns]) if r1 == ra && r2 == rb => {
            Ok(vec![rows, columns, h, w])
        }
        _ => Err(format!("`t2` {core:?} does not fit between `w2_a` {a:?} and `w2_b` {b:?}")),
    }
}

fn product_shape(left: &str, a: &[usize], right: &str, b: &[usize]) -> Result<Vec<usize>, String> {
    match (a, b) {
        (&[rows, r], &[r_b, columns]) if r == r_b && r > 0 => Ok(vec![rows, columns]),
        _ => Err(format!("`{left}` {a:?} and `{right}` {b:?} have no product")),
    }
}

/// `W2` `[rows, columns, ..]`.
fn second(pieces: &Pieces<'_>, device: &Device) -> Result<Tensor> {
    if let Some(whole) = pieces.find("w2", device)? {
        return Ok(whole);
    }
    let (a, b) = (pieces.get("w2_a", device)?, pieces.get("w2_b", device)?);
    match pieces.find("t2", device)? {
        Some(core) => tucker::product(&core, &a.t()?.contiguous()?, &b),
        None => Ok(a.matmul(&b)?),
    }
}

/// `first` `[p, q]` ⊗ `second` `[m, n]`, where a kernel may stand behind each column of `second`; gives `[p m, q n]`.
fn kronecker(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    let ((p, q), (m, n)) = (first.dims2()?, second.dims2()?);
    let product = first.reshape((p, 1, q, 1))?.broadcast_mul(&second.reshape((1, m, 1, n))?)?;
    Ok(product.reshape((p * m, q * n))?)
}
