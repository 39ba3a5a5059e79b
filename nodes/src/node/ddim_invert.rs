//! `DDIMInvert`: walks DDIM backwards, from pictures to noise (Song et al. 2020, arXiv 2010.02502, section 4.3).

use candle_core::{Device, Tensor};
use flow_engine::{Check, Cx, Estimate, In, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sampler::{Canvas, TimestepSpacing, Words, tensor_from_pixels};
use crate::conditioning::Conditioning;
use crate::estimate::{Pictures, Walks};
use crate::latents::Latents;
use crate::model::{self, Model};
use crate::picture::{Images, Picture};
use crate::sample::{Ddim, Denoiser, NoiseSchedule, Sampler, walk};
use crate::sdxl::config::SchedulerConfig;
use crate::sdxl::cost::Grid;

/// Find the noise from which DDIM would draw given pictures.
///
/// Wired to `latents` of a DDIMSample with the same model, prompt, steps and guidance, it draws the
/// pictures again, nearly; with another prompt or an adapter it draws a variation. Several steps and a
/// guidance of 1 bring them back most faithfully.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DDIMInvert {
    /// Model to walk with.
    pub model: In<Model>,
    /// Pictures to invert; their width and height must be multiples of the autoencoder's factor, 8 for
    /// SDXL.
    pub images: In<Images>,
    /// What the pictures show. May be empty. Either this or `conditioning` is set.
    #[serde(default)]
    pub prompt: Option<String>,
    /// What they do not show. Only of use with a `guidance` above 1.
    #[serde(default)]
    pub negative_prompt: Option<String>,
    /// An encoded prompt, in the place of `prompt` and `negative_prompt`.
    #[serde(default)]
    pub conditioning: Option<In<Conditioning>>,
    /// Number of steps; at most the timesteps of the model's training, 1000 for SDXL.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1))]
    pub steps: usize,
    /// Guidance scale. Above 1 the way back misses the picture by more.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 100))]
    pub guidance: f64,
    /// Where the steps lie among the timesteps of training. The model's own, if not set.
    #[serde(default)]
    pub timestep_spacing: Option<TimestepSpacing>,
}

fn thirty() -> usize {
    30
}

fn one() -> f64 {
    1.0
}

impl DDIMInvert {
    fn words(&self) -> Words<'_> {
        Words {
            prompt: self.prompt.as_deref(),
            negative_prompt: self.negative_prompt.as_deref(),
            conditioning: self.conditioning.as_ref(),
        }
    }

    fn walk_up(&self, config: &SchedulerConfig) -> Result<Ddim> {
        let spacing = TimestepSpacing::or_own(self.timestep_spacing, config);
        Ok(Ddim::new(&NoiseSchedule::new(config), self.steps, spacing, 0.0)?.inverse())
    }

    /// The noise of one picture, `[c, h, w]` on the CPU.
    fn invert(
        &self,
        picture: &Picture,
        (model, conditioning): (&Model, &Conditioning),
        on_step: &dyn Fn(usize) -> Result<()>,
        cx: &Cx<'_>,
    ) -> Result<Tensor> {
        let Canvas { height, width, .. } = Canvas::of_picture(model, picture)?;
        let device = model::compute(cx.settings())?.device;
        let (unet, vae) = (model.unet(cx)?, model.vae(cx)?);
        let config = model.checkpoint().scheduler_config();
        let time_ids = conditioning.time_ids(height, width).tensor(1, &device)?;
        let (positive, negative) = (&conditioning.positive, Some(&conditioning.negative));
        let denoiser =
            Denoiser::new(&unet, config.prediction_type, positive, negative, &time_ids, self.guidance)?;

        // The middle of the posterior, not a sample of it: there is no seed here, and it is the better picture.
        let latents = vae.scale(&vae.encode(&tensor_from_pixels(&picture.pixels, &device)?)?.mean)?;
        let no_noise = &mut |_: &[usize]| Err(Problem::new("an inversion adds no noise").into());
        let ddim = self.walk_up(config)?;
        let noise = walk(&ddim, 0, &denoiser, &latents, no_noise, &mut |done, _| on_step(done))?;
        Ok(noise.squeeze(0)?.to_device(&Device::Cpu)?)
    }
}

impl Node for DDIMInvert {
    const KIND: &'static str = "DDIMInvert";
    const HOLDS_DEVICE: bool = true;
    type Output = Latents;

    fn check(&self, cx: &mut Check<'_>) {
        self.words().check(cx);
        if cx.is_in_range()
            && let Some(model) = cx.input(&self.model)
            && let Err(problem) = self.walk_up(model.checkpoint().scheduler_config())
        {
            cx.problem_with("steps", problem);
        }
    }

    /// Nothing, where the pictures are not known before.
    fn estimate(&self, cx: &Check<'_>) -> Option<Estimate> {
        let (model, images) = (cx.input(&self.model)?, cx.input(&self.images)?);
        let one = |picture| Canvas::of_picture(&model, picture).map(|Canvas { h, w, .. }| Grid { h, w });
        let one = |picture| Some(Pictures { latents: one(picture).ok()?, count: 1, together: 1 });
        let pictures = images.pictures.iter().map(one).collect::<Option<Vec<_>>>()?;
        let walks = Walks {
            pictures: &pictures,
            steps: self.walk_up(model.checkpoint().scheduler_config()).ok()?.steps().len(),
            guided: self.guidance > 1.0,
            prompts: self.words().count(&model),
            encodes: true,
            decodes: false,
        };
        walks.estimate(&model, cx.settings())
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Latents> {
        let (model, images) = (cx.input(&self.model)?, cx.input(&self.images)?);
        if images.pictures.is_empty() {
            return Err(Problem::new(format!("`{}` gives no picture to invert", self.images.node())).into());
        }
        for picture in &images.pictures {
            Canvas::of_picture(&model, picture)?;
        }
        let conditioning = self.words().encode(&model, cx)?;
        let steps = self.walk_up(model.checkpoint().scheduler_config())?.steps().len();
        let mut each = Vec::with_capacity(images.pictures.len());
        for (i, picture) in images.pictures.iter().enumerate() {
            let total = steps * images.pictures.len();
            let on_step = |done: usize| cx.progress(i * steps + done, total, "step");
            let noise = self.invert(picture, (&model, &conditioning), &on_step, cx)?;
            each.push((picture.name.clone(), noise));
        }
        Latents::new(each)
    }
}

#[cfg(test)]
mod tests {
    use flow_engine::{Device, Document, Dtype, Graph, Project, Session, Settings, read_ron};

    use crate::registry;

    #[test]
    fn brackets_that_make_no_sense_are_found_before_anything_runs() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
        let session = Session::new(registry(), settings, Project::at(root));
        let text = r#"Graph(nodes: {
            "base": LoadSDXL(path: "models/mini-sdxl"),
            "photo": DDIMSample(model: "base", prompt: "a panda"),
            "noise": DDIMInvert(model: "base", images: "photo", prompt: "a (panda", negative_prompt: "(a:b)"),
        })"#;
        let source = read_ron(Document::new("graph.ron", text.to_owned()), &[], &session.registry);
        let told = Graph::checked(source, &session).err().unwrap();
        let places: Vec<_> = told.iter().map(|one| one.place.as_ref().unwrap().text()).collect();
        assert_eq!(places, ["\"a (panda\"", "\"(a:b)\""]);
        assert!(told[0].message.ends_with("is never closed"), "{}", told[0].message);
    }
}
