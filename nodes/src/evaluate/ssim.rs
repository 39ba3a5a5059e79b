//! Structural similarity of two pictures, and of all pairs of a set (Wang, Bovik, Sheikh and Simoncelli 2004, IEEE TIP 13).
//!
//! ```text
//! SSIM(x, y) = (2 μx μy + C1) (2 σxy + C2) / ((μx² + μy² + C1) (σx² + σy² + C2)),   C1 = 0.01², C2 = 0.03²
//! ```
//!
//! of colours from 0 to 1, with means and covariances in a window around each place; the mean over all places whose
//! window lies inside the picture, and over the three channels. From -1 to 1; 1 is the same picture. The less similar
//! the pictures of a set are, the more diverse it is.
//!
//! Two windows, as scikit-image has them: a Gaussian with σ = 1.5 on 11 by 11 pixels and the covariance of all, which
//! is the paper's, and 7 by 7 equal pixels with the covariance of a sample, which is what scikit-image does if it is told
//! nothing. Computed in float64.
//!
//! Means and variances belong to one picture, so a pair costs one covariance. Nothing here knows where pictures come from.

use flow_engine::{Problem, Result};
use image::RgbImage;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where means and covariances are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Window {
    /// 11 by 11 pixels, weighed by a Gaussian with σ = 1.5: that of Wang et al.
    #[default]
    Gaussian,
    /// 7 by 7 pixels, all alike, with the sample's covariance: scikit-image's default.
    Uniform,
}

const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;
const CHANNELS: usize = 3;
/// Most bytes that the pictures of one block take; two blocks are held at a time.
const BLOCK_BYTES: usize = 256 << 20;

impl Window {
    /// Its weights along one axis, which sum to 1.
    fn weights(self) -> Vec<f64> {
        match self {
            Self::Gaussian => {
                let weights: Vec<f64> =
                    (-5..=5).map(|x| (-0.5 * f64::from(x * x) / (1.5 * 1.5)).exp()).collect();
                let sum: f64 = weights.iter().sum();
                weights.iter().map(|weight| weight / sum).collect()
            }
            Self::Uniform => vec![1.0 / 7.0; 7],
        }
    }

    /// What makes the mean of squares around the mean a covariance.
    fn covariance_norm(self) -> f64 {
        match self {
            Self::Gaussian => 1.0,
            Self::Uniform => 49.0 / 48.0,
        }
    }

    /// The shortest side that holds one window.
    pub fn least_side(self) -> usize {
        match self {
            Self::Gaussian => 11,
            Self::Uniform => 7,
        }
    }
}

/// The similarity of two pictures of one size.
///
/// # Errors
/// Pictures of different sizes, or smaller than a window.
pub fn ssim(a: &RgbImage, b: &RgbImage, window: Window) -> Result<f64> {
    check(&[a, b], window)?;
    let filter = Filter::of(a, window);
    Ok(filter.similarity(&filter.prepared(a), &filter.prepared(b)))
}

/// Of each picture, the mean similarity to all others of its set. The mean of these is that over all pairs.
///
/// Memory does not grow with the number of pairs, and with that of pictures only by their own. `told` hears how many pairs
/// are done and may stop the work.
///
/// # Errors
/// One picture only, pictures of different sizes, pictures smaller than a window; what `told` says.
pub fn to_the_others(
    pictures: &[&RgbImage],
    window: Window,
    mut told: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<f64>> {
    if pictures.len() < 2 {
        let message = format!("{} picture has no pair; similarity within a set needs two", pictures.len());
        return Err(Problem::new(message).hint("sample more pictures, with `count`").into());
    }
    check(pictures, window)?;
    let filter = Filter::of(pictures[0], window);
    let block = (BLOCK_BYTES / filter.bytes()).clamp(1, pictures.len());
    let prepare = |from: usize| -> Vec<Prepared> {
        let to = (from + block).min(pictures.len());
        pictures[from..to].par_iter().map(|picture| filter.prepared(picture)).collect()
    };
    let (mut sums, mut done) = (vec![0.0; pictures.len()], 0);
    for first in (0..pictures.len()).step_by(block) {
        let rows = prepare(first);
        for second in (first..pictures.len()).step_by(block) {
            let other = (second != first).then(|| prepare(second));
            let columns = other.as_deref().unwrap_or(&rows);
            let later = |&(i, j): &(usize, usize)| first + i < second + j;
            let pairs = (0..rows.len()).flat_map(|i| (0..columns.len()).map(move |j| (i, j))).filter(later);
            let pairs: Vec<_> = pairs.collect();
            // Summed in one order, so that threads change no bit.
            let found: Vec<f64> =
                pairs.par_iter().map(|&(i, j)| filter.similarity(&rows[i], &columns[j])).collect();
            for (&(i, j), similarity) in pairs.iter().zip(found) {
                sums[first + i] += similarity;
                sums[second + j] += similarity;
            }
            done += pairs.len();
            told(done)?;
        }
    }
    Ok(sums.iter().map(|sum| sum / (pictures.len() - 1) as f64).collect())
}

fn check(pictures: &[&RgbImage], window: Window) -> Result<()> {
    let size = pictures[0].dimensions();
    if let Some(other) = pictures.iter().map(|picture| picture.dimensions()).find(|&other| other != size) {
        let message = format!(
            "pictures of {} x {} and of {} x {} pixels cannot be compared place by place",
            size.0, size.1, other.0, other.1
        );
        return Err(Problem::new(message).hint("sample them in one size").into());
    }
    let least = window.least_side();
    if (size.0.min(size.1) as usize) < least {
        let message = format!("a picture of {} x {} pixels is smaller than the window", size.0, size.1);
        return Err(Problem::new(message).hint(format!("both sides must have {least} pixels")).into());
    }
    Ok(())
}

/// What is the same for all pictures of a set.
struct Filter {
    weights: Vec<f64>,
    norm: f64,
    width: usize,
    height: usize,
}

/// What of one picture goes into all its pairs.
struct Prepared {
    /// Colours from 0 to 1, one channel after the other.
    colours: Vec<f64>,
    /// Means in the windows.
    mean: Vec<f64>,
    /// Variances in the windows.
    variance: Vec<f64>,
}

impl Filter {
    fn of(picture: &RgbImage, window: Window) -> Self {
        let (width, height) = picture.dimensions();
        let (weights, norm) = (window.weights(), window.covariance_norm());
        Self { weights, norm, width: width as usize, height: height as usize }
    }

    /// Windows along each axis.
    fn inside(&self) -> (usize, usize) {
        (self.width + 1 - self.weights.len(), self.height + 1 - self.weights.len())
    }

    /// The memory of a prepared picture.
    fn bytes(&self) -> usize {
        let (columns, rows) = self.inside();
        (self.width * self.height + 2 * columns * rows) * CHANNELS * size_of::<f64>()
    }

    fn prepared(&self, picture: &RgbImage) -> Prepared {
        let place = self.width * self.height;
        let mut colours = vec![0.0; CHANNELS * place];
        for (i, pixel) in picture.pixels().enumerate() {
            for (channel, &value) in pixel.0.iter().enumerate() {
                colours[channel * place + i] = f64::from(value) / 255.0;
            }
        }
        let mean = self.each_channel(&colours, |channel, out| out.copy_from_slice(channel));
        let squares = self.each_channel(&colours, |channel, out| {
            out.iter_mut().zip(channel).for_each(|(out, x)| *out = x * x);
        });
        let variance = squares.iter().zip(&mean).map(|(square, mean)| self.norm * (square - mean * mean));
        Prepared { variance: variance.collect(), colours, mean }
    }

    /// The means in the windows of what `make` makes of a row of each channel.
    fn each_channel(&self, colours: &[f64], make: impl Fn(&[f64], &mut [f64])) -> Vec<f64> {
        let place = self.width * self.height;
        let (columns, rows) = self.inside();
        let mut out = vec![0.0; CHANNELS * columns * rows];
        for (channel, out) in colours.chunks(place).zip(out.chunks_mut(columns * rows)) {
            self.means(|y, row| make(&channel[y * self.width..(y + 1) * self.width], row), out);
        }
        out
    }

    /// The means in the windows of a plane whose rows `row` gives. Both axes are walked with the inner loop along a row.
    fn means(&self, row: impl Fn(usize, &mut [f64]), out: &mut [f64]) {
        let (columns, rows) = self.inside();
        let size = self.weights.len();
        let (mut line, mut narrowed) = (vec![0.0; self.width], vec![0.0; columns]);
        for y in 0..self.height {
            row(y, &mut line);
            narrowed.fill(0.0);
            for (k, &weight) in self.weights.iter().enumerate() {
                add(&mut narrowed, &line[k..k + columns], weight);
            }
            // The row counts in every window that it is in.
            for top in y.saturating_sub(size - 1)..=y.min(rows - 1) {
                add(&mut out[top * columns..(top + 1) * columns], &narrowed, self.weights[y - top]);
            }
        }
    }

    fn similarity(&self, a: &Prepared, b: &Prepared) -> f64 {
        let (place, windows) = (self.width * self.height, self.inside().0 * self.inside().1);
        let mut products = vec![0.0; windows];
        let mut sum = 0.0;
        for channel in 0..CHANNELS {
            let (at, inside) = (channel * place, channel * windows..(channel + 1) * windows);
            products.fill(0.0);
            let product = |y: usize, line: &mut [f64]| {
                let here = at + y * self.width..at + (y + 1) * self.width;
                let both = a.colours[here.clone()].iter().zip(&b.colours[here]);
                line.iter_mut().zip(both).for_each(|(out, (a, b))| *out = a * b);
            };
            self.means(product, &mut products);
            let means = a.mean[inside.clone()].iter().zip(&b.mean[inside.clone()]);
            let variances = a.variance[inside.clone()].iter().zip(&b.variance[inside]);
            let places = products.iter().zip(means).zip(variances);
            sum += places
                .map(|((product, (mean_a, mean_b)), (variance_a, variance_b))| {
                    let covariance = self.norm * (product - mean_a * mean_b);
                    let above = (2.0 * mean_a * mean_b + C1) * (2.0 * covariance + C2);
                    above / ((mean_a * mean_a + mean_b * mean_b + C1) * (variance_a + variance_b + C2))
                })
                .sum::<f64>();
        }
        sum / (CHANNELS * windows) as f64
    }
}

/// `to += weight * from`.
fn add(to: &mut [f64], from: &[f64], weight: f64) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture(seed: u32, width: u32, height: u32) -> RgbImage {
        let value = |x: u32, y: u32, c: u32| {
            let mixed = (x * 7 + y * 13 + c * 29 + seed).wrapping_mul(2_654_435_761);
            (mixed >> 24) as u8
        };
        RgbImage::from_fn(width, height, |x, y| image::Rgb([value(x, y, 0), value(x, y, 1), value(x, y, 2)]))
    }

    fn no_one(_: usize) -> Result<()> {
        Ok(())
    }

    #[test]
    fn a_picture_is_itself_even_if_it_is_black() {
        for window in [Window::Gaussian, Window::Uniform] {
            for same in [picture(1, 20, 13), RgbImage::new(11, 11)] {
                assert!((ssim(&same, &same, window).unwrap() - 1.0).abs() < 1e-12);
            }
            let unlike = ssim(&RgbImage::new(12, 12), &picture(1, 12, 12), window).unwrap();
            assert!(unlike.is_finite() && unlike < 0.1, "{unlike}");
        }
    }

    #[test]
    fn the_mean_over_pictures_is_that_over_pairs() {
        let set: Vec<_> = (0..5).map(|seed| picture(seed, 16, 12)).collect();
        let set: Vec<_> = set.iter().collect();
        let mut pairs = Vec::new();
        for i in 0..5 {
            (i + 1..5).for_each(|j| pairs.push(ssim(set[i], set[j], Window::Gaussian).unwrap()));
        }
        let others = to_the_others(&set, Window::Gaussian, no_one).unwrap();
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        assert!((mean(&others) - mean(&pairs)).abs() < 1e-12);
    }

    #[test]
    fn one_picture_another_size_and_a_small_one_are_told() {
        let said = |of: Result<Vec<f64>>| of.unwrap_err().to_string();
        let (a, b) = (picture(0, 16, 16), picture(1, 16, 17));
        assert!(said(to_the_others(&[&a], Window::Gaussian, no_one)).contains("no pair"));
        let other = said(to_the_others(&[&a, &b], Window::Gaussian, no_one));
        assert!(other.contains("16 x 16 and of 16 x 17 pixels"), "{other}");
        let small = picture(0, 10, 30);
        assert!(said(to_the_others(&[&small, &small], Window::Gaussian, no_one)).contains("smaller"));
        assert!(to_the_others(&[&small, &small], Window::Uniform, no_one).is_ok());
    }

    #[test]
    fn the_work_stops_when_it_is_told_to() {
        let a = picture(0, 16, 16);
        assert!(to_the_others(&[&a, &a], Window::Gaussian, |_| anyhow::bail!("stop")).is_err());
    }

    proptest! {
        #[test]
        fn similarity_is_symmetric_and_at_most_one(a in 0u32..99, b in 0u32..99, width in 11u32..20) {
            let (a, b) = (picture(a, width, 12), picture(b, width, 12));
            let there = ssim(&a, &b, Window::Gaussian).unwrap();
            prop_assert!((there - ssim(&b, &a, Window::Gaussian).unwrap()).abs() < 1e-15);
            prop_assert!((-1.0..=1.0 + 1e-12).contains(&there));
        }
    }
}
