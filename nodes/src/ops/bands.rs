//! Convolutions of large pictures, band by band.
//!
//! A norm, an activation and a convolution in a row, each taken whole, need several times the memory of the picture.
//! Here the output is made in bands of rows: the rows that a band reads, a few more than it has, are normalized and
//! activated when they are wanted, and forgotten. The statistics of a norm are the whole picture's, found in a pass of
//! their own, so that the bands fit together and the result is that of the whole.
//!
//! Small pictures are taken whole, and so is what a gradient must pass through.

use std::ops::Range;

use anyhow::Context;
use candle_core::Tensor;
use flow_engine::Result;

use super::conv::{PATCHES, conv2d_rows};
use super::{Conv2d, GroupNorm, nearest, silu};

/// Rows of a picture, `[b, c, rows, w]`, made when they are asked for.
pub type Rows<'a> = dyn Fn(Range<usize>) -> Result<Tensor> + 'a;

/// `conv(silu(norm(x)))`, and `add` added to it: `x` `[b, c_in, h, w]` to `[b, c_out, h', w']`.
///
/// # Errors
/// Channels that do not match.
pub fn norm_silu_conv(norm: &GroupNorm, conv: &Conv2d, x: &Tensor, add: Option<&Rows<'_>>) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let Some(height) = band_height(conv, x, (h, w)) else {
        let y = conv.forward(&silu(&norm.forward(x)?)?)?;
        return match add {
            Some(add) => Ok((add(0..y.dim(2)?)? + y)?),
            None => Ok(y),
        };
    };
    let statistics = norm.statistics(x)?;
    let read = |rows| silu(&norm.apply(&rows_of(x, rows)?, &statistics)?);
    in_bands(conv, (h, w), height, &read, add)
}

/// `conv` of a picture twice as high and wide: `x` `[b, c_in, h, w]` to `[b, c_out, 2 h, 2 w]` where `conv` keeps sizes.
pub fn grow_conv(conv: &Conv2d, x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let Some(height) = band_height(conv, x, (2 * h, 2 * w)) else {
        return conv.forward(&nearest(x, 2 * h, 2 * w)?);
    };
    let read = |rows: Range<usize>| {
        let from = rows.start / 2..rows.end.div_ceil(2);
        let grown = nearest(&rows_of(x, from.clone())?, 2 * from.len(), 2 * w)?;
        rows_of(&grown, rows.start - 2 * from.start..rows.end - 2 * from.start)
    };
    in_bands(conv, (2 * h, 2 * w), height, &read, None)
}

/// `conv` of a picture with one more row below and one more column to the right, of zeros.
pub fn shrink_conv(conv: &Conv2d, x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let read = |rows: Range<usize>| {
        let below = usize::from(rows.end > h);
        let rows = rows_of(x, rows.start..rows.end - below)?;
        Ok(rows.pad_with_zeros(2, 0, below)?.pad_with_zeros(3, 0, 1)?)
    };
    match band_height(conv, x, (h + 1, w + 1)) {
        Some(height) => in_bands(conv, (h + 1, w + 1), height, &read, None),
        None => conv.forward(&read(0..h + 1)?),
    }
}

/// Some rows of `x` `[b, c, h, w]`.
pub fn rows_of(x: &Tensor, rows: Range<usize>) -> Result<Tensor> {
    if rows == (0..x.dim(2)?) {
        return Ok(x.clone());
    }
    Ok(x.narrow(2, rows.start, rows.len())?.contiguous()?)
}

/// Output rows of a band, if a picture of this size must be taken in bands.
fn band_height(conv: &Conv2d, x: &Tensor, (h, w): (usize, usize)) -> Option<usize> {
    let tracked = |x: &Tensor| x.track_op();
    if conv.adapt.is_some() || tracked(x) || conv.weight.track_op() || conv.bias.as_ref().is_some_and(tracked)
    {
        return None;
    }
    let (kernel, [b, c, ..]) = (conv.kernel(), x.dims()) else { return None };
    let per_row = (b * c * kernel * kernel * conv.length(w)?).max(1);
    let height = (PATCHES / per_row).max(1);
    (height < conv.length(h)?).then_some(height)
}

/// A convolution of a picture `h` by `w` of which `read` gives rows, `height` output rows at a time.
fn in_bands(
    conv: &Conv2d,
    (h, w): (usize, usize),
    height: usize,
    read: &Rows<'_>,
    add: Option<&Rows<'_>>,
) -> Result<Tensor> {
    let too_small = || format!("a {h} x {w} picture is smaller than the kernel of `{}`", conv.name);
    let out_h = conv.length(h).with_context(too_small)?;
    let mut out: Option<Tensor> = None;
    for start in (0..out_h).step_by(height) {
        let rows = start..out_h.min(start + height);
        let from = conv.reads(rows.clone(), h);
        // The first of the rows read is the first that the kernel could reach, or the picture's first.
        let skipped = from.start.div_ceil(conv.stride);
        let band = conv2d_rows(conv, &read(from)?, rows.start - skipped..rows.end - skipped)?;
        let band = match add {
            Some(add) => (add(rows)? + band)?,
            None => band,
        };
        let whole = match out.take() {
            Some(whole) => whole,
            None => {
                let (b, c, _, w) = band.dims4()?;
                Tensor::zeros((b, c, out_h, w), band.dtype(), band.device())?
            }
        };
        whole.slice_set(&band.contiguous()?, 2, start)?;
        out = Some(whole);
    }
    out.with_context(too_small)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::tests::scattered;
    use super::*;

    fn conv(c_in: usize, c_out: usize, kernel: usize, stride: usize, padding: usize) -> Conv2d {
        let weight = scattered(&[c_out, c_in, kernel, kernel], 1);
        Conv2d {
            name: "conv".into(),
            weight: weight.into(),
            bias: Some(scattered(&[c_out], 2)),
            stride,
            padding,
            adapt: None,
        }
    }

    #[track_caller]
    fn same(bands: &Tensor, whole: &Tensor) {
        assert_eq!(bands.dims(), whole.dims());
        let off = (bands - whole).unwrap().abs().unwrap().max_all().unwrap().to_dtype(DType::F32).unwrap();
        // Halves of up to 4 are rounded to 2⁻⁹, which sums of another order may tip.
        let allowed = if whole.dtype() == DType::F16 { 4e-3 } else { 1e-5 };
        assert!(off.to_scalar::<f32>().unwrap() < allowed, "{off}");
    }

    /// In float64 the convolution is candle's own, as it is on every device but a CPU.
    #[test]
    fn bands_of_any_height_fit_together() {
        for dtype in [DType::F32, DType::F64, DType::F16] {
            let to = |x: &Tensor| x.to_dtype(dtype).unwrap();
            let x = to(&scattered(&[2, 3, 13, 7], 0));
            for (kernel, stride, padding) in
                [(3, 1, 1), (3, 2, 0), (3, 2, 1), (1, 1, 0), (1, 2, 0), (5, 1, 2), (4, 3, 1)]
            {
                let conv = conv(3, 4, kernel, stride, padding);
                let conv = Conv2d {
                    weight: to(&conv.weight.tensor().unwrap()).into(),
                    bias: conv.bias.as_ref().map(to),
                    ..conv
                };
                let whole = conv.forward(&x).unwrap();
                for height in 1..=whole.dim(2).unwrap() {
                    let bands = in_bands(&conv, (13, 7), height, &|rows| rows_of(&x, rows), None).unwrap();
                    same(&bands, &whole);
                }
            }
        }
    }

    #[test]
    fn a_norm_in_bands_has_the_statistics_of_the_whole_picture() {
        let norm = GroupNorm {
            name: "norm".into(),
            weight: scattered(&[6], 3),
            bias: scattered(&[6], 4),
            groups: 3,
            eps: 1e-6,
        };
        let x = (scattered(&[2, 6, 9, 5], 0) * 3.0).unwrap();
        let conv = conv(6, 6, 3, 1, 1);
        let whole = (&x + norm_silu_conv(&norm, &conv, &x, None).unwrap()).unwrap();
        let statistics = norm.statistics(&x).unwrap();
        let read = |rows| silu(&norm.apply(&rows_of(&x, rows)?, &statistics)?);
        for height in [1, 2, 4, 9] {
            let bands = in_bands(&conv, (9, 5), height, &read, Some(&|rows| rows_of(&x, rows))).unwrap();
            same(&bands, &whole);
        }
    }

    #[test]
    fn pictures_too_large_for_one_band_are_the_same_as_with_a_gradient_whole() {
        let norm = GroupNorm {
            name: "norm".into(),
            weight: scattered(&[32], 3),
            bias: scattered(&[32], 4),
            groups: 8,
            eps: 1e-6,
        };
        let x = scattered(&[1, 32, 352, 360], 0);
        let whole = candle_core::Var::from_tensor(&x).unwrap();
        let (keep, shrink) = (conv(32, 2, 3, 1, 1), conv(32, 2, 3, 2, 0));
        assert!(
            band_height(&keep, &x, (352, 360)).is_some() && band_height(&keep, &whole, (352, 360)).is_none()
        );
        let add = |rows| rows_of(&x.narrow(1, 0, 2)?.contiguous()?, rows);
        let both = [&x, whole.as_tensor()].map(|x| norm_silu_conv(&norm, &keep, x, Some(&add)).unwrap());
        same(&both[0], &both[1]);
        let both = [&x, whole.as_tensor()].map(|x| grow_conv(&keep, x).unwrap());
        same(&both[0], &both[1]);
        let wide = Tensor::cat(&[&x, &x, &x, &x], 3).unwrap();
        assert!(band_height(&shrink, &wide, (353, 1441)).is_some());
        let padded = wide.pad_with_zeros(2, 0, 1).unwrap().pad_with_zeros(3, 0, 1).unwrap();
        same(&shrink_conv(&shrink, &wide).unwrap(), &shrink.forward(&padded).unwrap());
    }
}
