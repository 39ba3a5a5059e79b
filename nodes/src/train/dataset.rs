//! What a training sees: pictures as latents, with what they show and how they were cut.
//!
//! Pictures are scaled and cut to a size of the model's area, near their own shape, and the denoiser is told the size
//! that they had and where they were cut (Podell et al. 2023, arXiv 2307.01952, section 2.2). Which pictures a step
//! sees is decided by the seed and the step's number.

use candle_core::{Device, Tensor};
use flow_engine::{Problem, Result};
use image::RgbImage;
use image::imageops::{self, FilterType};

use super::chance::{Chance, Purpose};
use super::objective::Question;
use crate::sample::guidance::TimeIds;
use crate::sdxl::TextEmbeds;

/// A picture as the training sees it.
#[derive(Debug, Clone)]
pub struct Example {
    /// The distribution of its latents, as it is and, if that is wanted, mirrored; scaled as the denoiser takes them.
    pub latents: Vec<Latent>,
    /// Which of the data set's texts it goes with.
    pub text: usize,
    /// What the denoiser is told of its size.
    pub time_ids: TimeIds,
    /// What each latent pixel counts, `[1, h, w]`, as it is and mirrored, if not the same.
    pub masks: Vec<Tensor>,
}

/// A normal distribution of latents, each `[c, h, w]`.
#[derive(Debug, Clone)]
pub struct Latent {
    /// Its mean.
    pub mean: Tensor,
    /// Its standard deviation.
    pub deviation: Tensor,
}

impl Example {
    /// Height and width that it is trained at, in pixels.
    pub fn size(&self) -> (usize, usize) {
        self.time_ids.target
    }
}

/// Everything that a training sees.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Pictures of the subject.
    pub subjects: Vec<Example>,
    /// Pictures of its class, kept against forgetting.
    pub class: Vec<Example>,
    /// What pictures show, batch 1 each.
    pub texts: Vec<TextEmbeds>,
    /// The same in words.
    pub prompts: Vec<String>,
    /// Which text a picture goes with whose caption is dropped.
    pub empty: Option<usize>,
}

/// How a step draws from a data set.
#[derive(Debug, Clone, Copy)]
pub struct Drawing {
    /// Decides every draw.
    pub seed: u64,
    /// Pictures of the subject at once.
    pub batch: usize,
    /// Timesteps of the noise schedule.
    pub timesteps: usize,
    /// How often a caption is dropped, 0 to 1.
    pub caption_dropout: f64,
    /// How much one number of noise for each channel is mixed in (noise offset), 0 for none.
    pub noise_offset: f64,
    /// What a picture of the class counts.
    pub class_weight: f64,
}

/// What a denoiser is asked in one pass.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Latents, noise and timesteps.
    pub question: Question,
    /// What the pictures show.
    pub text: TextEmbeds,
    /// The same in words.
    pub prompts: Vec<String>,
    /// What the denoiser is told of their sizes, `[b, 6]`.
    pub time_ids: Tensor,
}

impl Dataset {
    /// The pictures of a pass through the denoiser, counted from 0 over all steps.
    ///
    /// # Errors
    /// A data set without pictures; a device without room.
    pub fn batch(&self, drawing: &Drawing, pass: usize, device: &Device) -> Result<Batch> {
        let subjects = self.chosen(drawing, pass)?;
        let count = subjects.len();
        let mut chance = Chance::new(drawing.seed, Purpose::Step, &[pass as u64, u64::MAX]);
        let mut chosen: Vec<(&Example, f64)> = subjects.into_iter().map(|example| (example, 1.0)).collect();
        let alike: Vec<_> = self.class.iter().filter(|one| one.size() == chosen[0].0.size()).collect();
        if !alike.is_empty() {
            for _ in 0..count {
                chosen.push((alike[chance.below(alike.len())], drawing.class_weight));
            }
        }
        let drawn = chosen.iter().enumerate().map(|(at, (example, weight))| {
            let mut chance = Chance::new(drawing.seed, Purpose::Step, &[pass as u64, at as u64]);
            self.draw(example, *weight, drawing, &mut chance)
        });
        self.together(drawn.collect::<Result<_>>()?, count, device)
    }

    /// The same question for every picture at every asked timestep: what a training is measured by while it runs.
    ///
    /// # Errors
    /// As [`Self::batch`].
    pub fn validation(&self, drawing: &Drawing, timesteps: &[usize], device: &Device) -> Result<Vec<Batch>> {
        let questions = self
            .subjects
            .iter()
            .enumerate()
            .flat_map(|(at, example)| timesteps.iter().map(move |&timestep| (at, example, timestep)));
        let plain = Drawing { caption_dropout: 0.0, noise_offset: 0.0, ..*drawing };
        let batch = |(at, example, timestep): (usize, &Example, usize)| {
            let mut chance = Chance::new(plain.seed, Purpose::Validation, &[at as u64, timestep as u64]);
            let drawn = Drawn { timestep, ..self.draw(example, 1.0, &plain, &mut chance)? };
            self.together(vec![drawn], 1, device)
        };
        questions.map(batch).collect()
    }

    /// The pictures of the subject for a pass: every picture comes once before any comes again, and pictures of one
    /// pass have one size.
    fn chosen(&self, drawing: &Drawing, pass: usize) -> Result<Vec<&Example>> {
        if self.subjects.is_empty() {
            return Err(Problem::new("there are no pictures to train on").into());
        }
        let groups = self.sizes();
        let of_group = |group: &Vec<usize>| group.len().div_ceil(drawing.batch.max(1));
        let passes: usize = groups.iter().map(of_group).sum();
        let mut chance = Chance::new(drawing.seed, Purpose::Order, &[(pass / passes) as u64]);
        let mut batches = Vec::with_capacity(passes);
        for group in &groups {
            let order: Vec<usize> = chance.order(group.len()).into_iter().map(|at| group[at]).collect();
            batches.extend(order.chunks(drawing.batch.max(1)).map(<[usize]>::to_vec));
        }
        let order = chance.order(passes);
        Ok(batches[order[pass % passes]].iter().map(|&at| &self.subjects[at]).collect())
    }

    /// The pictures of the subject by their sizes.
    fn sizes(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<((usize, usize), Vec<usize>)> = Vec::new();
        for (at, example) in self.subjects.iter().enumerate() {
            match groups.iter_mut().find(|(size, _)| *size == example.size()) {
                Some((_, group)) => group.push(at),
                None => groups.push((example.size(), vec![at])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    fn draw(&self, example: &Example, weight: f64, drawing: &Drawing, chance: &mut Chance) -> Result<Drawn> {
        let side = chance.below(example.latents.len());
        let timestep = chance.below(drawing.timesteps);
        let is_dropped = chance.uniform() < drawing.caption_dropout;
        let text = self.empty.filter(|_| is_dropped).unwrap_or(example.text);
        let Latent { mean, deviation } = &example.latents[side];
        let latents = (mean + (deviation * chance.normal(mean.dims())?)?)?;
        let mut noise = chance.normal(mean.dims())?;
        if drawing.noise_offset != 0.0 {
            let offset = (chance.normal(&[mean.dim(0)?, 1, 1])? * drawing.noise_offset)?;
            noise = noise.broadcast_add(&offset)?;
        }
        let mask = example.masks.get(side).cloned();
        Ok(Drawn { latents, noise, timestep, text, time_ids: example.time_ids, weight, mask })
    }

    fn together(&self, drawn: Vec<Drawn>, subjects: usize, device: &Device) -> Result<Batch> {
        let stack =
            |tensors: Vec<&Tensor>| Ok::<_, anyhow::Error>(Tensor::stack(&tensors, 0)?.to_device(device)?);
        let missing = || Problem::new("a picture has no text");
        let texts = drawn.iter().map(|one| self.texts.get(one.text).ok_or_else(missing));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let prompts = drawn.iter().filter_map(|one| self.prompts.get(one.text).cloned()).collect();
        let time_ids = drawn.iter().map(|one| one.time_ids.tensor(1, device)).collect::<Result<Vec<_>>>()?;
        let mask = if drawn.iter().any(|one| one.mask.is_some()) {
            let whole = |one: &Drawn| Ok(one.latents.narrow(0, 0, 1)?.ones_like()?);
            let masks = drawn.iter().map(|one| one.mask.clone().map_or_else(|| whole(one), Ok));
            Some(stack(masks.collect::<Result<Vec<_>>>()?.iter().collect())?)
        } else {
            None
        };
        Ok(Batch {
            question: Question {
                latents: stack(drawn.iter().map(|one| &one.latents).collect())?,
                noise: stack(drawn.iter().map(|one| &one.noise).collect())?,
                timesteps: drawn.iter().map(|one| one.timestep).collect(),
                weights: drawn.iter().map(|one| one.weight).collect(),
                subjects,
                mask,
            },
            text: TextEmbeds::cat(&texts)?,
            prompts,
            time_ids: Tensor::cat(&time_ids, 0)?,
        })
    }
}

/// One sample of a pass.
struct Drawn {
    latents: Tensor,
    noise: Tensor,
    timestep: usize,
    text: usize,
    time_ids: TimeIds,
    weight: f64,
    mask: Option<Tensor>,
}

/// A picture cut for training.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Its pixels, of the size that is trained.
    pub pixels: RgbImage,
    /// What the denoiser is told of it.
    pub time_ids: TimeIds,
}

/// The size near `resolution` squared that a picture of this shape is trained at, width and height: whole multiples of
/// `unit`, of about the same area, nearest in shape.
pub fn bucket((width, height): (u32, u32), resolution: usize, unit: usize) -> (usize, usize) {
    let shape = f64::from(width.max(1)) / f64::from(height.max(1));
    let area = (resolution * resolution) as f64;
    let whole = |side: f64| ((side / unit as f64).round() as usize).max(1) * unit;
    let candidates = (1..=4 * resolution / unit).map(|units| {
        let width = units * unit;
        (width, whole(area / width as f64))
    });
    let off = |&(w, h): &(usize, usize)| ((w as f64 / h as f64) / shape).ln().abs();
    // Shapes beyond 1 to 4 would be nearly lines.
    let usable = candidates.filter(|&(w, h)| w <= 2 * resolution && h <= 2 * resolution);
    usable.min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or((resolution, resolution))
}

/// Scales a picture until it covers a size, and cuts off evenly what is beyond.
pub fn cut(pixels: &RgbImage, (width, height): (usize, usize)) -> Cut {
    let (w, h) = (pixels.width() as usize, pixels.height() as usize);
    let grow = (width as f64 / w.max(1) as f64).max(height as f64 / h.max(1) as f64);
    let covered = |side: usize, wanted: usize| ((side as f64 * grow).round() as usize).max(wanted);
    let (across, down) = (covered(w, width), covered(h, height));
    let scaled = if (across, down) == (w, h) {
        pixels.clone()
    } else {
        imageops::resize(pixels, across as u32, down as u32, FilterType::Lanczos3)
    };
    let (left, top) = ((across - width) / 2, (down - height) / 2);
    let pixels = imageops::crop_imm(&scaled, left as u32, top as u32, width as u32, height as u32).to_image();
    Cut { pixels, time_ids: TimeIds { original: (h, w), crop: (top, left), target: (height, width) } }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    #[test]
    fn a_picture_is_trained_near_its_shape_at_the_models_area() {
        assert_eq!(bucket((500, 500), 64, 8), (64, 64));
        assert_eq!(bucket((1024, 1024), 1024, 64), (1024, 1024));
        assert_eq!(bucket((1600, 900), 1024, 64), (1344, 768));
        let (w, h) = bucket((1, 1000), 1024, 64);
        assert!(w <= h && h <= 2048, "{w}x{h}");
    }

    #[test]
    fn what_is_beyond_a_size_is_cut_off_evenly_and_told() {
        let picture = RgbImage::from_fn(40, 20, |x, _| image::Rgb([x as u8, 0, 0]));
        let cut = cut(&picture, (20, 20));
        assert_eq!((cut.pixels.dimensions(), cut.pixels[(0, 0)].0[0]), ((20, 20), 10));
        assert_eq!(cut.time_ids, TimeIds { original: (20, 40), crop: (0, 10), target: (20, 20) });
        let grown = super::cut(&RgbImage::new(7, 9), (16, 8));
        assert_eq!(grown.pixels.dimensions(), (16, 8));
    }

    fn dataset(sizes: &[usize]) -> Dataset {
        let example = |&size: &usize| {
            let mean = Tensor::zeros((4, size, size), DType::F32, &Device::Cpu).unwrap();
            let latents = vec![Latent { mean: mean.clone(), deviation: mean.ones_like().unwrap() }];
            Example { latents, text: 0, time_ids: TimeIds::whole(size, size), masks: Vec::new() }
        };
        let text = Tensor::zeros((1, 2, 3), DType::F32, &Device::Cpu).unwrap();
        let texts = vec![TextEmbeds { pooled: text.get(0).unwrap(), prompt_embeds: text }];
        Dataset {
            subjects: sizes.iter().map(example).collect(),
            class: Vec::new(),
            texts,
            prompts: Vec::new(),
            empty: None,
        }
    }

    const DRAWING: Drawing = Drawing {
        seed: 3,
        batch: 2,
        timesteps: 1000,
        caption_dropout: 0.0,
        noise_offset: 0.0,
        class_weight: 1.0,
    };

    #[test]
    fn every_picture_comes_once_in_a_round_and_a_pass_has_one_size() {
        let data = dataset(&[8, 16, 8, 8, 16]);
        for round in 0..5 {
            let mut seen = vec![0; 2];
            for pass in 0..3 {
                let batch = data.batch(&DRAWING, round * 3 + pass, &Device::Cpu).unwrap();
                let (b, _, h, _) = batch.question.latents.dims4().unwrap();
                seen[usize::from(h == 16)] += b;
                assert!(batch.question.timesteps.iter().all(|&timestep| timestep < 1000));
            }
            assert_eq!(seen, [3, 2]);
        }
    }

    #[test]
    fn a_pass_is_decided_by_its_number_alone() {
        let data = dataset(&[8, 8, 8]);
        let values = |pass| {
            let batch = data.batch(&DRAWING, pass, &Device::Cpu).unwrap();
            (batch.question.timesteps, batch.question.noise.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        assert_eq!(values(7), values(7));
        assert_ne!(values(7), values(8));
        assert!(dataset(&[]).batch(&DRAWING, 0, &Device::Cpu).is_err());
    }

    #[test]
    fn pictures_of_the_class_come_on_top_with_their_weight() {
        let mut data = dataset(&[8, 8]);
        data.class = dataset(&[8, 16]).subjects;
        let drawing = Drawing { class_weight: 0.5, ..DRAWING };
        let Question { weights, subjects, .. } = data.batch(&drawing, 0, &Device::Cpu).unwrap().question;
        assert_eq!((weights, subjects), (vec![1.0, 1.0, 0.5, 0.5], 2));
    }
}
