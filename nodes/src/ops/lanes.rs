//! Loops over float32 numbers that the compiler turns into the widest instructions that the processor has.
//!
//! Everything here is inlined into [`wide`], which is compiled once for each kind of processor and chosen when the
//! program runs. Nothing here may call what the compiler cannot see into, such as the system's `exp`: one call makes a
//! loop ten times slower.

use rayon::prelude::*;

/// Numbers at which a loop is worth more than one thread.
const WORTH_THREADS: usize = 1 << 16;
/// Numbers that are summed side by side.
const LANES: usize = 32;
/// Numbers that are summed in float32 before they go to a sum in float64.
const BLOCK: usize = 4096;

/// Runs `work` with the widest instructions of this processor.
#[inline]
pub(super) fn wide<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// `each(i, part)` for all parts of `length` numbers of `to`, on all threads where there is enough to do.
pub(super) fn for_parts(to: &mut [f32], length: usize, each: impl Fn(usize, &mut [f32]) + Sync + Send) {
    let length = length.max(1);
    if to.len() < WORTH_THREADS {
        to.chunks_mut(length).enumerate().for_each(|(i, part)| each(i, part));
        return;
    }
    // So many together that a thread is not woken for little.
    let together = (WORTH_THREADS / 4).div_ceil(length);
    let all = to.par_chunks_mut(length * together).enumerate();
    all.for_each(|(i, parts)| {
        parts.chunks_mut(length).enumerate().for_each(|(j, part)| each(i * together + j, part));
    });
}

/// Calls with each item: on all threads, one item at a time, or in turn on this one.
pub(super) fn for_each<T: Send>(items: Vec<T>, threads: bool, each: impl Fn(T) + Sync + Send) {
    if threads {
        items.into_par_iter().with_max_len(1).for_each(each);
    } else {
        items.into_iter().for_each(each);
    }
}

/// `f(x)` of every number.
pub(super) fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync + Send + Copy) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    for_parts(&mut out, BLOCK, |i, to| {
        let from = &x[i * BLOCK..][..to.len()];
        wide(|| to.iter_mut().zip(from).for_each(|(to, &x)| *to = f(x)));
    });
    out
}

/// `f(x, y)` of every two numbers.
pub(super) fn map2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Sync + Send + Copy) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    for_parts(&mut out, BLOCK, |i, to| {
        let (x, y) = (&x[i * BLOCK..][..to.len()], &y[i * BLOCK..][..to.len()]);
        wide(|| to.iter_mut().zip(x).zip(y).for_each(|((to, &x), &y)| *to = f(x, y)));
    });
    out
}

/// The sum of `f(x, y)`, of float64's precision over the blocks and float32's within one.
#[inline(always)]
pub(super) fn total(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Copy) -> f64 {
    x.chunks(BLOCK).zip(y.chunks(BLOCK)).map(|(x, y)| f64::from(block_total(x, y, f))).sum()
}

#[inline(always)]
fn block_total(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(&x, &y)| f(x, y)).sum();
    for (x, y) in xs.zip(ys) {
        for ((sum, &x), &y) in sums.iter_mut().zip(x).zip(y) {
            *sum += f(x, y);
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// The largest number; -inf of none.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut most = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(f32::NEG_INFINITY, |a, &b| larger(a, b));
    for chunk in chunks {
        most.iter_mut().zip(chunk).for_each(|(most, &x)| *most = larger(*most, x));
    }
    most.iter().fold(rest, |a, &b| larger(a, b))
}

/// `e^x` to two units in the last place: 0 where that is below float32's normal numbers, inf where it is above.
///
/// `x = n ln 2 + r` with a whole `n` and `|r| <= ln 2 / 2`, where seven terms of the series are enough.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUNDS: f32 = 12_582_912.0;
    /// ln 2 in two parts; a whole number of up to 15 bits times the first is exact.
    const LN_2: (f32, f32) = (355.0 / 512.0, -2.121_944_4e-4);
    const SMALLEST: f32 = -87.336;
    const LARGEST: f32 = 88.722;
    let rounded = x * std::f32::consts::LOG2_E + ROUNDS;
    let n = rounded - ROUNDS;
    let r = (x - n * LN_2.0) - n * LN_2.1;
    let terms = 1.0 / 5040.0;
    let terms = terms * r + 1.0 / 720.0;
    let terms = terms * r + 1.0 / 120.0;
    let terms = terms * r + 1.0 / 24.0;
    let terms = terms * r + 1.0 / 6.0;
    let terms = terms * r + 0.5;
    let series = (terms * r * r + r) + 1.0;
    // 2^n in two halves: n = 128 is one more than an exponent holds.
    let n = rounded.to_bits() as i32 - ROUNDS.to_bits() as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let value = series * power(half) * power(n - half);
    let value = if x < SMALLEST { 0.0 } else { value };
    if x > LARGEST { f32::INFINITY } else { value }
}

/// The density `phi(x)` and the distribution `Phi(x)` of the normal distribution, to three units in the last place in
/// both tails.
///
/// `Phi(-u sqrt 2) = erfc(u) / 2`, and `erfc(u) = exp(-u²) p(t) / (1 + 2u)` with `t = (u - 2) / (u + 2)`, after Shepherd
/// and Laframboise 1981; the polynomial `p` was fitted to 50 digits of it for `u` up to 9.5, to 1e-8.
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    const P: [f32; 10] = [
        1.276_978_4,
        -0.092_763_95,
        -0.166_031_23,
        0.164_054_86,
        -0.054_206_73,
        -0.008_058_088,
        0.008_641_26,
        0.001_314_484_9,
        -0.001_241_959_2,
        -0.000_407_543_9,
    ];
    const DENSITY_AT_0: f32 = 0.398_942_3;
    let u = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let slope = 1.0 + 2.0 * u;
    let inverse = 1.0 / ((u + 2.0) * slope);
    let t = (u - 2.0) * slope * inverse;
    let p = P.iter().rev().fold(0.0, |sum, term| sum * t + term);
    let bell = exp(-0.5 * x * x);
    let tail = 0.5 * bell * p * (u + 2.0) * inverse;
    // Beyond, `inverse` is 0 and `t` no number, but the bell is 0 as well.
    let tail = if bell == 0.0 { 0.0 } else { tail };
    (DENSITY_AT_0 * bell, if x < 0.0 { tail } else { 1.0 - tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(from: f32, to: f32) -> impl Iterator<Item = f32> {
        (0..=40_000).map(move |i| from + (to - from) * i as f32 / 40_000.0)
    }

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        let mut worst = 0f64;
        for x in grid(-87.3, 88.7) {
            let right = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - right).abs() / right);
        }
        assert!(worst < 2.4e-7, "{worst}");
        for (x, y) in [(0.0, 1.0), (-1e30, 0.0), (f32::NEG_INFINITY, 0.0), (1e30, f32::INFINITY)] {
            assert_eq!(exp(x), y, "{x}");
        }
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    /// Both by Simpson's rule on the density in float64, which is exact to 1e-13 here.
    #[test]
    fn the_normal_distribution_is_right_in_both_tails() {
        let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        let step = 1.0 / 512.0;
        let mut below = 0.0; // Phi(-12) is 2e-33
        for i in 0..12_288_i32 {
            let x = -12.0 + f64::from(i) * step;
            below += step / 6.0 * (density(x) + 4.0 * density(x + step / 2.0) + density(x + step));
            let (at, tail) = (x + step, below);
            if at > -9.0 && i % 16 == 0 {
                let (left, right) = (normal(at as f32), normal(-at as f32));
                assert!((f64::from(left.1) / tail - 1.0).abs() < 3e-6, "{at}: {} for {tail}", left.1);
                assert!((f64::from(right.1) - (1.0 - tail)).abs() < 1.3e-7, "{at}: {}", right.1);
                assert!((f64::from(left.0) - density(at)).abs() < 1e-7, "{at}: {}", left.0);
            }
        }
        assert_eq!((normal(1e20).1, normal(-1e20).1), (1.0, 0.0));
        assert_eq!((normal(f32::INFINITY).1, normal(f32::NEG_INFINITY).1), (1.0, 0.0));
        assert!(normal(f32::NAN).1.is_nan());
    }

    #[test]
    fn sums_and_maxima_are_of_every_number() {
        let x: Vec<f32> = (0..9_973).map(|i| i as f32 - 4_000.0).collect();
        let sum: f64 = x.iter().map(|&x| f64::from(x)).sum();
        assert!((wide(|| total(&x, &x, |x, _| x)) - sum).abs() < 1.0, "of 10 million");
        assert_eq!(largest(&x), 5_972.0);
        assert_eq!(largest(&x[..7]), -3_994.0);
        assert_eq!(largest(&[]), f32::NEG_INFINITY);
    }

    #[test]
    fn every_part_is_visited_once_whatever_their_length() {
        for (length, part) in [(7, 3), (70_000, 3), (70_001, 17_000), (70_001, 100_000), (0, 0)] {
            let mut to = vec![0f32; length];
            for_parts(&mut to, part, |i, to| {
                to.iter_mut().enumerate().for_each(|(j, to)| *to += (i * part + j + 1) as f32);
            });
            assert!(to.iter().enumerate().all(|(i, &to)| to == (i + 1) as f32), "{length} by {part}");
        }
    }
}
