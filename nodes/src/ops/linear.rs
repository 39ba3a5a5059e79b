//! Linear layers and lookup tables.

use std::sync::Arc;

use anyhow::Context;
use candle_core::{D, DType, Tensor};
use flow_engine::Result;

use super::adapt::{Adapt, Bare};
use super::{Weight, frozen, widens};

/// A linear layer `x Wᵀ + b`, known by the name it has in a checkpoint.
///
/// An adapter changes `weight` and leaves `bias` alone.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Its diffusers name, without `.weight`.
    pub name: String,
    /// `[d_out, d_in]`.
    pub weight: Weight,
    /// `[d_out]`.
    pub bias: Option<Tensor>,
    /// An adapter that is being trained.
    pub adapt: Option<Arc<dyn Adapt>>,
}

impl Linear {
    /// `x` `[.., d_in]` to `[.., d_out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.adapted(x).with_context(|| format!("in the linear layer `{}`", self.name))
    }

    fn adapted(&self, x: &Tensor) -> Result<Tensor> {
        let Some(adapt) = &self.adapt else { return linear(x, &self.weight, self.bias.as_ref()) };
        let (lead, _) = x.dims().split_at(x.rank().saturating_sub(1));
        let rows = x.reshape(((), x.dim(D::Minus1)?))?;
        let y = adapt.forward(&Bare::linear(&rows, &self.weight))?;
        let bias = self.bias.as_ref().map(|bias| bias.to_dtype(y.dtype())).transpose()?;
        let y = add_bias(y, bias.as_ref())?;
        Ok(y.reshape([lead, &self.weight.dims()[..1]].concat())?)
    }
}

/// `x Wᵀ + b`: `x` `[.., d_in]`, `weight` `[d_out, d_in]`, `bias` `[d_out]`; gives `[.., d_out]`.
pub fn linear(x: &Tensor, weight: impl Into<Weight>, bias: Option<&Tensor>) -> Result<Tensor> {
    let weight = weight.into();
    if widens(x) {
        let bias = bias.map(|b| b.to_dtype(DType::F32)).transpose()?;
        let y = linear(&x.to_dtype(DType::F32)?, weight.widened()?, bias.as_ref())?;
        return Ok(y.to_dtype(x.dtype())?);
    }
    let &[d_out, d_in] = weight.dims() else { anyhow::bail!("its weight is {:?}", weight.dims()) };
    let (lead, last) = x.dims().split_at(x.rank().saturating_sub(1));
    anyhow::ensure!(last == [d_in], "it takes {d_in} features, but its input is {:?}", x.dims());

    let rows = x.reshape(((), d_in))?;
    let y = match bias {
        Some(bias) if frozen::is_frozen(x, &weight) && frozen::is_frozen_bias(x, bias) => {
            frozen::linear(&rows, &weight, Some(bias))?
        }
        _ if frozen::is_frozen_linear(x, &weight) => add_bias(frozen::linear(&rows, &weight, None)?, bias)?,
        _ => add_bias(rows.matmul(&weight.tensor()?.t()?)?, bias)?,
    };
    Ok(y.reshape([lead, &[d_out]].concat())?)
}

/// `y` `[n, d]` and `bias` `[d]`.
fn add_bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        None => Ok(y),
        Some(bias) if frozen::is_frozen_bias(&y, bias) => Ok(frozen::add_bias(&y, bias)?),
        Some(bias) => Ok(y.broadcast_add(bias)?),
    }
}

/// The rows of `table` `[rows, d]` that `ids` `[..]` (u32) name; gives `[.., d]`.
///
/// # Errors
/// An id that is not below `rows`.
pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let rows = table.index_select(&ids.flatten_all()?, 0)?;
    Ok(rows.reshape([ids.dims(), &[table.dim(1)?]].concat())?)
}
