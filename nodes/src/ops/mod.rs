//! The arithmetic of the networks: the only place that multiplies matrices, convolves and normalizes.
//!
//! Models are written in these functions and in nothing of candle's own, so that making one of them faster changes
//! this room alone. Everything here passes gradients, which candle's fused softmax and layer norm silently do not.
//!
//! Half precision: on a CPU every product is taken in float32 (candle has no bf16 convolution there, and its bf16
//! product is slow), and the result is narrowed; norms and softmax are taken in float32 on every device.
//!
//! Nothing here knows a model, a file or a name in one, except that a layer carries the name it was loaded under.

mod activation;
mod adamw;
mod adapt;
mod attend;
mod attention;
mod bands;
mod conv;
mod decompose;
mod frozen;
mod lanes;
mod linear;
mod norm;
mod normalize;
mod place;
mod pool;
mod product;
mod project;
mod resize;
mod segments;
mod span;
mod values;
mod weight;

pub use activation::{geglu, gelu, quick_gelu, relu, silu};
pub use adamw::AdamWStep;
pub use adapt::{Adapt, Bare};
pub(crate) use attention::SCORES;
pub use attention::{attention, softmax};
pub use bands::{Rows, grow_conv, norm_silu_conv, rows_of, shrink_conv};
pub(crate) use conv::PATCHES;
pub use conv::{Conv2d, conv2d};
pub use decompose::{cayley, qr};
pub use linear::{Linear, embedding, linear};
pub use norm::{GroupNorm, GroupStatistics, LayerNorm, group_norm, layer_norm};
pub use pool::MaxPool;
pub use project::remove_span;
pub use resize::nearest;
pub use segments::Segments;
pub use span::{BasisGradient, take_span};
pub use weight::{Bytes, Weight};

use candle_core::{DType, Tensor};
use flow_engine::Result;

/// Multiplications below which a matrix product stays on one thread: about 0.2 ms of work, which is
/// what waking a second thread costs on a busy machine.
const PRODUCT_WORTH_THREADS: usize = 16 << 20;

/// Tells the matrix library which products are worth more than one thread; its own idea, a
/// thirtieth of ours, makes a small model on two cores slower than on one.
pub(crate) fn settle_threads() {
    gemm::set_threading_threshold(PRODUCT_WORTH_THREADS);
}

/// Whether products of `x` must be taken in float32: half types on a CPU.
fn widens(x: &Tensor) -> bool {
    x.device().is_cpu() && is_half(x)
}

/// Whether our own loops can take `x`.
fn is_f32_on_cpu(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

fn is_half(x: &Tensor) -> bool {
    matches!(x.dtype(), DType::F16 | DType::BF16)
}

/// `f(x)` computed in float32 for half types, in the type of `x`; the result has the type of `x`.
fn in_f32(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    if is_half(x) { Ok(f(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype())?) } else { f(x) }
}

#[cfg(test)]
mod tests;
