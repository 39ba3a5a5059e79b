//! Softmax and attention.

use candle_core::{D, DType, Tensor};
use flow_engine::Result;

use super::attend::Attend;
use super::{in_f32, is_f32_on_cpu, widens};

/// Scores held at once off the CPU, in elements (256 MiB in float32); longer attention goes through bands of queries.
pub(crate) const SCORES: usize = 64 << 20;

/// Softmax over the last axis, in float32 at least.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    in_f32(x, |x| {
        // The largest element only keeps exp from overflowing: it cancels, so no gradient goes through it.
        let exp = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
        Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?)
    })
}

/// Scaled dot product attention, `softmax(Q Kᵀ / sqrt(d) + mask) V`, of each head.
///
/// `q` `[b, tokens, heads * d]`, `k` and `v` `[b, tokens_k, heads * d]`, `mask` `[tokens, tokens_k]` added to the
/// scores (0 or -inf); gives `[b, tokens, heads * d]`.
///
/// # Errors
/// Features that the heads do not divide.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: Option<&Tensor>) -> Result<Tensor> {
    if widens(q) {
        let wide = |x: &Tensor| x.to_dtype(DType::F32);
        return Ok(attention(&wide(q)?, &wide(k)?, &wide(v)?, heads, mask)?.to_dtype(q.dtype())?);
    }
    let mask = mask.map(|mask| mask.to_dtype(q.dtype())?.contiguous()).transpose()?;
    if is_f32_on_cpu(q) {
        let [q, k, v] = [q.contiguous()?, k.contiguous()?, v.contiguous()?];
        return Ok(q.apply_op3(&k, &v, Attend { heads, mask })?);
    }
    composed(q, k, v, heads, mask.as_ref())
}

/// The same in candle's operations, some queries at a time where there are many.
fn composed(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: Option<&Tensor>) -> Result<Tensor> {
    let split = |x| split_heads(x, heads);
    let (q, k, v) = (split(q)?, split(k)?, split(v)?);
    let (b, heads, tokens, d) = q.dims4()?;
    let per_query = b * heads * k.dim(2)?;
    let q = (q * (d as f64).powf(-0.5))?.contiguous()?;
    let k_t = k.t()?.contiguous()?;

    let band = (SCORES / per_query.max(1)).clamp(1, tokens.max(1));
    if band >= tokens {
        return merge_heads(&attend(&q, &k_t, &v, mask)?);
    }
    let bands = (0..tokens).step_by(band).map(|start| {
        let rows = band.min(tokens - start);
        let mask = mask.map(|m| m.narrow(0, start, rows)).transpose()?;
        attend(&q.narrow(2, start, rows)?.contiguous()?, &k_t, &v, mask.as_ref())
    });
    merge_heads(&Tensor::cat(&bands.collect::<Result<Vec<_>>>()?, 2)?)
}

fn attend(q: &Tensor, k_t: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let scores = q.matmul(k_t)?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    Ok(softmax(&scores)?.matmul(v)?)
}

/// `[b, tokens, heads * d]` to `[b, heads, tokens, d]`.
fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, tokens, width) = x.dims3()?;
    Ok(x.reshape((b, tokens, heads, width / heads))?.transpose(1, 2)?.contiguous()?)
}

/// `[b, heads, tokens, d]` to `[b, tokens, heads * d]`.
fn merge_heads(x: &Tensor) -> Result<Tensor> {
    Ok(x.transpose(1, 2)?.contiguous()?.flatten_from(2)?)
}
