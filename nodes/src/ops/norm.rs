//! Group and layer normalization, always in float32 at least.

use anyhow::Context;
use candle_core::{D, DType, Tensor};
use flow_engine::Result;

use super::normalize::Normalize;
use super::{in_f32, is_f32_on_cpu};

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

    /// The statistics of a whole picture `x` `[b, c, h, w]`, with little memory of their own.
    ///
    /// # Errors
    /// Groups that do not divide `c`.
    pub fn statistics(&self, x: &Tensor) -> Result<GroupStatistics> {
        let (b, c, _, _) = x.dims4()?;
        let groups = self.groups;
        anyhow::ensure!(groups > 0 && c % groups == 0, "{groups} groups do not divide {c} channels");
        let each = (0..b).flat_map(|i| (0..groups).map(move |group| (i, group)));
        let each = each.map(|(i, group)| {
            let values = x.narrow(0, i, 1)?.narrow(1, group * (c / groups), c / groups)?;
            let wide = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            let Moments { mean, deviation, .. } =
                moments(&values.to_dtype(wide)?.reshape((1, ()))?, self.eps)?;
            Ok((mean, deviation))
        });
        let (means, deviations): (Vec<_>, Vec<_>) = each.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let per_channel = |of_groups: &[Tensor]| -> Result<Tensor> {
            let of_groups = Tensor::cat(of_groups, 0)?.reshape((b, groups, 1))?;
            Ok(of_groups.broadcast_as((b, groups, c / groups))?.reshape((b, c, 1, 1))?)
        };
        Ok(GroupStatistics { mean: per_channel(&means)?, deviation: per_channel(&deviations)? })
    }

    /// Some rows of a picture, `[b, c, rows, w]`, normalized with the statistics of the whole.
    pub fn apply(&self, rows: &Tensor, whole: &GroupStatistics) -> Result<Tensor> {
        in_f32(rows, |x| {
            let y = x.broadcast_sub(&whole.mean)?.broadcast_div(&whole.deviation)?;
            let per_channel = |x: &Tensor| x.to_dtype(y.dtype())?.reshape((1, x.elem_count(), 1, 1));
            Ok(y.broadcast_mul(&per_channel(&self.weight)?)?.broadcast_add(&per_channel(&self.bias)?)?)
        })
    }
}

/// Mean and standard deviation of each group of a picture, for each of its channels, `[b, c, 1, 1]`; float32 at least.
#[derive(Debug, Clone)]
pub struct GroupStatistics {
    mean: Tensor,
    deviation: Tensor,
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
        let (scale, shift) = (weight.to_dtype(x.dtype())?, bias.to_dtype(x.dtype())?);
        if is_f32_on_cpu(x) {
            let per_channel = x.elem_count() / (b * c).max(1);
            return fused(
                x,
                &scale,
                &shift,
                Normalize { row: per_channel * (c / groups), run: per_channel, eps },
            );
        }
        let y = normalize(&x.reshape((b, groups, ()))?, eps)?.reshape((b, c, ()))?;
        let y = y.broadcast_mul(&scale.reshape((1, c, 1))?)?.broadcast_add(&shift.reshape((1, c, 1))?)?;
        Ok(y.reshape(x.shape())?)
    })
}

/// Layer normalization (Ba et al. 2016, arXiv 1607.06450) of `x` `[.., d]` with `weight` and `bias` `[d]`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    in_f32(x, |x| {
        let (scale, shift) = (weight.to_dtype(x.dtype())?, bias.to_dtype(x.dtype())?);
        if is_f32_on_cpu(x) {
            return fused(x, &scale, &shift, Normalize { row: x.dim(D::Minus1)?, run: 1, eps });
        }
        Ok(normalize(x, eps)?.broadcast_mul(&scale)?.broadcast_add(&shift)?)
    })
}

fn fused(x: &Tensor, weight: &Tensor, bias: &Tensor, normalize: Normalize) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, normalize)?)
}

/// Mean 0 and variance 1 over the last axis; the variance is the biased one.
fn normalize(x: &Tensor, eps: f64) -> Result<Tensor> {
    let Moments { centered, deviation, .. } = moments(x, eps)?;
    Ok(centered.broadcast_div(&deviation)?)
}

/// What the last axis of a tensor is like.
struct Moments {
    mean: Tensor,
    /// The tensor without its mean.
    centered: Tensor,
    /// `sqrt(variance + eps)`.
    deviation: Tensor,
}

fn moments(x: &Tensor, eps: f64) -> Result<Moments> {
    debug_assert!(matches!(x.dtype(), DType::F32 | DType::F64));
    let mean = x.mean_keepdim(D::Minus1)?;
    let centered = x.broadcast_sub(&mean)?;
    let variance = centered.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(Moments { mean, centered, deviation: (variance + eps)?.sqrt()? })
}
