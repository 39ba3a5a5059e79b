//! Numbers as vectors: sinusoids, and the small network behind them.

use candle_core::{DType, Tensor};
use flow_engine::Result;

use super::super::weights::Weights;
use crate::ops::{Linear, silu};

/// Sinusoids of `x` `[n]`: `[n, d]` in float32, whatever the network's type (half types cannot hold the frequencies).
///
/// `cos` and `sin` of `x 10000^(-i / (half - shift))` for `i` in `0..half`, the cosines first if `cosines_first`
/// (Vaswani et al. 2017, arXiv 1706.03762; diffusers' `get_timestep_embedding`, which computes in float32 too).
///
/// # Errors
/// An odd `d`.
pub fn sinusoids(x: &Tensor, d: usize, cosines_first: bool, shift: f64) -> Result<Tensor> {
    const LONGEST: f32 = 10_000.0;
    anyhow::ensure!(d.is_multiple_of(2), "sinusoids come in pairs, and {d} is odd");
    let half = d / 2;
    let exponent = |i: usize| -(LONGEST.ln()) * i as f32 / (half as f32 - shift as f32);
    let frequencies: Vec<f32> = (0..half).map(|i| exponent(i).exp()).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, half), x.device())?;
    let angles = x.to_dtype(DType::F32)?.unsqueeze(1)?.broadcast_mul(&frequencies)?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    Ok(if cosines_first { Tensor::cat(&[cos, sin], 1)? } else { Tensor::cat(&[sin, cos], 1)? })
}

/// Two linear layers with SiLU between them.
#[derive(Debug)]
pub(super) struct TimeEmbedding {
    first: Linear,
    second: Linear,
}

impl TimeEmbedding {
    pub(super) fn new(d_in: usize, d_out: usize, w: &Weights<'_>) -> Result<Self> {
        let (first, second) =
            (w.linear("linear_1", d_in, d_out, true)?, w.linear("linear_2", d_out, d_out, true)?);
        Ok(Self { first, second })
    }

    /// `[b, d_in]` to `[b, d_out]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.second.forward(&silu(&self.first.forward(x)?)?)
    }
}
