//! Half precision to float32, by the gigabyte.
//!
//! Nothing here knows files.

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use rayon::prelude::*;

/// How many halves are widened at a time: few enough to stay in the first cache.
const PIECE: usize = 1 << 13;

/// Little-endian float16, or bfloat16, in float32, in one pass on all cores; none if a value is no number.
pub(super) fn widen(bytes: &[u8], is_bfloat: bool) -> Option<Vec<f32>> {
    let mut wide = vec![0f32; bytes.len() / 2];
    let piece = |(bytes, wide): (&[u8], &mut [f32])| match is_bfloat {
        true => widen_all(bytes, wide, bf16::from_le_bytes, |halves, wide| halves.convert_to_f32_slice(wide)),
        false => widen_all(bytes, wide, f16::from_le_bytes, |halves, wide| halves.convert_to_f32_slice(wide)),
    };
    let all_numbers = bytes.par_chunks(2 * PIECE).zip(wide.par_chunks_mut(PIECE)).map(piece);
    all_numbers.reduce(|| true, |a, b| a & b).then_some(wide)
}

/// Widens some halves; tells whether all of them are numbers.
fn widen_all<H: Copy + Default>(
    bytes: &[u8],
    wide: &mut [f32],
    of_bytes: impl Fn([u8; 2]) -> H,
    convert: impl Fn(&[H], &mut [f32]),
) -> bool {
    let mut halves = [H::default(); 256];
    let mut finite = true;
    for (bytes, wide) in bytes.chunks(2 * halves.len()).zip(wide.chunks_mut(halves.len())) {
        let halves = &mut halves[..wide.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = of_bytes(*bytes);
        }
        convert(halves, wide);
        finite = wide.iter().fold(finite, |all, value| all & value.is_finite());
    }
    finite
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_the_float_that_it_is_and_what_is_no_number_is_none() {
        for is_bfloat in [false, true] {
            let float =
                |bits| if is_bfloat { bf16::from_bits(bits).to_f32() } else { f16::from_bits(bits).to_f32() };
            let finite: Vec<u16> = (0..=u16::MAX).filter(|&bits| float(bits).is_finite()).collect();
            let bytes: Vec<u8> = finite.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let wanted: Vec<u32> = finite.iter().map(|&bits| float(bits).to_bits()).collect();
            let found = widen(&bytes, is_bfloat).unwrap();
            assert_eq!(found.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), wanted);
            for bits in (0..=u16::MAX).filter(|&bits| !float(bits).is_finite()) {
                assert!(widen(&bits.to_le_bytes(), is_bfloat).is_none(), "{bits:#x}");
            }
        }
    }
}
