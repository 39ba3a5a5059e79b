//! Which types weights are stored in, and how large their numbers are.
//!
//! Nothing here knows files.

use candle_core::DType;
use half::f16;
use rayon::prelude::*;
use safetensors::tensor::Dtype;

/// Bytes that a thread looks through at a time.
const PIECE: usize = 1 << 20;

/// The largest magnitude among little-endian floats: without its sign, a float orders like its bits, and NaN and
/// infinity come last.
pub(super) fn largest(bytes: &[u8], dtype: DType) -> f32 {
    fn most<const N: usize>(bytes: &[u8], bits: impl Fn([u8; N]) -> u32 + Sync) -> u32 {
        let of = |bytes: &[u8]| bytes.as_chunks::<N>().0.iter().map(|&chunk| bits(chunk)).max().unwrap_or(0);
        bytes.par_chunks(PIECE).map(of).max().unwrap_or(0)
    }
    let half = |sixteen: [u8; 2]| u32::from(u16::from_le_bytes(sixteen) & 0x7fff);
    match dtype {
        DType::F16 => f16::from_bits(most(bytes, half) as u16).to_f32(),
        DType::BF16 => f32::from_bits(most(bytes, half) << 16),
        _ => f32::from_bits(most(bytes, |four| u32::from_le_bytes(four) & 0x7fff_ffff)),
    }
}

/// What weights may be.
pub(crate) const READ_TYPES: &str = "weights are read in F32, F16 and BF16";

/// What candle calls a type that weights are read in. Others may stand in a file, if nobody asks for them.
pub(super) fn weight_dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}
