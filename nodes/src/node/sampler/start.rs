//! Where the walks of a node begin: at noise, at a picture with noise over it, or at given latents.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use flow_engine::{Check, Cx, In, Problem, Result};

use super::canvas::{Canvas, tensor_from_pixels};
use crate::latents::Latents;
use crate::model::{self, Model};
use crate::picture::{Images, Picture};
use crate::sample::{Generator, Sampler};
use crate::sdxl::Vae;
use crate::sdxl::vae::Posterior;

/// How much of a picture is changed where nobody says it: A1111's own default.
const STRENGTH: f64 = 0.75;

/// The fields of a node that say where its walks begin.
pub(super) struct Begin<'a> {
    pub image: Option<&'a In<Images>>,
    pub strength: Option<f64>,
    pub latents: Option<&'a In<Latents>>,
    pub width: Option<usize>,
    pub height: Option<usize>,
    pub seed: u64,
    pub count: usize,
}

/// Where one walk begins.
pub(super) struct Start {
    pub canvas: Canvas,
    pub seed: u64,
    /// What its picture is called.
    pub name: String,
    origin: Origin,
}

enum Origin {
    Noise,
    Picture(Arc<Posterior>),
    Latents(Tensor),
}

impl Begin<'_> {
    /// Reports what is wrong before anything runs.
    pub(super) fn check(&self, cx: &mut Check<'_>) {
        if self.image.is_some() && self.latents.is_some() {
            let problem = Problem::new("`image` and `latents` are both set, and a walk begins at one place");
            cx.problem_with("latents", problem.hint("take one of them out"));
        }
        let Some(strength) = self.strength else { return };
        if self.image.is_none() {
            let problem =
                Problem::new("`strength` says how much of a picture to change, and there is no `image`");
            cx.problem_with("strength", problem.hint("wire pictures to `image`, or take `strength` out"));
        }
        if !(strength > 0.0 && strength <= 1.0) {
            let problem =
                Problem::new(format!("`strength` must be more than 0 and at most 1, and is {strength}"));
            cx.problem_with("strength", problem);
        }
    }

    /// How much of a given picture is changed.
    pub(super) fn strength(&self) -> Option<f64> {
        self.image.map(|_| self.strength.unwrap_or(STRENGTH))
    }

    /// The sizes of the pictures and how many there are of each, as far as they are known before anything runs.
    pub(super) fn canvases(&self, model: &Model, cx: &Check<'_>) -> Option<Vec<(Canvas, usize)>> {
        let sizes: Vec<Canvas> = match (self.image, self.latents) {
            (Some(image), _) => {
                let image = cx.input(image)?;
                let sizes = image.pictures.iter().map(|picture| Canvas::of_picture(model, picture));
                sizes.collect::<Result<_>>().ok()?
            }
            (None, Some(latents)) => {
                let latents = cx.input(latents)?;
                let sizes = latents.each.iter().map(|(name, tensor)| Canvas::of_latents(model, name, tensor));
                sizes.collect::<Result<_>>().ok()?
            }
            (None, None) => vec![Canvas::asked(model, self.width, self.height).ok()?],
        };
        let each = if sizes.len() == 1 { self.count.max(1) } else { 1 };
        Some(sizes.into_iter().map(|canvas| (canvas, each)).collect())
    }

    /// The starts of all pictures.
    pub(super) fn starts(&self, model: &Model, cx: &Cx<'_>) -> Result<Vec<Start>> {
        match (self.image, self.latents) {
            (Some(image), _) => self.at_pictures(&cx.input(image)?.pictures, image, model, cx),
            (None, Some(latents)) => self.at_latents(&cx.input(latents)?.each, latents, model),
            (None, None) => {
                let canvas = Canvas::asked(model, self.width, self.height)?;
                Ok(self.seeds(1).map(|(_, seed)| start(canvas, seed, None, Origin::Noise)).collect())
            }
        }
    }

    fn at_pictures(
        &self,
        pictures: &[Picture],
        wire: &In<Images>,
        model: &Model,
        cx: &Cx<'_>,
    ) -> Result<Vec<Start>> {
        self.check_count(pictures.len(), wire.node())?;
        let sizes = pictures.iter().map(|picture| {
            let what = format!("the picture `{}`", picture.name);
            Canvas::of_picture(model, picture)?.agrees(self.width, self.height, &what)
        });
        let sizes = sizes.collect::<Result<Vec<_>>>()?; // all of them, before the first is encoded
        let (vae, device) = (model.vae(cx)?, model::compute(cx.settings())?.device);
        let mut posteriors = Vec::with_capacity(pictures.len());
        for picture in pictures {
            cx.stop_if_asked()?;
            posteriors.push(Arc::new(vae.encode(&tensor_from_pixels(&picture.pixels, &device)?)?));
        }
        let start = |(i, seed): (usize, u64)| {
            let origin = Origin::Picture(Arc::clone(&posteriors[i]));
            start(sizes[i], seed, Some(&pictures[i].name), origin)
        };
        Ok(self.seeds(pictures.len()).map(start).collect())
    }

    fn at_latents(
        &self,
        latents: &[(String, Tensor)],
        wire: &In<Latents>,
        model: &Model,
    ) -> Result<Vec<Start>> {
        self.check_count(latents.len(), wire.node())?;
        let sizes = latents.iter().map(|(name, latents)| {
            let what = format!("the picture of the latents `{name}`");
            Canvas::of_latents(model, name, latents)?.agrees(self.width, self.height, &what)
        });
        let sizes = sizes.collect::<Result<Vec<_>>>()?;
        let start = |(i, seed): (usize, u64)| {
            let (name, latents) = &latents[i];
            start(sizes[i], seed, Some(name), Origin::Latents(latents.clone()))
        };
        Ok(self.seeds(latents.len()).map(start).collect())
    }

    /// One thing to begin with goes with every seed, and several go with one seed each.
    fn check_count(&self, given: usize, node: &str) -> Result<()> {
        if given == 0 {
            return Err(Problem::new(format!("`{node}` gives nothing to begin with")).into());
        }
        if given > 1 && self.count > 1 {
            let message = format!("`count` is {}, but `{node}` gives {given} to begin with", self.count);
            let hint = "leave `count` out for one picture of each, or give a single one";
            return Err(Problem::new(message).hint(hint).into());
        }
        Ok(())
    }

    /// The seed of each picture, with the index of the one of `given` things that it begins with.
    fn seeds(&self, given: usize) -> impl Iterator<Item = (usize, u64)> {
        let seed = self.seed;
        (0..self.count.max(given)).map(move |i| (i.min(given - 1), seed.wrapping_add(i as u64)))
    }
}

fn start(canvas: Canvas, seed: u64, of: Option<&str>, origin: Origin) -> Start {
    let name = of.map_or_else(|| format!("seed {seed}"), |of| format!("{of}, seed {seed}"));
    Start { canvas, seed, name, origin }
}

impl Start {
    /// The latents `[c, h, w]` of the level at which `sampler` begins its step `first`.
    ///
    /// The picture's own noise is drawn before the noise over it, as in diffusers' `prepare_latents`.
    pub(super) fn latents(
        &self,
        generator: &mut Generator,
        sampler: &dyn Sampler,
        first: usize,
        (channels, vae, device): (usize, &Vae, &Device),
    ) -> Result<Tensor> {
        let shape = [channels, self.canvas.h, self.canvas.w];
        match &self.origin {
            Origin::Noise => {
                let noise = generator.randn(&shape)?.to_device(device)?;
                Ok((noise * sampler.initial_scale())?)
            }
            Origin::Latents(latents) => Ok((latents.to_device(device)? * sampler.initial_scale())?),
            Origin::Picture(posterior) => {
                let own = generator.randn(posterior.mean.dims())?.to_device(device)?;
                let picture = vae.scale(&posterior.sample(&own)?)?.squeeze(0)?;
                let noise = generator.randn(picture.dims())?.to_device(device)?;
                sampler.steps()[first].from.mix(&picture, &noise)
            }
        }
    }
}
