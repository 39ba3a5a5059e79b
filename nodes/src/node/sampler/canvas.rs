//! Sizes in pixels and in latents, and the way between pictures and what the networks see.

use candle_core::{DType, Device, Tensor};
use flow_engine::{Problem, Result};
use image::RgbImage;

use crate::model::Model;
use crate::picture::Picture;

/// The size of a picture in pixels, and of its latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Canvas {
    pub height: usize,
    pub width: usize,
    pub h: usize,
    pub w: usize,
}

impl Canvas {
    /// The one that the fields `width` and `height` ask for; the model's own where they do not.
    pub(super) fn asked(model: &Model, width: Option<usize>, height: Option<usize>) -> Result<Self> {
        let native = model.checkpoint().native_size();
        let size = |field, size: Option<usize>| {
            let unknown = || Problem::new(format!("the model does not say its size; `{field}` must be set"));
            let pixels = size.or(native).ok_or_else(unknown)?;
            Ok::<_, Problem>((pixels, latent_size(model, field, pixels)?))
        };
        let ((width, w), (height, h)) = (size("width", width)?, size("height", height)?);
        Ok(Self { height, width, h, w })
    }

    /// The one of a picture.
    ///
    /// # Errors
    /// A width or height that the autoencoder cannot divide.
    pub(in crate::node) fn of_picture(model: &Model, picture: &Picture) -> Result<Self> {
        let factor = model.checkpoint().vae_config().pixels_per_latent();
        let (width, height) = (picture.pixels.width() as usize, picture.pixels.height() as usize);
        let fits = |pixels: usize| pixels > 0 && pixels.is_multiple_of(factor);
        if fits(width) && fits(height) {
            return Ok(Self { height, width, h: height / factor, w: width / factor });
        }
        let near = |pixels: usize| (pixels / factor).max(1) * factor;
        let message = format!(
            "the picture `{}` is {width}x{height} pixels, and both must be multiples of {factor}, the \
             autoencoder's factor",
            picture.name
        );
        Err(Problem::new(message).hint(format!("cut it to {}x{}", near(width), near(height))).into())
    }

    /// The one of latents `[c, h, w]`.
    ///
    /// # Errors
    /// Latents of a model with other channels.
    pub(super) fn of_latents(model: &Model, name: &str, latents: &Tensor) -> Result<Self> {
        let (c, h, w) = latents.dims3()?;
        let takes = model.checkpoint().unet_config().in_channels;
        if c != takes {
            let message =
                format!("the latents of `{name}` have {c} channels, but `{}` takes {takes}", model.name());
            return Err(Problem::new(message).hint("make them with the same model").into());
        }
        let factor = model.checkpoint().vae_config().pixels_per_latent();
        Ok(Self { height: h * factor, width: w * factor, h, w })
    }

    /// Refuses fields that ask for another size than this, which is that of `what`.
    pub(super) fn agrees(self, width: Option<usize>, height: Option<usize>, what: &str) -> Result<Self> {
        for (field, asked, is) in [("width", width, self.width), ("height", height, self.height)] {
            if let Some(asked) = asked.filter(|&asked| asked != is) {
                let message = format!("`{field}` is {asked}, but {what} is {}x{}", self.width, self.height);
                return Err(Problem::new(message).hint(format!("leave `{field}` out, or write {is}")).into());
            }
        }
        Ok(self)
    }
}

/// A width or a height of the picture as one of its latents.
pub(super) fn latent_size(model: &Model, field: &str, pixels: usize) -> Result<usize, Problem> {
    let factor = model.checkpoint().vae_config().pixels_per_latent();
    if pixels > 0 && pixels.is_multiple_of(factor) {
        return Ok(pixels / factor);
    }
    let below = pixels / factor * factor;
    let near = if below == 0 { factor.to_string() } else { format!("{below} or {}", below + factor) };
    let message =
        format!("`{field}` must be a multiple of {factor}, the autoencoder's factor, and is {pixels}");
    Err(Problem::new(message).hint(format!("write {near}")))
}

/// Pictures `[b, 3, h, w]` in -1..=1 as 8-bit pixels, rounded to the nearest.
///
/// # Errors
/// A value that is no number, which would pass for black.
pub(super) fn pixels_from_tensor(pictures: &Tensor) -> Result<Vec<RgbImage>> {
    let pictures = pictures.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    // Any NaN or infinity makes the sum one of them, and pictures are too small to overflow it.
    if !pictures.sum_all()?.to_scalar::<f32>()?.is_finite() {
        let hint = "half precision may have overflowed: run with --dtype f32, or bf16 on a GPU";
        return Err(Problem::new("the picture holds values that are no numbers").hint(hint).into());
    }
    let (b, _, h, w) = pictures.dims4()?;
    let levels =
        ((pictures / 2.0)? + 0.5)?.clamp(0f32, 1f32)?.affine(255.0, 0.0)?.round()?.to_dtype(DType::U8)?;
    let levels = levels.permute((0, 2, 3, 1))?.contiguous()?; // [b, h, w, 3]
    (0..b)
        .map(|i| {
            let raw = levels.get(i)?.flatten_all()?.to_vec1::<u8>()?;
            let picture = RgbImage::from_raw(w as u32, h as u32, raw);
            picture.ok_or_else(|| Problem::new("the autoencoder gave a picture of another size").into())
        })
        .collect()
}

/// A picture's pixels as `[1, 3, h, w]` in -1..=1.
pub(in crate::node) fn tensor_from_pixels(pixels: &RgbImage, device: &Device) -> Result<Tensor> {
    let (w, h) = (pixels.width() as usize, pixels.height() as usize);
    let levels = Tensor::from_slice(pixels.as_raw(), (1, h, w, 3), &Device::Cpu)?;
    let picture = levels.permute((0, 3, 1, 2))?.contiguous()?.to_dtype(DType::F32)?;
    Ok((((picture / 255.0)? * 2.0)? - 1.0)?.to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_come_back_from_the_tensor_they_became() {
        let pixels =
            RgbImage::from_fn(16, 17, |x, y| image::Rgb([(x * 16 + y) as u8, y as u8, 255 - x as u8]));
        let tensor = tensor_from_pixels(&pixels, &Device::Cpu).unwrap();
        assert_eq!(tensor.dims(), [1, 3, 17, 16]);
        assert_eq!(pixels_from_tensor(&tensor).unwrap(), [pixels]);
    }

    #[test]
    fn what_is_no_number_is_no_picture() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let tensor =
                Tensor::new(&[[[[0f32, value]], [[0f32, 0.0]], [[0f32, 0.0]]]], &Device::Cpu).unwrap();
            assert!(pixels_from_tensor(&tensor).is_err(), "{value}");
        }
    }
}
