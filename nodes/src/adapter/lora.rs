//! LoRA (arXiv 2106.09685) and LoCon: `W' = W + scale · alpha / r · up · down`.
//!
//! `down` `[r, k]` and `up` `[d, r]`; on a convolution `down` carries the kernel, or, with a middle convolution (the
//! Tucker form), `W' - W` is `up [d, r] · mid [r, r, kh, kw] · down [r, c_in]`. rsLoRA (arXiv 2312.03732) divides by √r.
//! With a magnitude (DoRA, arXiv 2402.09353), the changed weight is brought to the stored norms, and the scale leads
//! from the base weight to that one in a straight line. PEFT's norms are those of rows; LyCORIS' shape says of what.

use candle_core::{DType, Device, Tensor};
use flow_engine::Result;

use super::method::{ALPHA, Method, Piece, Pieces, columns, expect_shape};
use super::tucker;

/// See the module.
#[derive(Debug)]
pub struct Lora;

/// Names of the pieces.
pub(super) const DOWN: &str = "down";
pub(super) const UP: &str = "up";
const MID: &str = "mid";
const MAGNITUDE: &str = "magnitude";
const DORA_SCALE: &str = "dora_scale";

impl Method for Lora {
    fn name(&self) -> &'static str {
        "LoRA"
    }

    fn pieces(&self) -> &'static [Piece] {
        const PIECES: [Piece; 6] = [
            Piece::mark(
                DOWN,
                &[
                    ".lora_down.weight",
                    ".lora_A.weight",
                    ".lora.down.weight",
                    ".lora_linear_layer.down.weight",
                    "_lora.down.weight",
                    ".lora_A.default.weight",
                ],
            ),
            Piece::mark(
                UP,
                &[
                    ".lora_up.weight",
                    ".lora_B.weight",
                    ".lora.up.weight",
                    ".lora_linear_layer.up.weight",
                    "_lora.up.weight",
                    ".lora_B.default.weight",
                ],
            ),
            Piece::extra(MID, &[".lora_mid.weight"]),
            Piece::extra(MAGNITUDE, &[".lora_magnitude_vector", ".lora_magnitude_vector.weight"]),
            Piece::extra(DORA_SCALE, &[".dora_scale"]),
            ALPHA,
        ];
        &PIECES
    }

    fn check(&self, pieces: &Pieces<'_>, shape: &[usize]) -> Result<(), String> {
        let (down, up) = (pieces.needed(DOWN)?, pieces.needed(UP)?);
        let (&r, &d) = down.first().zip(up.first()).ok_or("`up` and `down` are no matrices")?;
        if r == 0 {
            return Err("its rank is 0".into());
        }
        if d != shape[0] {
            return Err(format!("`up` gives {d} features, and the layer gives {}", shape[0]));
        }
        let r_up = columns(up);
        if let Some(mid) = pieces.shape(MID) {
            if shape.len() != 4 {
                return Err("it has a middle convolution, and the layer is linear".into());
            }
            expect_shape(MID, mid, &[r_up, r, shape[2], shape[3]])?;
            return expect_shape(DOWN, down, &[r, shape[1], 1, 1]);
        }
        if r_up != r {
            return Err(format!("`up` has rank {r_up} and `down` has rank {r}"));
        }
        if columns(down) != columns(shape) {
            return Err(format!("`down` is {down:?}, which does not fit a weight {shape:?}"));
        }
        if let Some(magnitude) = pieces.shape(MAGNITUDE)
            && magnitude.iter().product::<usize>() != shape[0]
        {
            return Err(format!("its magnitude is {magnitude:?}, and the layer gives {} features", shape[0]));
        }
        match pieces.shape(DORA_SCALE) {
            Some(scale) if !fits(scale, shape) => {
                Err(format!("`dora_scale` is {scale:?}, which does not fit a weight {shape:?}"))
            }
            _ => Ok(()),
        }
    }

    fn rank(&self, pieces: &Pieces<'_>) -> Option<usize> {
        pieces.shape(DOWN).and_then(|shape| shape.first().copied())
    }

    fn apply(&self, weight: Tensor, pieces: &Pieces<'_>, scale: f64) -> Result<Tensor> {
        let device = &weight.device().clone();
        let rows = pieces.find(MAGNITUDE, device)?.map(|magnitude| magnitude.reshape((weight.dim(0)?, 1)));
        let norms =
            rows.transpose()?.map_or_else(|| pieces.find(DORA_SCALE, device), |rows| Ok(Some(rows)))?;
        let Some(norms) = norms else {
            let delta = delta(&weight, pieces, scale)?;
            return Ok((weight + delta)?);
        };
        let changed = brought_to(&(&weight + delta(&weight, pieces, 1.0)?)?, &norms)?;
        Ok((&weight + ((changed - &weight)? * scale)?)?)
    }
}

/// Whether LyCORIS' norms are those of a weight's rows, `[d, 1, ..]`, or of its columns, `[1, c_in, ..]`.
fn fits(norms: &[usize], shape: &[usize]) -> bool {
    let [rows, columns, rest @ ..] = norms else { return false };
    rest.iter().all(|&n| n == 1) && ((*rows, *columns) == (shape[0], 1) || (*rows, *columns) == (1, shape[1]))
}

/// `scale · alpha / r · up · down` in the shape of `weight`.
fn delta(weight: &Tensor, pieces: &Pieces<'_>, scale: f64) -> Result<Tensor> {
    let (up, down) = bare_factors(pieces, weight.device())?;
    Ok((up * scale)?.matmul(&down.flatten_from(1)?)?.reshape(weight.shape())?)
}

/// `up` `[d, r]`, alpha included, and `down` `[r, c_in, ..]`, whose product is what is added; none with a magnitude.
pub(super) fn factors(pieces: &Pieces<'_>, device: &Device) -> Result<Option<(Tensor, Tensor)>> {
    if pieces.has(MAGNITUDE) || pieces.has(DORA_SCALE) {
        return Ok(None);
    }
    bare_factors(pieces, device).map(Some)
}

/// The shape of the weight that a layer's pieces fit.
pub(super) fn weight_shape(pieces: &Pieces<'_>) -> Vec<usize> {
    let (down, up) = (pieces.shape(DOWN).unwrap_or_default(), pieces.shape(UP).unwrap_or_default());
    let kernel = pieces.shape(MID).and_then(|mid| mid.get(2..)).or(down.get(2..)).unwrap_or_default();
    [&up[..1.min(up.len())], &down[1.min(down.len())..2.min(down.len())], kernel].concat()
}

/// The two factors; a middle convolution goes into `down`.
fn bare_factors(pieces: &Pieces<'_>, device: &Device) -> Result<(Tensor, Tensor)> {
    let (down, up) = (pieces.get(DOWN, device)?, pieces.get(UP, device)?.flatten_from(1)?);
    let up = (up * factor(pieces)?)?;
    let down = match pieces.find(MID, device)? {
        Some(mid) => {
            tucker::product(&mid, &Tensor::eye(up.dim(1)?, DType::F32, device)?, &down.flatten_from(1)?)?
        }
        None => down,
    };
    Ok((up, down))
}

/// What the product of the factors is multiplied by.
pub(super) fn factor(pieces: &Pieces<'_>) -> Result<f64> {
    let r = Lora.rank(pieces).unwrap_or(1) as f64;
    let alpha = pieces.number(ALPHA.name)?.or_else(|| pieces.stated_alpha()).unwrap_or(r);
    let stabilized = pieces.flag("use_rslora") == Some(true);
    Ok(if stabilized { alpha / r.sqrt() } else { alpha / r })
}

/// `weight` `[d, c_in, ..]` with the norms of its rows, `[d, 1, ..]`, or of its columns, `[1, c_in, ..]`.
fn brought_to(weight: &Tensor, norms: &Tensor) -> Result<Tensor> {
    let rank = weight.rank();
    let kept = usize::from(norms.dim(0)? == 1 && weight.dim(0)? != 1);
    let others: Vec<usize> = (0..rank).filter(|&axis| axis != kept).collect();
    let found = weight.sqr()?.sum_keepdim(others)?.sqrt()?;
    let ratio = norms.reshape(found.shape())?.div(&found)?;
    Ok(weight.broadcast_mul(&ratio)?)
}

#[cfg(test)]
#[path = "lora_tests.rs"]
mod tests;
