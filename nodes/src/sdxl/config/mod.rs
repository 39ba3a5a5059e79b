//! The settings in a diffusers folder, as its JSON files have them.
//!
//! Keys that Flow does not know are passed over (diffusers writes many that change nothing). A setting that changes
//! numbers in a way Flow does not follow is refused by name: a wrong picture is worse than none.

mod scheduler;
mod text;
mod unet;
mod vae;

pub use scheduler::{BetaSchedule, Prediction, SchedulerConfig, Spacing};
pub use text::{SpecialToken, SpecialTokens, TextActivation, TextConfig, TokenizerConfig};
pub use unet::UNetConfig;
pub use vae::VaeConfig;

use std::path::Path;

use flow_engine::{Problem, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// More levels than any network has; each halves the picture.
const MOST_LEVELS: usize = 16;

/// More layers than any part of a network has.
const MOST_LAYERS: usize = 1000;

/// One value for every block, or one per block.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum PerBlock<T> {
    /// The same everywhere.
    All(T),
    /// In the order of the blocks, from the outside in.
    Each(Vec<T>),
}

impl<T: Clone> PerBlock<T> {
    /// The value of block `i`; a list that is too short gives its last.
    pub fn at(&self, i: usize) -> Option<T> {
        match self {
            Self::All(value) => Some(value.clone()),
            Self::Each(values) => values.get(i).or(values.last()).cloned(),
        }
    }

    fn fits(&self, blocks: usize) -> bool {
        match self {
            Self::All(_) => true,
            Self::Each(values) => values.len() == blocks,
        }
    }
}

/// `model_index.json`: what the folder is.
#[derive(Debug, Clone, Deserialize)]
pub struct ModelIndex {
    /// The pipeline's class.
    #[serde(rename = "_class_name")]
    pub class: String,
    /// Whether no negative prompt means zeros instead of the encoded empty text.
    #[serde(default = "yes")]
    pub force_zeros_for_empty_prompt: bool,
}

/// A configuration that can say what Flow does not follow.
pub(crate) trait Config: DeserializeOwned {
    /// Every setting that is refused, in words.
    fn refusals(&self) -> Vec<String>;
}

macro_rules! checked {
    ($($config:ty),*) => {$(
        impl Config for $config {
            fn refusals(&self) -> Vec<String> {
                self.check()
            }
        }
    )*};
}
checked!(UNetConfig, VaeConfig, TextConfig, SchedulerConfig);

impl Config for ModelIndex {
    fn refusals(&self) -> Vec<String> {
        if self.class.starts_with("StableDiffusionXL") {
            return Vec::new();
        }
        vec![format!("it is a {}, not a StableDiffusionXLPipeline", self.class)]
    }
}

impl Config for TokenizerConfig {
    fn refusals(&self) -> Vec<String> {
        if (2..1 << 20).contains(&self.model_max_length) {
            return Vec::new();
        }
        vec![format!("`model_max_length` is {}", self.model_max_length)]
    }
}

/// Reads a JSON file of a folder.
///
/// # Errors
/// A file that is absent, is no JSON, lacks a key, or has settings that Flow does not follow.
pub(crate) fn read<T: Config>(file: &Path) -> Result<T> {
    parse(&text(file)?, &file.display().to_string())
}

/// Reads JSON that is known under a name.
///
/// # Errors
/// As [`read`].
pub(crate) fn parse<T: Config>(json: &str, name: &str) -> Result<T> {
    let config: T = parse_json(json, name)?;
    let refusals = config.refusals();
    if refusals.is_empty() {
        return Ok(config);
    }
    let message = format!("`{name}` asks for what Flow cannot do:\n  {}", refusals.join("\n  "));
    Err(Problem::new(message).hint("Flow runs models built like SDXL base 1.0, of any size").into())
}

/// Reads a JSON file of a folder, whatever is in it.
pub(crate) fn read_json<T: DeserializeOwned>(file: &Path) -> Result<T> {
    parse_json(&text(file)?, &file.display().to_string())
}

/// Reads JSON that is known under a name, whatever is in it.
pub(crate) fn parse_json<T: DeserializeOwned>(json: &str, name: &str) -> Result<T> {
    serde_json::from_str(json)
        .map_err(|cause| Problem::new(format!("`{name}` is not the file it should be: {cause}")).into())
}

/// The text of a file of a folder.
pub(crate) fn text(file: &Path) -> Result<String> {
    if file.exists() && !file.is_file() {
        return Err(Problem::new(format!("`{}` is not a file", file.display())).into());
    }
    std::fs::read_to_string(file).map_err(|cause| {
        let message = format!("cannot read `{}`: {cause}", file.display());
        let hint =
            "a model is a folder as diffusers saves it, with `model_index.json` and a folder for each part";
        Problem::new(message).hint(hint).into()
    })
}

/// What `settings` say that is not among the `allowed`; absent and null are always allowed.
fn refused(
    settings: &serde_json::Map<String, serde_json::Value>,
    allowed: &[(&str, &[&str])],
) -> Vec<String> {
    let told = allowed.iter().filter_map(|(key, values)| Some((key, settings.get(*key)?, values)));
    told.filter(|(_, found, values)| !found.is_null() && !values.contains(&plain(found).as_str()))
        .map(|(key, found, values)| match values {
            [] => format!("`{key}` is {found}; only null is supported"),
            [only, ..] => format!("`{key}` is {found}; only {only} is supported"),
        })
        .collect()
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn yes() -> bool {
    true
}

fn thirty_two() -> usize {
    32
}

fn norm_eps() -> f64 {
    1e-5
}
