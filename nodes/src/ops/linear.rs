//! Linear layers and lookup tables.

use anyhow::Context;
use candle_core::{DType, Tensor};
use flow_engine::Result;

use super::widens;

/// A linear layer `x Wᵀ + b`, known by the name it has in a checkpoint.
///
/// An adapter changes `weight` and leaves `bias` alone.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Its diffusers name, without `.weight`.
    pub name: String,
    /// `[d_out, d_in]`.
    pub weight: Tensor,
    /// `[d_out]`.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// `x` `[.., d_in]` to `[.., d_out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight, self.bias.as_ref())
            .with_context(|| format!("in the linear layer `{}`", self.name))
    }
}

/// `x Wᵀ + b`: `x` `[.., d_in]`, `weight` `[d_out, d_in]`, `bias` `[d_out]`; gives `[.., d_out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if widens(x) {
        let bias = bias.map(|b| b.to_dtype(DType::F32)).transpose()?;
        let y = linear(&x.to_dtype(DType::F32)?, &weight.to_dtype(DType::F32)?, bias.as_ref())?;
        return Ok(y.to_dtype(x.dtype())?);
    }
    let (d_out, d_in) = weight.dims2()?;
    let (lead, last) = x.dims().split_at(x.rank().saturating_sub(1));
    anyhow::ensure!(last == [d_in], "it takes {d_in} features, but its input is {:?}", x.dims());

    let rows = x.reshape(((), d_in))?;
    let y = rows.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    Ok(y.reshape([lead, &[d_out]].concat())?)
}

/// The rows of `table` `[rows, d]` that `ids` `[..]` (u32) name; gives `[.., d]`.
///
/// # Errors
/// An id that is not below `rows`.
pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let rows = table.index_select(&ids.flatten_all()?, 0)?;
    Ok(rows.reshape([ids.dims(), &[table.dim(1)?]].concat())?)
}
