//! Group and layer normalization, always in float32 at least.

use anyhow::Context;
use candle_core::{D, DType, Tensor};
use flow_engine::Result;

use super::in_f32;

/// Normalization over groups of channels, known by its name in a checkpoint.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    /// Its diffusers name, without `.weight`.
    pub name: String,
    /// Scale `[c]`.
    pub weight: Tensor,
    /// Shift `[c]`.
    pub bias: Tensor,
    /// How many groups the channels fall into; divides `c`.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl GroupNorm {
    /// `x` `[b, c, ..]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        group_norm(x, &self.weight, &self.bias, self.groups, self.eps)
            .with_context(|| format!("in the group norm `{}`", self.name))
    }
}

/// Normalization over the features of each token, known by its name in a checkpoint.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// Its diffusers name, without `.weight`.
    pub name: String,
    /// Scale `[d]`.
    pub weight: Tensor,
    /// Shift `[d]`.
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// `x` `[.., d]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.eps)
            .with_context(|| format!("in the layer norm `{}`", self.name))
    }
}

/// Group normalization (Wu and He 2018, arXiv 1803.08494) of `x` `[b, c, ..]` with `weight` and `bias` `[c]`.
///
/// # Errors
/// `groups` that do not divide `c`.
pub fn group_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, groups: usize, eps: f64) -> Result<Tensor> {
    let (b, c) = (x.dim(0)?, x.dim(1)?);
    anyhow::ensure!(groups > 0 && c % groups == 0, "{groups} groups do not divide {c} channels");
    in_f32(x, |x| {
        let y = normalize(&x.reshape((b, groups, ()))?, eps)?.reshape((b, c, ()))?;
        let (scale, shift) = (weight.to_dtype(y.dtype())?, bias.to_dtype(y.dtype())?);
        let y = y.broadcast_mul(&scale.reshape((1, c, 1))?)?.broadcast_add(&shift.reshape((1, c, 1))?)?;
        Ok(y.reshape(x.shape())?)
    })
}

/// Layer normalization (Ba et al. 2016, arXiv 1607.06450) of `x` `[.., d]` with `weight` and `bias` `[d]`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    in_f32(x, |x| {
        let y = normalize(x, eps)?;
        Ok(y.broadcast_mul(&weight.to_dtype(y.dtype())?)?.broadcast_add(&bias.to_dtype(y.dtype())?)?)
    })
}

/// Mean 0 and variance 1 over the last axis; the variance is the biased one.
fn normalize(x: &Tensor, eps: f64) -> Result<Tensor> {
    debug_assert!(matches!(x.dtype(), DType::F32 | DType::F64));
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centered.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(centered.broadcast_div(&(variance + eps)?.sqrt()?)?)
}
