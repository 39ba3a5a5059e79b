//! A picture as CLIP wants it: scaled until its shorter side fits, cut in the middle, each colour around 0.
//!
//! Scaling is Pillow's bicubic (`a = -0.5`, wider by the factor when it makes smaller, each pass rounded to 8 bits), which
//! is what every published CLIP score was made with; another scaler moves scores in the third digit. The cut is torchvision's,
//! as OpenAI's own code and open_clip have it: `round((side - n) / 2)` with halves to the even side. transformers'
//! image processor takes the floor, which is another pixel for odd margins.

use std::path::Path;

use candle_core::{Device, Tensor};
use flow_engine::{Problem, Result};
use image::RgbImage;
use serde::Deserialize;

use crate::sdxl::config;

/// What a picture goes through; `preprocessor_config.json`, or OpenAI's own without one.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// Side of the square that the tower sees, in pixels.
    pub side: usize,
    /// What is taken from each channel, of colours from 0 to 1.
    pub mean: [f32; 3],
    /// What each channel is then divided by.
    pub std: [f32; 3],
}

/// OpenAI's.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// OpenAI's.
const STD: [f32; 3] = [0.268_629_55, 0.261_302_6, 0.275_777_1];
/// Pillow's number for bicubic.
const BICUBIC: u32 = 3;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    image_mean: Option<[f32; 3]>,
    #[serde(default)]
    image_std: Option<[f32; 3]>,
    #[serde(default)]
    resample: Option<u32>,
}

impl Preprocess {
    /// That of a model's folder, for a tower that sees `side` by `side` pixels.
    ///
    /// # Errors
    /// A file that is none, or one that asks for another scaler.
    pub fn open(folder: &Path, side: usize) -> Result<Self> {
        let file = folder.join("preprocessor_config.json");
        let said: File = match file.is_file() {
            true => config::read_json(&file)?,
            false => File { image_mean: None, image_std: None, resample: None },
        };
        if let Some(other) = said.resample.filter(|&resample| resample != BICUBIC) {
            let message = format!("`{}` asks for the scaler {other} of Pillow", file.display());
            return Err(Problem::new(message).hint("pictures for CLIP are scaled by 3, bicubic").into());
        }
        Ok(Self { side, mean: said.image_mean.unwrap_or(MEAN), std: said.image_std.unwrap_or(STD) })
    }

    /// The pixels that the tower sees.
    pub fn square(&self, picture: &RgbImage) -> RgbImage {
        let (width, height) = scaled_size(picture.dimensions(), self.side);
        let scaled = bicubic(picture, width, height);
        let (left, top) = (margin(width, self.side), margin(height, self.side));
        let side = self.side as u32;
        image::imageops::crop_imm(&scaled, left as u32, top as u32, side, side).to_image()
    }

    /// `[3, side, side]`, on the CPU in float32.
    ///
    /// # Errors
    /// None for a picture that has pixels.
    pub fn tensor(&self, picture: &RgbImage) -> Result<Tensor> {
        let square = self.square(picture);
        let channel = |c: usize| {
            let colour = move |pixel: &image::Rgb<u8>| f32::from(pixel.0[c]) / 255.0;
            square.pixels().map(move |pixel| (colour(pixel) - self.mean[c]) / self.std[c])
        };
        let values: Vec<f32> = (0..3).flat_map(channel).collect();
        Ok(Tensor::from_vec(values, (3, self.side, self.side), &Device::Cpu)?)
    }
}

/// Width and height, the shorter of which becomes `side`, the other its part of it without a fraction.
pub fn scaled_size((width, height): (u32, u32), side: usize) -> (usize, usize) {
    let (width, height) = (width as usize, height as usize);
    let longer = |long: usize, short: usize| side * long / short.max(1);
    if width <= height { (side, longer(height, width)) } else { (longer(width, height), side) }
}

/// What is cut off before the middle: half of what is too much, halves to the even side.
fn margin(length: usize, side: usize) -> usize {
    let too_much = length.saturating_sub(side);
    let half = too_much / 2;
    if too_much.is_multiple_of(2) || half.is_multiple_of(2) { half } else { half + 1 }
}

/// A picture that covers a frame: scaled until it does, and what is too much cut off on both sides.
pub fn covering(picture: &RgbImage, (width, height): (u32, u32)) -> RgbImage {
    let (w, h) = (u64::from(picture.width()), u64::from(picture.height()));
    // Scaled by the larger of the two factors, which leaves nothing of the frame empty.
    let is_wider = w * u64::from(height) >= h * u64::from(width);
    let (scaled_width, scaled_height) = match is_wider {
        true => (w * u64::from(height) / h.max(1), u64::from(height)),
        false => (u64::from(width), h * u64::from(width) / w.max(1)),
    };
    let scaled = bicubic(picture, scaled_width as usize, scaled_height as usize);
    let (left, top) =
        (margin(scaled_width as usize, width as usize), margin(scaled_height as usize, height as usize));
    image::imageops::crop_imm(&scaled, left as u32, top as u32, width, height).to_image()
}

/// Bits of a weight behind the point, as in Pillow's `Resample.c`: 32 less 8 of a colour and 2 to spare.
const BITS: u32 = 32 - 8 - 2;

/// A picture in another size, by Pillow's bicubic scaler.
pub fn bicubic(picture: &RgbImage, width: usize, height: usize) -> RgbImage {
    let across = match picture.width() as usize == width {
        true => picture.clone(),
        false => {
            let taps = taps(picture.width() as usize, width);
            RgbImage::from_fn(width as u32, picture.height(), |x, y| {
                let (first, weights) = &taps[x as usize];
                weighed(weights, |i| picture.get_pixel((first + i) as u32, y).0)
            })
        }
    };
    if picture.height() as usize == height {
        return across;
    }
    let taps = taps(picture.height() as usize, height);
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let (first, weights) = &taps[y as usize];
        weighed(weights, |i| across.get_pixel(x, (first + i) as u32).0)
    })
}

/// A weighed sum of colours, rounded to 8 bits.
fn weighed(weights: &[i32], colour: impl Fn(usize) -> [u8; 3]) -> image::Rgb<u8> {
    let mut sums = [1i32 << (BITS - 1); 3];
    for (i, weight) in weights.iter().enumerate() {
        for (sum, value) in sums.iter_mut().zip(colour(i)) {
            *sum += weight * i32::from(value);
        }
    }
    image::Rgb(sums.map(|sum| (sum >> BITS).clamp(0, 255) as u8))
}

/// For each pixel of the result, the first pixel that goes into it and the weights from there on.
fn taps(from: usize, to: usize) -> Vec<(usize, Vec<i32>)> {
    let scale = from as f64 / to as f64;
    let wide = scale.max(1.0);
    let support = 2.0 * wide;
    let tap = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let last = ((centre + support + 0.5).max(0.0) as usize).min(from);
        let weight = |x: usize| cubic((x as f64 - centre + 0.5) / wide);
        let sum: f64 = (first..last).map(weight).sum();
        let whole = |weight: f64| (weight / sum * f64::from(1 << BITS)).round() as i32;
        (first, (first..last).map(|x| whole(weight(x))).collect())
    };
    (0..to).map(tap).collect()
}

/// Keys' cubic with `a = -0.5`.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_halved_to_the_even_side() {
        let margins = [4, 5, 6, 7, 8, 9].map(|length| margin(length, 4));
        assert_eq!(margins, [0, 0, 1, 2, 2, 2]);
    }

    #[test]
    fn the_shorter_side_fits_and_the_longer_loses_its_fraction() {
        assert_eq!(scaled_size((100, 64), 32), (50, 32));
        assert_eq!(scaled_size((64, 101), 32), (32, 50));
        assert_eq!(scaled_size((7, 7), 32), (32, 32));
    }

    #[test]
    fn one_colour_stays_that_colour_in_every_size() {
        let grey = RgbImage::from_pixel(9, 5, image::Rgb([200, 7, 255]));
        for (width, height) in [(3, 2), (30, 21), (9, 5), (1, 1)] {
            let scaled = bicubic(&grey, width, height);
            assert_eq!(scaled.dimensions(), (width as u32, height as u32));
            assert!(scaled.pixels().all(|pixel| pixel.0 == [200, 7, 255]));
        }
    }

    #[test]
    fn a_picture_of_another_shape_loses_its_edges_and_keeps_its_proportions() {
        // A disc stays a disc: as wide as it is high.
        let disc = RgbImage::from_fn(92, 60, |x, y| {
            let (x, y) = (f64::from(x) - 45.5, f64::from(y) - 29.5);
            image::Rgb([if x * x + y * y < 400.0 { 255 } else { 0 }; 3])
        });
        let small = covering(&disc, (30, 30));
        let lit = |line: Vec<u8>| line.into_iter().filter(|&value| value > 127).count();
        let across = lit((0..30).map(|x| small.get_pixel(x, 15).0[0]).collect());
        let down = lit((0..30).map(|y| small.get_pixel(15, y).0[0]).collect());
        assert_eq!((across, down), (20, 20));
        assert_eq!(covering(&disc, (7, 40)).dimensions(), (7, 40));
        assert_eq!(covering(&disc, (92, 60)), disc);
    }

    #[test]
    fn a_line_of_pixels_becomes_a_square() {
        let line = RgbImage::from_pixel(300, 1, image::Rgb([1, 2, 3]));
        let preprocess = Preprocess { side: 16, mean: MEAN, std: STD };
        assert_eq!(preprocess.square(&line).dimensions(), (16, 16));
    }
}
