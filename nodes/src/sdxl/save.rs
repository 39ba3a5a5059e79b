//! A model as files: a folder as diffusers saves it, or a single file in the original layout.
//!
//! Tensors come one at a time and go out at once, so that a model that is written is never in memory. A model in the
//! place of the new one is replaced only if Flow wrote it.
//!
//! Nothing here knows adapters: whoever saves says what each weight is.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use flow_engine::{Problem, Result};
use serde_json::{Value, json};

use super::Checkpoint;
use super::config::Prediction;
use super::files::{Take, WeightFiles};
use super::original::OriginalNames;
use super::part::Part;
use super::settings;
use super::single_file::{self, Holder, Shapes};
use super::write::{Entry, fitting, write};
use crate::folder::NewFolder;
use flow_engine::file;

/// Gives the weights of a network by diffusers' names, in float32.
pub type Weight<'a> = dyn FnMut(Part, &str, &[usize]) -> Result<Tensor> + 'a;

/// By what a file tells who wrote it.
const WRITER: (&str, &str) = ("modelspec.implementation", "flow");

/// A model that is to be written.
#[derive(Debug)]
pub struct Saving<'a> {
    checkpoint: &'a Checkpoint,
    layouts: BTreeMap<Part, Shapes>,
    dtype: DType,
    metadata: BTreeMap<String, String>,
}

impl<'a> Saving<'a> {
    /// A model that is built as `checkpoint` is, in a type; `says` goes into the files' metadata.
    ///
    /// # Errors
    /// None for an opened checkpoint.
    pub fn new(
        checkpoint: &'a Checkpoint,
        dtype: DType,
        title: &str,
        says: BTreeMap<String, String>,
    ) -> Result<Self> {
        let layouts = Part::ALL.into_iter().map(|part| Ok((part, checkpoint.layout(part)?)));
        let predicts = match checkpoint.scheduler_config().prediction_type {
            Prediction::Epsilon => "epsilon",
            Prediction::VPrediction => "v",
            Prediction::Sample => "sample",
        };
        let fixed = [
            ("format", "pt"), // without it transformers opens no file
            ("modelspec.sai_model_spec", "1.0.0"),
            ("modelspec.architecture", "stable-diffusion-xl-v1-base"),
            ("modelspec.prediction_type", predicts),
            ("modelspec.title", title),
            WRITER,
        ];
        let mut metadata = says;
        metadata.extend(fixed.map(|(key, value)| (key.to_owned(), value.to_owned())));
        Ok(Self { checkpoint, layouts: layouts.collect::<Result<_>>()?, dtype, metadata })
    }

    /// How many weights are asked for.
    pub fn count(&self) -> usize {
        self.layouts.values().map(BTreeMap::len).sum()
    }

    /// Writes a folder as diffusers saves it; tells whether it changed.
    ///
    /// # Errors
    /// Those of `weight`, values that the type does not hold, a full disk; what is at `path` then stays.
    pub fn folder(&self, path: &Path, weight: &mut Weight<'_>) -> Result<bool> {
        let mut folder = NewFolder::at(path)?;
        for (name, text) in self.texts()? {
            folder.write_with(&name, |file| Ok(file.write_all(&text)?))?;
        }
        for (&part, shapes) in &self.layouts {
            folder.write_with(&part.weights_file(), |file| {
                let entry = |(name, shape): (&String, &Vec<usize>)| self.entry(name, shape);
                let entries: Vec<_> = shapes.iter().map(entry).collect();
                write(file, &entries, &self.metadata, |entry| {
                    fitting(&entry.name, &weight(part, &entry.name, &entry.shape)?, self.dtype)
                })
            })?;
        }
        folder.becomes()
    }

    /// Writes a single file in the original layout; tells whether it changed.
    ///
    /// # Errors
    /// As [`Self::folder`].
    pub fn file(&self, path: &Path, weight: &mut Weight<'_>) -> Result<bool> {
        file::write_with(path, |file| self.original(file, weight))
    }

    /// A tensor to come, in the type of the file.
    fn entry(&self, name: &str, shape: &[usize]) -> Entry {
        Entry { name: name.to_owned(), dtype: self.dtype, shape: shape.to_vec() }
    }

    /// All parts in the original layout.
    fn original(&self, to: &mut dyn Write, weight: &mut Weight<'_>) -> Result<()> {
        let names = OriginalNames::new(self.checkpoint.unet_config(), self.checkpoint.vae_config());
        let held = self.layouts.iter().flat_map(|(&part, shapes)| {
            let holders = single_file::holders(part, shapes, &names);
            holders.into_iter().map(move |(name, holder)| (name, (part, holder)))
        });
        let held: BTreeMap<String, (Part, Holder<'_>)> = held.collect();
        let shape = |(part, holder): &(Part, Holder<'_>)| kept_shape(*part, &holder.shape);
        let mut entries: Vec<_> = held.iter().map(|(name, held)| self.entry(name, &shape(held))).collect();
        entries.extend(self.marks().into_iter().map(|mark| self.entry(mark, &[0])));
        write(to, &entries, &self.metadata, |entry| {
            let Some((part, holder)) = held.get(&entry.name) else {
                return Ok(Tensor::zeros(0, self.dtype, &candle_core::Device::Cpu)?);
            };
            let whole = self.joined(*part, holder, weight)?.reshape(entry.shape.as_slice())?;
            fitting(&entry.name, &whole, self.dtype)
        })
    }

    /// A tensor of the original layout from those that it holds.
    fn joined(&self, part: Part, holder: &Holder<'_>, weight: &mut Weight<'_>) -> Result<Tensor> {
        let mut pieces = holder.pieces.clone();
        pieces.sort_by_key(|(_, take)| if let Take::Third(third) = take { *third } else { 0 });
        let tensors = pieces.iter().map(|(name, _)| weight(part, name, &self.layouts[&part][*name]));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let whole = Tensor::cat(&tensors, 0)?;
        Ok(if pieces.iter().any(|(_, take)| *take == Take::Transposed) {
            whole.t()?.contiguous()?
        } else {
            whole
        })
    }

    /// What a single file can say of its noise.
    fn marks(&self) -> Vec<&'static str> {
        let scheduler = self.checkpoint.scheduler_config();
        let v = scheduler.prediction_type == Prediction::VPrediction;
        let marks =
            [(v, single_file::V_PREDICTION), (scheduler.rescale_betas_zero_snr, single_file::ZERO_SNR)];
        marks.into_iter().filter_map(|(holds, mark)| holds.then_some(mark)).collect()
    }

    /// Settings and tokenizers, which say what the checkpoint is.
    pub(super) fn texts(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut texts = self.checkpoint.texts()?;
        if let Some(index) = texts.get_mut("model_index.json") {
            amend(index, |index| {
                // What is not written must not be asked for: pictures as prompts, which Flow does not read.
                for absent in ["feature_extractor", "image_encoder"] {
                    if index.get(absent).is_some_and(|component| component[1].is_string()) {
                        index[absent] = json!([null, null]);
                    }
                }
            })?;
        }
        if let Some(noise) = texts.get_mut("scheduler/scheduler_config.json") {
            // A single file's marks say it elsewhere.
            let marks = self.marks();
            amend(noise, |noise| {
                if marks.contains(&single_file::V_PREDICTION) {
                    noise["prediction_type"] = "v_prediction".into();
                }
                if marks.contains(&single_file::ZERO_SNR) {
                    noise["rescale_betas_zero_snr"] = true.into();
                }
            })?;
        }
        Ok(texts)
    }
}

/// Changes JSON; a text in which nothing changes stays as it is to the last space.
fn amend(text: &mut Vec<u8>, change: impl FnOnce(&mut Value)) -> Result<()> {
    let before: Value = serde_json::from_slice(text)?;
    let mut after = before.clone();
    change(&mut after);
    if after != before {
        *text = serde_json::to_vec_pretty(&after)?;
    }
    Ok(())
}

/// The shape in which the original layout keeps a tensor: the linear layers of the autoencoder's attention are 1x1
/// convolutions there.
fn kept_shape(part: Part, shape: &[usize]) -> Vec<usize> {
    if part == Part::Vae && shape.len() == 2 { [shape, &[1, 1]].concat() } else { shape.to_vec() }
}

/// What is at `path` that a model must not take the place of: everything that Flow did not write.
pub fn in_the_way(path: &Path) -> Option<Problem> {
    let shown = path.display();
    let foreign = match foreign_in(path) {
        Ok(foreign) => foreign?,
        Err(cause) => return Some(Problem::new(format!("cannot read `{shown}`: {cause}"))),
    };
    let message = match foreign.as_os_str().is_empty() {
        true => format!("`{shown}` is there, and Flow did not write it"),
        false => format!("`{shown}` holds `{}`, which Flow did not write", foreign.display()),
    };
    Some(Problem::new(message).hint("name another path, or move away what is there"))
}

/// The first thing at `path` or in it that Flow did not write, by its path from there. A folder of another kind is left
/// at the first look, however large it is.
fn foreign_in(path: &Path) -> io::Result<Option<PathBuf>> {
    let itself = Some(PathBuf::new());
    if !path.is_dir() {
        return Ok(itself.filter(|_| path.exists() && !is_ours(path)));
    }
    let (weights, known) = (Part::ALL.map(|part| PathBuf::from(part.weights_file())), known_files());
    let (mut folders, mut found) = (vec![PathBuf::new()], false);
    while let Some(below) = folders.pop() {
        for entry in std::fs::read_dir(path.join(&below))? {
            let entry = entry?;
            let (name, kind) = (below.join(entry.file_name()), entry.file_type()?);
            found = true;
            if kind.is_dir() && known.iter().any(|file| file.parent() == Some(&name)) {
                folders.push(name);
            } else if !kind.is_file()
                || !known.contains(&name)
                || (weights.contains(&name) && !is_ours(&entry.path()))
            {
                return Ok(Some(name));
            }
        }
    }
    // Settings alone are somebody's.
    let has_weights = weights.iter().any(|file| path.join(file).is_file());
    Ok(itself.filter(|_| found && !has_weights))
}

/// The files that a folder may have which Flow writes.
fn known_files() -> Vec<PathBuf> {
    let of_tokenizers = ["tokenizer", "tokenizer_2"]
        .iter()
        .flat_map(|folder| settings::OF_A_TOKENIZER.iter().map(move |file| Path::new(folder).join(file)));
    let weights = Part::ALL.map(|part| part.weights_file().into());
    settings::FILES.iter().map(PathBuf::from).chain(of_tokenizers).chain(weights).collect()
}

/// Whether Flow wrote a file of weights.
fn is_ours(file: &Path) -> bool {
    let (key, flow) = WRITER;
    WeightFiles::open_file(file).is_ok_and(|file| file.metadata().get(key).is_some_and(|by| by == flow))
}
