//! From pictures on a wire to what a training sees.

use std::sync::Arc;

use candle_core::Tensor;
use flow_engine::{Cx, Digest, In, Problem, Result};
use image::imageops::{self, FilterType};
use image::{DynamicImage, RgbImage};

use super::super::sampler::tensor_from_pixels;
use super::Train;
use crate::conditioning::encode;
use crate::kept::{Item, Kept, Key, Size};
use crate::model::Model;
use crate::picture::{Images, Picture};
use crate::sdxl::TextEmbeds;
use crate::train::dataset::{Dataset, Example, Latent, bucket, cut};

impl Train {
    /// Everything that the training sees.
    pub(super) fn dataset(&self, model: &Model, cx: &Cx<'_>) -> Result<Dataset> {
        let images = self.pictures(&self.images, cx)?;
        self.refuse_missing_captions(&images)?;
        self.warn_of_small_ones(&images, model, cx)?;
        let mut texts = Texts::default();
        let subjects = self.examples(&images, |picture| self.words(picture), None, &mut texts, model, cx)?;
        let class = match (&self.class_images, &self.class_prompt) {
            (Some(wire), Some(prompt)) => {
                let images = self.pictures(wire, cx)?;
                // Pictures that go together have one size.
                let mut sizes: Vec<_> = subjects.iter().map(Example::size).collect();
                sizes.sort_unstable();
                sizes.dedup();
                let of_size = |(height, width)| {
                    let cut_to = Some((width, height));
                    self.examples(&images, |_| prompt.as_str(), cut_to, &mut texts, model, cx)
                };
                sizes.into_iter().map(of_size).collect::<Result<Vec<_>>>()?.concat()
            }
            _ => Vec::new(),
        };
        let empty = (self.caption_dropout > 0.0).then(|| texts.of(""));
        let (prompts, encoded) = texts.encoded(model, cx)?;
        Ok(Dataset { subjects, class, texts: encoded, prompts, empty })
    }

    /// The pictures that are not trained on.
    pub(super) fn validation(&self, model: &Model, cx: &Cx<'_>) -> Result<Option<Dataset>> {
        let Some(wire) = &self.held_out else { return Ok(None) };
        let images = self.pictures(wire, cx)?;
        self.refuse_missing_captions(&images)?;
        let mut texts = Texts::default();
        let subjects = self.examples(&images, |picture| self.words(picture), None, &mut texts, model, cx)?;
        let (prompts, encoded) = texts.encoded(model, cx)?;
        Ok(Some(Dataset { subjects, class: Vec::new(), texts: encoded, prompts, empty: None }))
    }

    /// What previews show.
    pub(super) fn shown(&self, cx: &Cx<'_>) -> Result<Option<String>> {
        if let Some(prompt) = self.sample_prompt.as_ref().or(self.prompt.as_ref()) {
            return Ok(Some(prompt.clone()));
        }
        Ok(cx.input(&self.images)?.pictures.first().and_then(|picture| picture.caption.clone()))
    }

    fn pictures(&self, wire: &In<Images>, cx: &Cx<'_>) -> Result<Arc<Images>> {
        let images = cx.input(wire)?;
        if images.pictures.is_empty() {
            return Err(Problem::new(format!("`{}` gives no picture to train on", wire.node())).into());
        }
        Ok(images)
    }

    /// What a picture shows.
    fn words<'p>(&'p self, picture: &'p Picture) -> &'p str {
        self.prompt.as_deref().or(picture.caption.as_deref()).unwrap_or_default()
    }

    fn refuse_missing_captions(&self, images: &Images) -> Result<()> {
        if !self.captions {
            return Ok(());
        }
        let without = images.pictures.iter().filter(|picture| picture.caption.is_none());
        let names: Vec<_> = without.map(|picture| format!("`{}`", picture.name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let message = format!("these pictures have no caption: {}", names.join(", "));
        Err(Problem::new(message).hint("write `NAME.txt` beside each, or give a `prompt` for all").into())
    }

    fn resolution(&self, model: &Model) -> Result<usize> {
        let unknown = || Problem::new("the model does not say its size; `resolution` must be set");
        Ok(self.resolution.or(model.checkpoint().native_size()).ok_or_else(unknown)?)
    }

    fn warn_of_small_ones(&self, images: &Images, model: &Model, cx: &Cx<'_>) -> Result<()> {
        let resolution = self.resolution(model)?;
        let is_small = |picture: &&Picture| {
            let (width, height) = picture.pixels.dimensions();
            (width as usize * height as usize) < resolution * resolution
        };
        let names: Vec<_> =
            images.pictures.iter().filter(is_small).map(|picture| format!("`{}`", picture.name)).collect();
        if !names.is_empty() {
            let message =
                format!("smaller than {resolution}x{resolution} and enlarged: {}", names.join(", "));
            cx.warn(message, Some("larger pictures, or a smaller `resolution`, keep their detail".into()));
        }
        Ok(())
    }

    fn examples<'p>(
        &'p self,
        images: &'p Images,
        words: impl Fn(&'p Picture) -> &'p str,
        cut_to: Option<(usize, usize)>,
        texts: &mut Texts,
        model: &Model,
        cx: &Cx<'_>,
    ) -> Result<Vec<Example>> {
        let total = images.pictures.len();
        let mut examples = Vec::with_capacity(total);
        for (done, picture) in images.pictures.iter().enumerate() {
            cx.progress(done, total, "picture")?;
            let size = cut_to.map_or_else(|| self.size(&picture.pixels, model), Ok)?;
            let cut = cut(&picture.pixels, size);
            let mirrored = self.flip.then(|| imageops::flip_horizontal(&cut.pixels));
            let sides = std::iter::once(&cut.pixels).chain(&mirrored);
            let latents = sides.map(|pixels| latent(model, pixels, cx)).collect::<Result<Vec<_>>>()?;
            let (_, h, w) = latents[0].mean.dims3()?;
            let masks = self.masks(picture, size, (w, h))?;
            examples.push(Example { latents, text: texts.of(words(picture)), time_ids: cut.time_ids, masks });
        }
        Ok(examples)
    }

    /// The size that a picture is trained at, width and height.
    fn size(&self, pixels: &RgbImage, model: &Model) -> Result<(usize, usize)> {
        let resolution = self.resolution(model)?;
        let levels = model.checkpoint().unet_config().block_out_channels.len();
        let unit = model.checkpoint().vae_config().pixels_per_latent() << levels.saturating_sub(1);
        let unit = unit.min(resolution);
        let square = resolution / unit * unit;
        Ok(if self.buckets { bucket(pixels.dimensions(), resolution, unit) } else { (square, square) })
    }

    /// What each latent pixel counts, as the picture is and mirrored.
    fn masks(&self, picture: &Picture, size: (usize, usize), (w, h): (usize, usize)) -> Result<Vec<Tensor>> {
        let Some(mask) = picture.mask.as_ref().filter(|_| self.masks) else { return Ok(Vec::new()) };
        let as_cut = cut(&DynamicImage::ImageLuma8(mask.clone()).into_rgb8(), size).pixels;
        let small = imageops::resize(&as_cut, w as u32, h as u32, FilterType::Triangle);
        let tensor = |small: &RgbImage| {
            let values: Vec<f32> = small.pixels().map(|pixel| f32::from(pixel.0[0]) / 255.0).collect();
            Ok(Tensor::from_vec(values, (1, h, w), &candle_core::Device::Cpu)?)
        };
        let mirrored = self.flip.then(|| imageops::flip_horizontal(&small));
        std::iter::once(&small).chain(&mirrored).map(tensor).collect()
    }
}

/// The latents of a picture, encoded once for all trainings of a process.
fn latent(model: &Model, pixels: &RgbImage, cx: &Cx<'_>) -> Result<Latent> {
    let said = format!("{:?}", pixels.dimensions());
    let base = model.base_digest();
    let recipe = Digest::of_parts([&base.as_bytes()[..], said.as_bytes(), pixels.as_raw()]);
    let key = Key { sort: "latents", recipe, settings: cx.settings() };
    let item = Item { key, what: format!("latents of a picture by {}", model.name()), room: Size(0) };
    let kept = cx.shared::<Kept>().get_or_make(item, cx, || {
        let vae = model.vae(cx)?;
        let device = crate::model::compute(cx.settings())?.device;
        let posterior = vae.encode(&tensor_from_pixels(pixels, &device)?)?;
        let here = |tensor: &Tensor| {
            Ok::<_, anyhow::Error>(tensor.squeeze(0)?.to_device(&candle_core::Device::Cpu)?)
        };
        let mean = here(&vae.scale(&posterior.mean)?)?;
        let deviation = here(&((&posterior.logvar / 2.0)?.exp()? * vae.config().scaling_factor)?)?;
        let size = Size(2 * mean.elem_count() * 4);
        Ok((Latent { mean, deviation }, size))
    })?;
    Ok(Latent::clone(&kept))
}

/// Prompts, each once.
#[derive(Default)]
struct Texts {
    prompts: Vec<String>,
}

impl Texts {
    /// The position of a prompt.
    fn of(&mut self, prompt: &str) -> usize {
        if let Some(at) = self.prompts.iter().position(|known| known == prompt) {
            return at;
        }
        self.prompts.push(prompt.to_owned());
        self.prompts.len() - 1
    }

    /// The prompts and their features, all with as many tokens as the longest has; encoded once for all
    /// trainings of a process with these prompts.
    fn encoded(self, model: &Model, cx: &Cx<'_>) -> Result<(Vec<String>, Vec<TextEmbeds>)> {
        let said = serde_json::to_string(&self.prompts)?;
        let recipe = Digest::of_parts([&model.text_recipe().as_bytes()[..], said.as_bytes()]);
        let key = Key { sort: "prompts", recipe, settings: cx.settings() };
        let item = Item { key, what: format!("prompts encoded by {}", model.name()), room: Size(0) };
        let kept = cx.shared::<Kept>().get_or_make(item, cx, || {
            let encoded = encode::together(&*model.text(cx)?, &self.prompts)?;
            let size = encoded.iter().map(TextEmbeds::size_in_bytes).sum();
            Ok((encoded, Size(size)))
        })?;
        Ok((self.prompts, kept.to_vec()))
    }
}
