//! Activations, element by element.

use candle_core::{D, Tensor};
use flow_engine::Result;

use super::in_f32;

/// `max(x, 0)`.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    Ok(x.relu()?)
}

/// `x sigmoid(x)`.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    in_f32(x, |x| Ok(x.silu()?))
}

/// The exact `x Phi(x)` by the error function, as SDXL's second text encoder and GEGLU want it.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    in_f32(x, |x| Ok(x.gelu_erf()?))
}

/// OpenAI CLIP's approximation of [`gelu`]: `x sigmoid(1.702 x)`.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    const SLOPE: f64 = 1.702;
    in_f32(x, |x| Ok(((x * SLOPE)?.silu()? / SLOPE)?))
}

/// A gated activation: the last axis of `x` `[.., 2d]` holds values and then gates; gives `[.., d]`.
///
/// `values * gelu(gates)`, Shazeer 2020 (arXiv 2002.05202).
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let halves = x.chunk(2, D::Minus1)?;
    Ok((&halves[0] * gelu(&halves[1].contiguous()?)?)?)
}
