//! `Evaluate`: the paper's measures of pictures.

use std::path::{Path, PathBuf};

use flow_engine::{Check, Cx, In, Node, Problem, Project, Result};
use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evaluate::clip::preprocess::bicubic;
use crate::evaluate::clip::{Clip, Direction};
use crate::evaluate::lpips::{Backbone, Features, Lpips};
use crate::evaluate::measure::Measure;
use crate::evaluate::scores::{Made, Scored, Scores};
use crate::evaluate::ssim::{self, Window};
use crate::model;
use crate::picture::{Images, Picture};
use crate::report::Report;

/// Measure pictures as the paper does: how diverse they are, how near to their prompt, and to the training pictures.
///
/// The report has a row for each picture, so that `Compare` can put methods side by side picture by picture. What cannot be
/// measured, because a file is not there, is told in the report with what is missing; the other measures are taken.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// Pictures to measure.
    pub images: In<Images>,
    /// The training pictures, for image alignment. Without them it is not measured.
    #[serde(default)]
    pub reference: Option<In<Images>>,
    /// What the pictures are to show, in words that the judge knows: `"a toy on a beach"`, not `"a sks on a beach"`. Without
    /// it, each picture's own prompt.
    #[serde(default)]
    pub prompt: Option<String>,
    /// What to measure.
    #[serde(default = "all")]
    pub measures: Vec<Measure>,
    /// How many runs the pictures are of, all equally long, one behind the other. Diversity is that within a run, and errors are
    /// those between runs; the paper takes 5.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub runs: usize,
    /// Where similarity is measured.
    #[serde(default)]
    pub window: Window,
    /// The CLIP that judges: a folder as transformers saves a `CLIPModel`, such as `openai/clip-vit-large-patch14` is one, with
    /// its tokenizer. Without it, mini-sdxl's own judges pictures of mini-sdxl. Scores of different judges cannot be compared.
    #[serde(default)]
    pub clip: Option<String>,
    /// The network that the files of LPIPS are of.
    #[serde(default)]
    pub lpips_backbone: Backbone,
    /// torchvision's classifier, as safetensors: `features.0.weight` and so on. Without both files, LPIPS is not measured.
    #[serde(default)]
    pub lpips_trunk: Option<String>,
    /// The weights of its channels, version 0.1 of LPIPS, as safetensors: `lin0.model.1.weight` and so on.
    #[serde(default)]
    pub lpips_heads: Option<String>,
}

fn all() -> Vec<Measure> {
    Measure::ALL.to_vec()
}

fn one() -> usize {
    1
}

/// The model whose pictures have a judge of their own in this repository, and where that is.
const OWN: (&str, &str) = ("mini-sdxl", "models/mini-sdxl/clip");

impl Node for Evaluate {
    const KIND: &'static str = "Evaluate";
    const HOLDS_DEVICE: bool = true;
    type Output = Report;

    fn check(&self, cx: &mut Check<'_>) {
        if self.measures.is_empty() {
            cx.problem_with("measures", Problem::new("nothing is to be measured"));
        }
        if self.lpips_trunk.is_some() != self.lpips_heads.is_some() {
            let problem = Problem::new("`lpips_trunk` and `lpips_heads` belong together");
            cx.problem_with("lpips_trunk", problem.hint(self.lpips_backbone.hint()));
        }
        let given =
            [("clip", &self.clip), ("lpips_trunk", &self.lpips_trunk), ("lpips_heads", &self.lpips_heads)];
        for (field, path) in given {
            if let Some(path) = path
                && !cx.path(path).exists()
            {
                let problem = Problem::new(format!("`{path}` does not exist")).hint(cx.project().describe());
                cx.problem_with(field, problem);
            }
        }
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        let mut files = Clip::files(&project.path(self.clip.as_deref().unwrap_or(OWN.1)));
        files.extend(
            [&self.lpips_trunk, &self.lpips_heads].into_iter().flatten().map(|path| project.path(path)),
        );
        Ok(files)
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Report> {
        let images = cx.input(&self.images)?;
        let reference = self.reference.as_ref().map(|wire| cx.input(wire)).transpose()?;
        let run = self.pictures_per_run(&images)?;
        if reference.as_ref().is_some_and(|reference| reference.pictures.is_empty()) {
            return Err(Problem::new("there is no training picture to compare with").into());
        }
        let reference = reference.as_ref().map(|images| pixels(&images.pictures));
        let mut taken = Taken { node: self, pictures: &images.pictures, run, notes: Vec::new(), cx };
        let mut clip = None;
        let mut columns = Vec::new();
        for measure in Measure::ALL.into_iter().filter(|measure| self.measures.contains(measure)) {
            if let Some(values) = taken.values(measure, reference.as_deref(), &mut clip)? {
                columns.push((measure, values));
            }
        }
        let scores = self.scores(&images.pictures, run, &columns);
        let mut notes = summaries(&scores, cx);
        notes.append(&mut taken.notes);
        Ok(scores.to_report(self.title(), notes))
    }
}

impl Evaluate {
    fn title(&self) -> String {
        let shown = self.prompt.as_ref().map(|prompt| format!(" of `{prompt}`")).unwrap_or_default();
        format!("Measures of pictures{shown}")
    }

    /// The table of what was measured.
    fn scores(&self, pictures: &[Picture], run: usize, columns: &[(Measure, Vec<f64>)]) -> Scores {
        let scored = |(i, picture): (usize, &Picture)| {
            let made = picture.generation.as_ref();
            // What was asked for, in words that no method has of its own.
            let prompt = self.prompt.clone().or_else(|| made.map(|made| made.prompt.clone()));
            Scored {
                run: 1 + i / run,
                name: picture.name.clone(),
                made: Made { prompt, seed: made.map(|made| made.seed) },
                values: columns.iter().map(|(_, values)| values[i]).collect(),
            }
        };
        Scores {
            measures: columns.iter().map(|(measure, _)| *measure).collect(),
            pictures: pictures.iter().enumerate().map(scored).collect(),
        }
    }

    fn pictures_per_run(&self, images: &Images) -> Result<usize> {
        let count = images.pictures.len();
        if count == 0 {
            return Err(Problem::new("there is no picture to measure").into());
        }
        if !count.is_multiple_of(self.runs) {
            let message = format!("{count} pictures cannot be {} runs of the same length", self.runs);
            return Err(Problem::new(message).hint("sample a multiple of `runs`").into());
        }
        Ok(count / self.runs)
    }
}

/// The measures while they are taken.
struct Taken<'a> {
    node: &'a Evaluate,
    pictures: &'a [Picture],
    /// Pictures of one run.
    run: usize,
    /// What could not be measured, and why.
    notes: Vec<String>,
    cx: &'a Cx<'a>,
}

/// A judge and what it makes of the pictures.
struct Judged {
    clip: Clip,
    pictures: Vec<Direction>,
}

impl Taken<'_> {
    /// A value for each picture. None, if something is missing, which a note then says.
    fn values(
        &mut self,
        measure: Measure,
        reference: Option<&[&RgbImage]>,
        clip: &mut Option<Judged>,
    ) -> Result<Option<Vec<f64>>> {
        match (measure, reference) {
            (Measure::Diversity, _) => self.diversity(),
            (Measure::TextAlignment, _) => {
                let Some(judged) = self.judged(measure, clip)? else { return Ok(None) };
                self.text_alignment(judged)
            }
            (Measure::ImageAlignment, Some(reference)) => {
                let Some(judged) = self.judged(measure, clip)? else { return Ok(None) };
                let reference = judged.clip.pictures(reference, |_| self.cx.stop_if_asked())?;
                let near = |picture| mean_of(&reference, |other| Ok(Direction::cosine(picture, other)));
                judged.pictures.iter().map(near).collect::<Result<_>>().map(Some)
            }
            (Measure::PerceptualAlignment, Some(reference)) => self.perceptual_alignment(reference),
            (_, None) => self.not_taken(measure, "it wants the training pictures, as `reference`"),
        }
    }

    fn not_taken<T>(&mut self, measure: Measure, why: &str) -> Result<Option<T>> {
        let note = format!("Not measured: {}: {why}.", measure.name());
        self.cx.warn(note.clone(), None);
        self.notes.push(note);
        Ok(None)
    }

    fn diversity(&mut self) -> Result<Option<Vec<f64>>> {
        let mut values = Vec::new();
        let pairs = self.run * self.run.saturating_sub(1) / 2;
        for run in self.pictures.chunks(self.run) {
            if run.len() < 2 {
                return self.not_taken(Measure::Diversity, "a run of one picture has no pair");
            }
            let done = values.len() / self.run * pairs;
            values.extend(ssim::to_the_others(&pixels(run), self.node.window, |pair| {
                self.cx.progress(done + pair, pairs * self.node.runs, "pair")
            })?);
        }
        Ok(Some(values))
    }

    /// The pictures as CLIP sees them, which is asked once.
    fn judged<'b>(&mut self, measure: Measure, clip: &'b mut Option<Judged>) -> Result<Option<&'b Judged>> {
        if clip.is_none() {
            let folder = self.cx.path(self.node.clip.as_deref().unwrap_or(OWN.1));
            if let Some(why) = self.no_judge(&folder) {
                return self.not_taken(measure, &why);
            }
            let compute = model::compute(self.cx.settings())?.in_f32();
            let judge = Clip::open(&folder, &compute)?;
            let total = self.pictures.len();
            let pictures =
                judge.pictures(&pixels(self.pictures), |done| self.cx.progress(done, total, "picture"))?;
            *clip = Some(Judged { clip: judge, pictures });
        }
        Ok(clip.as_ref())
    }

    /// Why the judge that is not named cannot be had.
    fn no_judge(&self, folder: &Path) -> Option<String> {
        if self.node.clip.is_some() {
            return None;
        }
        let made_by = |picture: &Picture| picture.generation.as_ref().map(|made| made.model.clone());
        let foreign = self.pictures.iter().filter_map(made_by).find(|name| name != OWN.0);
        let hint =
            "give `clip` the folder of a CLIP model such as huggingface.co/openai/clip-vit-large-patch14";
        match foreign {
            Some(name) => Some(format!("the pictures are of `{name}`, and no judge is named; {hint}")),
            None if !folder.is_dir() => Some(format!("there is no `{}`; {hint}", OWN.1)),
            None => None,
        }
    }

    fn text_alignment(&self, judged: &Judged) -> Result<Option<Vec<f64>>> {
        let prompt = |picture: &Picture| -> Result<String> {
            let own = picture.generation.as_ref().map(|made| made.prompt.clone());
            self.node.prompt.clone().or(own).ok_or_else(|| {
                Problem::new(format!("nothing says what `{}` is to show", picture.name))
                    .hint("give `prompt`, or leave TextAlignment out of `measures`")
                    .into()
            })
        };
        let mut last: Option<(String, Direction)> = None;
        let mut near = |(picture, seen): (&Picture, &Direction)| -> Result<f64> {
            let prompt = prompt(picture)?;
            let text = match last.take() {
                Some((known, text)) if known == prompt => text,
                _ => judged.clip.text(&prompt)?,
            };
            let near = seen.cosine(&text);
            last = Some((prompt, text));
            Ok(near)
        };
        self.pictures.iter().zip(&judged.pictures).map(&mut near).collect::<Result<_>>().map(Some)
    }

    fn perceptual_alignment(&mut self, reference: &[&RgbImage]) -> Result<Option<Vec<f64>>> {
        let backbone = self.node.lpips_backbone;
        let (Some(trunk), Some(heads)) = (&self.node.lpips_trunk, &self.node.lpips_heads) else {
            let why = format!("it wants `lpips_trunk` and `lpips_heads`; {}", backbone.hint());
            return self.not_taken(Measure::PerceptualAlignment, &why);
        };
        let compute = model::compute(self.cx.settings())?.in_f32();
        let lpips = Lpips::open(backbone, &self.cx.path(trunk), &self.cx.path(heads), &compute)?;
        let size = self.pictures[0].pixels.dimensions();
        let seen = |picture: &RgbImage| match picture.dimensions() == size {
            true => lpips.features(picture),
            false => lpips.features(&bicubic(picture, size.0 as usize, size.1 as usize)),
        };
        if reference.iter().any(|picture| picture.dimensions() != size) {
            let (width, height) = size;
            self.notes
                .push(format!("For LPIPS the training pictures were scaled to {width} x {height} pixels."));
        }
        let reference = reference.iter().map(|picture| seen(picture)).collect::<Result<Vec<Features>>>()?;
        let near = |(i, picture): (usize, &Picture)| {
            self.cx.progress(i, self.pictures.len(), "picture")?;
            let picture = lpips.features(&picture.pixels)?;
            mean_of(&reference, |other| Ok(1.0 - lpips.distance(&picture, other)?))
        };
        self.pictures.iter().enumerate().map(near).collect::<Result<_>>().map(Some)
    }
}

fn pixels(pictures: &[Picture]) -> Vec<&RgbImage> {
    pictures.iter().map(|picture| &picture.pixels).collect()
}

/// The mean over some others.
fn mean_of<T>(others: &[T], near: impl Fn(&T) -> Result<f64>) -> Result<f64> {
    let sum: f64 = others.iter().map(near).sum::<Result<f64>>()?;
    Ok(sum / others.len() as f64)
}

/// A sentence for each measure.
fn summaries(scores: &Scores, cx: &Cx<'_>) -> Vec<String> {
    let say = |&measure: &Measure| {
        let summary = scores.summary(measure)?;
        let (name, mean) = (measure.name(), summary.over_runs.mean);
        cx.metric(name, mean, None, "");
        let interval = summary.interval.map(|i| format!(", 95 % from {:.4} to {:.4}", i.low, i.high));
        let error = summary.over_runs.error.map(|error| format!("; standard error over the runs {error:.4}"));
        Some(format!("{name}: {mean:.4}{}{}.", interval.unwrap_or_default(), error.unwrap_or_default()))
    };
    scores.measures.iter().filter_map(say).collect()
}
