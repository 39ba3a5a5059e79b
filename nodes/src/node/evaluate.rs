//! `Evaluate`: the paper's measures of pictures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_engine::{Check, Cx, In, Node, Problem, Project, Result, Value as _};
use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditioning::emphasis;
use crate::evaluate::clip::preprocess::covering;
use crate::evaluate::clip::{Clip, Direction};
use crate::evaluate::lpips::{Backbone, Features, Lpips};
use crate::evaluate::measure::Measure;
use crate::evaluate::scores::{Made, Scored, Scores};
use crate::evaluate::ssim::{self, Window};
use crate::hub::{self, Wanted};
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
    /// The CLIP that judges: a folder as transformers saves a `CLIPModel`, with its tokenizer, or one of the hub, such as
    /// `hub:openai/clip-vit-large-patch14`. Without it, mini-sdxl's own judges pictures that mini-sdxl drew. Scores of
    /// different judges cannot be compared.
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
        for (field, path) in [("lpips_trunk", &self.lpips_trunk), ("lpips_heads", &self.lpips_heads)] {
            if let Some(path) = path.as_ref().filter(|path| !cx.path(path).is_file()) {
                let problem = Problem::new(format!("`{path}` is no file")).hint(cx.project().describe());
                cx.problem_with(field, problem);
            }
        }
        let Some(clip) = &self.clip else { return };
        match hub::when_checked(clip, Wanted::Clip, cx) {
            Ok(folder) if folder.is_dir() => {}
            Ok(_) => {
                let problem = Problem::new(format!("`{clip}` is no folder"));
                cx.problem_with("clip", problem.hint(cx.project().describe()));
            }
            Err(problem) => cx.problem_with("clip", problem),
        }
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        let clip = hub::when_keyed(self.clip.as_deref().unwrap_or(OWN.1), Wanted::Clip, project)?;
        let mut files = Clip::files(&clip);
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
        let mut settings = BTreeMap::new();
        settings.extend(reference.as_ref().map(|images| ("reference".to_owned(), images.digest().short())));
        let reference = reference.as_ref().map(|images| pixels(&images.pictures));
        let mut taken =
            Taken { node: self, pictures: &images.pictures, run, notes: Vec::new(), settings, cx };
        let mut clip = None;
        let mut columns = Vec::new();
        for measure in Measure::ALL.into_iter().filter(|measure| self.measures.contains(measure)) {
            if let Some(values) = taken.values(measure, reference.as_deref(), &mut clip)? {
                refuse_no_numbers(measure, &values, &images.pictures)?;
                columns.push((measure, values));
            }
        }
        let settings = std::mem::take(&mut taken.settings);
        let scores = Scores { settings, ..self.scores(&images.pictures, run, &columns) };
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
            settings: BTreeMap::new(),
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
    /// What was measured with.
    settings: BTreeMap<String, String>,
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
                let Some(prompts) = self.prompts()? else { return Ok(None) };
                let Some(judged) = self.judged(measure, clip)? else { return Ok(None) };
                text_alignment(&prompts, judged).map(Some)
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
        self.settings.insert("SSIM window".to_owned(), format!("{:?}", self.node.window));
        let mut values = Vec::new();
        let pairs = self.run * self.run.saturating_sub(1) / 2;
        if self.run < 2 {
            return self.not_taken(Measure::Diversity, "a run of one picture has no pair");
        }
        self.refuse_other_sizes("SSIM")?;
        for run in self.pictures.chunks(self.run) {
            let done = values.len() / self.run * pairs;
            values.extend(ssim::to_the_others(&pixels(run), self.node.window, |pair| {
                self.cx.progress(done + pair, pairs * self.node.runs, "pair")
            })?);
        }
        Ok(Some(values))
    }

    /// The size of the pictures, which is one.
    fn refuse_other_sizes(&self, measure: &str) -> Result<(u32, u32)> {
        let size = self.pictures[0].pixels.dimensions();
        let Some(other) = self.pictures.iter().find(|picture| picture.pixels.dimensions() != size) else {
            return Ok(size);
        };
        let (first, (w, h)) = (&self.pictures[0].name, other.pixels.dimensions());
        let message = format!("`{}` has {w} x {h} pixels, and `{first}` {} x {}", other.name, size.0, size.1);
        let hint =
            format!("{measure} compares pictures of one size: sample them so, or leave it out of `measures`");
        Err(Problem::new(message).hint(hint).into())
    }

    /// The pictures as CLIP sees them, which is asked once.
    fn judged<'b>(&mut self, measure: Measure, clip: &'b mut Option<Judged>) -> Result<Option<&'b Judged>> {
        if clip.is_none() {
            let name = self.node.clip.as_deref().unwrap_or(OWN.1);
            let folder = match &self.node.clip {
                Some(clip) => hub::when_run(clip, Wanted::Clip, self.cx)?,
                None => self.cx.path(OWN.1),
            };
            if let Some(why) = self.no_judge(&folder) {
                return self.not_taken(measure, &why);
            }
            let content = self.cx.digest_of_files(&Clip::files(&folder))?.short();
            self.settings.insert("CLIP".to_owned(), format!("{name} ({content})"));
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
        let model = |picture: &Picture| picture.generation.as_ref().map(|made| made.model.clone());
        let foreign = self.pictures.iter().find(|picture| model(picture).as_deref() != Some(OWN.0));
        let hint = "give `clip` a folder, or a model of the hub such as `hub:openai/clip-vit-large-patch14`";
        match foreign {
            Some(picture) => Some(match model(picture) {
                Some(name) => format!("the pictures are of `{name}`, and no judge is named; {hint}"),
                None => {
                    format!("no model is known that drew `{}`, and no judge is named; {hint}", picture.name)
                }
            }),
            None if !folder.is_dir() => Some(format!("there is no `{}`; {hint}", OWN.1)),
            None => None,
        }
    }

    /// What each picture is to show, in words. None, if nothing says so of one of them.
    fn prompts(&mut self) -> Result<Option<Vec<String>>> {
        let mut prompts = Vec::with_capacity(self.pictures.len());
        for picture in self.pictures {
            let own = picture.generation.as_ref().map(|made| emphasis::plain(&made.prompt));
            match self.node.prompt.clone().or(own) {
                Some(prompt) => prompts.push(prompt),
                None => {
                    let why = format!("nothing says what `{}` is to show; give `prompt`", picture.name);
                    return self.not_taken(Measure::TextAlignment, &why);
                }
            }
        }
        Ok(Some(prompts))
    }

    fn perceptual_alignment(&mut self, reference: &[&RgbImage]) -> Result<Option<Vec<f64>>> {
        let backbone = self.node.lpips_backbone;
        let (Some(trunk), Some(heads)) = (&self.node.lpips_trunk, &self.node.lpips_heads) else {
            let why = format!("it wants `lpips_trunk` and `lpips_heads`; {}", backbone.hint());
            return self.not_taken(Measure::PerceptualAlignment, &why);
        };
        let size = self.refuse_other_sizes("LPIPS")?;
        let (trunk, heads) = (self.cx.path(trunk), self.cx.path(heads));
        let content = self.cx.digest_of_files(&[trunk.clone(), heads.clone()])?.short();
        self.settings.insert("LPIPS".to_owned(), format!("{backbone:?} ({content})"));
        let compute = model::compute(self.cx.settings())?.in_f32();
        let lpips = Lpips::open(backbone, &trunk, &heads, &compute)?;
        if reference.iter().any(|picture| picture.dimensions() != size) {
            let (width, height) = size;
            self.notes.push(format!(
                "For LPIPS the training pictures were scaled and cut in the middle to {width} x {height} pixels."
            ));
        }
        let seen = |picture: &&RgbImage| match picture.dimensions() == size {
            true => lpips.features(picture),
            false => lpips.features(&covering(picture, size)),
        };
        let reference = reference.iter().map(seen).collect::<Result<Vec<Features>>>()?;
        let near = |(i, picture): (usize, &Picture)| {
            self.cx.progress(i, self.pictures.len(), "picture")?;
            let picture = lpips.features(&picture.pixels)?;
            mean_of(&reference, |other| Ok(1.0 - lpips.distance(&picture, other)?))
        };
        self.pictures.iter().enumerate().map(near).collect::<Result<_>>().map(Some)
    }
}

/// How near each picture is to what it is to show.
fn text_alignment(prompts: &[String], judged: &Judged) -> Result<Vec<f64>> {
    let mut known = BTreeMap::new();
    let mut near = |(prompt, seen): (&String, &Direction)| -> Result<f64> {
        if !known.contains_key(prompt) {
            known.insert(prompt.clone(), judged.clip.text(prompt)?);
        }
        Ok(seen.cosine(&known[prompt]))
    };
    prompts.iter().zip(&judged.pictures).map(&mut near).collect()
}

/// A judge that gives no number has not judged.
fn refuse_no_numbers(measure: Measure, values: &[f64], pictures: &[Picture]) -> Result<()> {
    let Some(at) = values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    let message = format!("{} of `{}` is {}", measure.name(), pictures[at].name, values[at]);
    Err(Problem::new(message).hint("the weights of the judge are damaged, or too coarse").into())
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
