//! What all sampler nodes share: the model, what to show, the size, the seeds.
//!
//! Not a node. A sampler node is its fields and its walk; everything around the walk is here.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use flow_engine::{Check, Cx, In, Problem, Result};
use image::RgbImage;

use crate::conditioning::{Conditioning, check_prompts};
use crate::model::{self, Model};
use crate::picture::{Generation, Images, Picture};
use crate::sample::noise::randn_each;
use crate::sample::{Denoiser, Generator, OnStep};

/// Latent pixels that go through the denoiser together: one picture of SDXL's native size, or as
/// many smaller ones as have that area.
const LATENTS_PER_BATCH: usize = 128 * 128;

/// The fields that every sampler node has.
pub(super) struct Drawing<'a> {
    pub model: &'a In<Model>,
    pub prompt: Option<&'a str>,
    pub negative_prompt: Option<&'a str>,
    pub conditioning: Option<&'a In<Conditioning>>,
    pub guidance: f64,
    pub width: Option<usize>,
    pub height: Option<usize>,
    pub seed: u64,
    pub count: usize,
}

/// A sampler's way from noise to latents: denoiser, latents `[b, c, h, w]`, fresh noise, per step.
pub(super) type Walk<'w> = dyn Fn(&Denoiser<'_>, &Tensor, &mut dyn FnMut(&[usize]) -> Result<Tensor>, &mut OnStep<'_>) -> Result<Tensor>
    + 'w;

/// What a sampler is called, for the record that a picture keeps of its making.
pub(super) struct Sampler<'w> {
    pub name: &'static str,
    pub steps: usize,
    pub eta: f64,
    pub walk: &'w Walk<'w>,
}

impl Drawing<'_> {
    /// Reports what is wrong before anything runs.
    pub(super) fn check(&self, steps: usize, cx: &mut Check<'_>) {
        match (self.prompt, self.conditioning) {
            (None, None) => cx.problem(
                Problem::new("there is nothing to show: neither `prompt` nor `conditioning` is set")
                    .hint("write `prompt: \"..\"`, or wire an EncodePrompt to `conditioning`"),
            ),
            (Some(_), Some(_)) => cx.problem_with(
                "conditioning",
                Problem::new("`prompt` and `conditioning` are both set").hint("take one of them out"),
            ),
            (None, Some(_)) if self.negative_prompt.is_some() => cx.problem_with(
                "negative_prompt",
                Problem::new("`conditioning` has a negative prompt of its own")
                    .hint("write `negative_prompt` in the EncodePrompt"),
            ),
            _ => {}
        }
        check_prompts(self.prompt, self.negative_prompt, cx);
        let Some(model) = cx.input(self.model) else { return };
        let train = model.checkpoint().scheduler_config().num_train_timesteps;
        if steps > train {
            let message = format!("{steps} steps are more than the {train} timesteps of the model");
            cx.problem_with("steps", Problem::new(message).hint(format!("write at most {train}")));
        }
        for (field, size) in [("width", self.width), ("height", self.height)] {
            if let Some(Err(problem)) = size.map(|size| latent_size(&model, field, size)) {
                cx.problem_with(field, problem);
            }
        }
    }

    /// Draws the pictures.
    pub(super) fn draw(&self, sampler: &Sampler<'_>, cx: &Cx<'_>) -> Result<Images> {
        let model = cx.input(self.model)?;
        let conditioning = self.conditioning(&model, cx)?;
        let native = model.checkpoint().native_size();
        let size = |field, size: Option<usize>| {
            let unknown = || Problem::new(format!("the model does not say its size; `{field}` must be set"));
            let pixels = size.or(native).ok_or_else(unknown)?;
            Ok::<_, Problem>((pixels, latent_size(&model, field, pixels)?))
        };
        let ((width, w), (height, h)) = (size("width", self.width)?, size("height", self.height)?);
        let canvas = Canvas { height, width, h, w };

        let mut pictures = Vec::with_capacity(self.count);
        let seeds: Vec<u64> = (0..self.count as u64).map(|i| self.seed.wrapping_add(i)).collect();
        let batches = seeds.chunks((LATENTS_PER_BATCH / (h * w)).max(1));
        let total = sampler.steps * batches.len();
        for (batch, seeds) in batches.enumerate() {
            let mut on_step =
                |done: usize, _: &Tensor| cx.progress(batch * sampler.steps + done, total, "step");
            let pixels = self.draw_batch(&model, &conditioning, &canvas, seeds, sampler, &mut on_step, cx)?;
            for (pixels, &seed) in pixels.into_iter().zip(seeds) {
                let generation = self.generation(&model, &conditioning, &canvas, seed, sampler);
                pictures.push(Picture {
                    generation: Some(generation),
                    ..Picture::new(format!("seed {seed}"), pixels)
                });
            }
        }
        Ok(Images { pictures })
    }

    fn conditioning(&self, model: &Model, cx: &Cx<'_>) -> Result<Arc<Conditioning>> {
        let Some(wire) = self.conditioning else {
            let prompt = self.prompt.unwrap_or_default();
            return Ok(Arc::new(Conditioning::encode(model, prompt, self.negative_prompt, cx)?));
        };
        let conditioning = cx.input(wire)?;
        let [first, second] = model.checkpoint().text_configs();
        let (takes, gives) = (first.hidden_size + second.hidden_size, conditioning.width()?);
        if takes != gives {
            let message =
                format!("the conditioning has {gives} features, but `{}` takes {takes}", model.name());
            return Err(Problem::new(message).hint("encode the prompt with the same model").into());
        }
        Ok(conditioning)
    }

    /// The pictures of some seeds, each as if it were drawn alone.
    #[expect(clippy::too_many_arguments, reason = "what a batch needs was settled once for all batches")]
    fn draw_batch(
        &self,
        model: &Model,
        conditioning: &Conditioning,
        canvas: &Canvas,
        seeds: &[u64],
        sampler: &Sampler<'_>,
        on_step: &mut OnStep<'_>,
        cx: &Cx<'_>,
    ) -> Result<Vec<RgbImage>> {
        let device = model::compute(cx.settings())?.device;
        let unet = model.unet(cx)?;
        let (positive, negative) =
            (conditioning.positive.repeat(seeds.len())?, conditioning.negative.repeat(seeds.len())?);
        let time_ids = conditioning.time_ids(canvas.height, canvas.width).tensor(seeds.len(), &device)?;
        let denoiser = Denoiser::new(&unet, &positive, Some(&negative), &time_ids, self.guidance)?;

        let mut generators: Vec<_> = seeds.iter().map(|&seed| Generator::new(seed)).collect();
        let shape = [model.checkpoint().unet_config().in_channels, canvas.h, canvas.w];
        let latents = randn_each(&mut generators, &shape)?.to_device(&device)?;
        let mut fresh = |_: &[usize]| randn_each(&mut generators, &shape);
        let latents = (sampler.walk)(&denoiser, &latents, &mut fresh, on_step)?;
        pixels(&model.vae(cx)?.decode(&latents)?)
    }

    fn generation(
        &self,
        model: &Model,
        conditioning: &Conditioning,
        canvas: &Canvas,
        seed: u64,
        sampler: &Sampler<'_>,
    ) -> Generation {
        Generation {
            prompt: conditioning.prompt.clone(),
            negative_prompt: conditioning.negative_prompt.clone(),
            steps: sampler.steps,
            sampler: sampler.name.to_owned(),
            guidance: self.guidance,
            eta: sampler.eta,
            seed,
            width: canvas.width,
            height: canvas.height,
            model: model.name(),
            model_hash: model.hash(),
        }
    }
}

/// The size of the pictures in pixels, and of their latents.
struct Canvas {
    height: usize,
    width: usize,
    h: usize,
    w: usize,
}

/// A width or a height of the picture as one of its latents.
fn latent_size(model: &Model, field: &str, pixels: usize) -> Result<usize, Problem> {
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
fn pixels(pictures: &Tensor) -> Result<Vec<RgbImage>> {
    let pictures = pictures.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
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
