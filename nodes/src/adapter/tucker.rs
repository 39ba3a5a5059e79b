//! The product of a core with a matrix on each side, as LyCORIS and LoCon keep kernels.
//!
//! Nothing here knows adapters.

use candle_core::Tensor;
use flow_engine::Result;

/// `Σ left[o, a] core[a, b, h, w] right[b, i]`: `left` `[c_out, r1]`, `core` `[r1, r2, h, w]`, `right` `[r2, c_in]`;
/// gives `[c_out, c_in, h, w]`.
pub(super) fn product(core: &Tensor, left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let (r1, r2, h, w) = core.dims4()?;
    let (c_out, c_in) = (left.dim(0)?, right.dim(1)?);
    let rows = left.matmul(&core.reshape((r1, r2 * h * w))?)?.reshape((c_out, r2, h * w))?;
    let kernel_first = rows.transpose(1, 2)?.contiguous()?.reshape((c_out * h * w, r2))?;
    let product = kernel_first.matmul(right)?.reshape((c_out, h * w, c_in))?;
    Ok(product.transpose(1, 2)?.contiguous()?.reshape((c_out, c_in, h, w))?)
}
