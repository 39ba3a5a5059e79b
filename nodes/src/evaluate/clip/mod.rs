//! CLIP as a judge: how near pictures and texts are to each other (Radford et al. 2021, arXiv 2103.00020).
//!
//! A picture and a text become vectors of one length, and the score of two of them is their cosine: from -1 to 1, higher
//! is nearer. Scores of different CLIP models cannot be compared.
//!
//! Nothing here knows which pictures are compared with which.

pub mod preprocess;
pub mod vision;

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use flow_engine::{Problem, Result};
use image::RgbImage;
use serde::Deserialize;
use serde_json::{Value, json};

use super::weights::{FromFile, misfits};
use crate::sdxl::config::{self, TextConfig};
use crate::sdxl::files::WeightFiles;
use crate::sdxl::weights::Layout;
use crate::sdxl::{Compute, TextEncoder, Tokenizer, Weights};
use preprocess::Preprocess;
use vision::{VisionConfig, VisionTower};

/// Pictures that go through the tower together.
const BATCH: usize = 16;
const CONFIG: &str = "config.json";
const STEM: &str = "model";

/// The two towers of a CLIP model: pixels and tokens come in, directions come out.
#[derive(Debug)]
pub struct Towers {
    name: String,
    preprocess: Preprocess,
    vision: VisionTower,
    text: TextEncoder,
    compute: Compute,
}

/// A CLIP model that reads text.
#[derive(Debug)]
pub struct Clip {
    towers: Towers,
    tokenizer: Tokenizer,
}

/// A vector of length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction(Vec<f64>);

impl Direction {
    /// The cosine of two. A vector without length is at right angles to everything.
    pub fn cosine(&self, other: &Self) -> f64 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }

    fn of(values: Vec<f32>) -> Self {
        let length = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let share = if length > 0.0 { 1.0 / length } else { 0.0 };
        Self(values.into_iter().map(|x| f64::from(x) * share).collect())
    }
}

#[derive(Deserialize)]
struct ClipConfig {
    text_config: Value,
    #[serde(default)]
    vision_config: VisionConfig,
    #[serde(default = "projected")]
    projection_dim: usize,
}

fn projected() -> usize {
    512
}

impl ClipConfig {
    fn open(folder: &Path) -> Result<(Self, TextConfig)> {
        let file = folder.join(CONFIG);
        let config: Self = config::read_json(&file)?;
        // What a file leaves out is what transformers takes then.
        let mut text = json!({
            "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
            "num_attention_heads": 8, "max_position_embeddings": 77,
        });
        if let (Some(all), Some(said)) = (text.as_object_mut(), config.text_config.as_object()) {
            all.extend(said.clone());
            all.insert("projection_dim".to_owned(), config.projection_dim.into());
        }
        let text: TextConfig = config::parse(&text.to_string(), &file.display().to_string())?;
        let wrong = config.vision_config.wrong();
        if wrong.is_empty() {
            return Ok((config, text));
        }
        Err(Problem::new(format!("`{}` asks for {}", file.display(), wrong.join("; "))).into())
    }
}

impl Towers {
    /// Opens the weights of a folder as transformers saves a `CLIPModel`.
    ///
    /// # Errors
    /// Absent files; every tensor that is missing or of another shape.
    pub fn open(folder: &Path, compute: &Compute) -> Result<Self> {
        let (config, text_config) = ClipConfig::open(folder)?;
        let files = WeightFiles::open(folder, STEM)?;
        let towers = |w: &Weights<'_>| {
            let vision = VisionTower::new(&config.vision_config, config.projection_dim, w)?;
            Ok((vision, TextEncoder::new(&text_config, true, w)?))
        };
        check(folder, &files, towers)?;
        let (vision, text) = towers(&Weights::new(&FromFile { files: &files, compute }))?;
        let preprocess = Preprocess::open(folder, config.vision_config.image_size)?;
        Ok(Self { name: folder.display().to_string(), preprocess, vision, text, compute: compute.clone() })
    }

    /// What a picture goes through before its tower sees it.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Directions of pictures `[b, 3, side, side]`.
    ///
    /// # Errors
    /// Features that are no numbers.
    pub fn pictures(&self, pictures: &Tensor) -> Result<Vec<Direction>> {
        self.directions(&self.vision.forward(pictures)?)
    }

    /// Directions of texts of one length, `[b][tokens]`.
    ///
    /// # Errors
    /// As [`TextEncoder::forward`]; features that are no numbers.
    pub fn texts(&self, ids: &[Vec<u32>]) -> Result<Vec<Direction>> {
        let features = self.text.forward(ids)?;
        self.directions(&features.projected.unwrap_or(features.pooled))
    }

    fn directions(&self, features: &Tensor) -> Result<Vec<Direction>> {
        let rows = features.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        if rows.iter().flatten().any(|x| !x.is_finite()) {
            let problem = Problem::new(format!("`{}` gives features that are no numbers", self.name));
            return Err(problem.hint(format!("it runs in {:?}; try f32", self.compute.dtype)).into());
        }
        Ok(rows.into_iter().map(Direction::of).collect())
    }
}

impl Clip {
    /// The files of a model's folder that decide its scores.
    pub fn files(folder: &Path) -> Vec<PathBuf> {
        let own = [CONFIG, "preprocessor_config.json", "model.safetensors", "model.safetensors.index.json"];
        let own = own.map(|name| folder.join(name)).into_iter().filter(|file| file.is_file());
        let shards = WeightFiles::open(folder, STEM).map(|files| files.files().to_vec()).unwrap_or_default();
        let mut files: Vec<_> = own.chain(shards).chain(Tokenizer::files(folder)).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Opens a folder as transformers saves a `CLIPModel`, with its tokenizer.
    ///
    /// # Errors
    /// As [`Towers::open`]; no tokenizer.
    pub fn open(folder: &Path, compute: &Compute) -> Result<Self> {
        Ok(Self { towers: Towers::open(folder, compute)?, tokenizer: Tokenizer::open(folder)? })
    }

    /// Directions of pictures. `told` hears how many are done and may stop the work.
    ///
    /// # Errors
    /// What `told` says; features that are no numbers.
    pub fn pictures(
        &self,
        pictures: &[&RgbImage],
        mut told: impl FnMut(usize) -> Result<()>,
    ) -> Result<Vec<Direction>> {
        let mut directions = Vec::with_capacity(pictures.len());
        for batch in pictures.chunks(BATCH) {
            let batch = batch.iter().map(|picture| self.towers.preprocess.tensor(picture));
            let batch = Tensor::stack(&batch.collect::<Result<Vec<_>>>()?, 0)?;
            directions.extend(self.towers.pictures(&batch)?);
            told(directions.len())?;
        }
        Ok(directions)
    }

    /// The direction of a text.
    ///
    /// # Errors
    /// A text with more tokens than the tower reads: it would be judged by its beginning alone.
    pub fn text(&self, text: &str) -> Result<Direction> {
        let (words, room) = (self.tokenizer.words(text)?.len(), self.tokenizer.room());
        if words > room {
            let name = &self.towers.name;
            let message = format!("the prompt is {words} tokens long, and `{name}` reads {room}");
            return Err(Problem::new(message).hint("give `prompt` a shorter text that says the same").into());
        }
        Ok(self.towers.texts(&[self.tokenizer.encode_unpadded(text)?])?.remove(0))
    }
}

/// Tells every tensor that is missing or of another shape.
fn check<T>(folder: &Path, files: &WeightFiles, build: impl Fn(&Weights<'_>) -> Result<T>) -> Result<()> {
    let wrong = misfits(files, &Layout::of(build)?);
    if wrong.is_empty() {
        return Ok(());
    }
    let message = format!("`{}` is no CLIP model:\n  {}", folder.display(), wrong.join("\n  "));
    Err(Problem::new(message).hint("a folder as transformers saves a `CLIPModel`, with both towers").into())
}
