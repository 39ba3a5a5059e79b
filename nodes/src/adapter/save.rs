//! What an adapter's files hold when it is saved.
//!
//! What was made in a graph is already a file, and goes out byte by byte. What came from a file keeps its tensors under
//! their names, except PaRas in other forms than ours.
//!
//! Nothing here knows where files go.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use candle_core::{DType, Tensor};
use flow_engine::{Problem, Result};

use super::method::Of;
use super::names::target_of;
use super::peft::CONFIG;
use super::write::{self, FileDtype, Metadata};
use super::{Adapter, Single, para, read};
use crate::sdxl::files::WeightFiles;
use crate::sdxl::write::{Entry, bytes, fitting};

/// What stands in a file.
#[derive(Debug)]
pub enum Contents<'a> {
    /// These bytes.
    Bytes(Cow<'a, [u8]>),
    /// The tensors of another file under the same names.
    Tensors {
        /// Where they are.
        files: &'a WeightFiles,
        /// Their type; that in which they are, if there is none.
        dtype: Option<DType>,
        /// What the file says of itself.
        metadata: Metadata,
    },
}

impl Contents<'_> {
    /// Writes them; always the same bytes.
    ///
    /// # Errors
    /// Values that are no numbers or that the type does not hold, types that weights are not read in, a full disk.
    pub fn write(&self, to: &mut dyn Write) -> Result<()> {
        match self {
            Self::Bytes(bytes) => Ok(to.write_all(bytes)?),
            Self::Tensors { files, dtype, metadata } => copy(files, *dtype, metadata, to),
        }
    }
}

/// The one adapter that a file can hold.
///
/// # Errors
/// A list of several, and a whole model, each with the node that can save it.
pub fn only(adapter: &Adapter) -> Result<&Single, Problem> {
    let steps = adapter.steps();
    let [single] = steps else {
        let (name, n) = (adapter.name(), steps.len());
        let why = match steps.iter().all(|step| step.is("PaRa")) {
            true => "two PaRas in turn are no PaRa",
            false => "a file holds one",
        };
        return Err(Problem::new(format!("`{name}` is a list of {n} adapters, and {why}"))
            .hint("`Convert(model, adapters, to: LoRA)` makes one LoRA of PaRas and LoRAs in their order"));
    };
    if single.layers().iter().any(|layer| layer.of == Of::Tensor) {
        let message = format!("`{}` is a whole model, and no file of an adapter holds one", single.name());
        return Err(Problem::new(message).hint("apply it to its base, and save the result with `SaveModel`"));
    }
    Ok(single)
}

/// What an adapter's own file holds.
///
/// # Errors
/// A PaRa whose layers are called by names that only a model can tell; values that are no numbers.
pub fn file(single: &Single, dtype: Option<FileDtype>) -> Result<Contents<'_>> {
    if dtype.is_none()
        && let Some(made) = single.files().made_bytes()
    {
        return Ok(Contents::Bytes(made.into()));
    }
    if single.word().is_some() {
        return word(single, dtype);
    }
    if is_para(single) && (dtype.is_some() || !in_our_form(single)) {
        let made = para_in_our_form(single, dtype.unwrap_or_default())?;
        return Ok(Contents::Bytes(made.files().made_bytes().unwrap_or_default().to_vec().into()));
    }
    let dtype = dtype.map(FileDtype::dtype);
    Ok(Contents::Tensors { files: single.files(), dtype, metadata: single.files().metadata().clone() })
}

/// What the files of a folder as PEFT saves it hold, by name.
///
/// # Errors
/// An adapter without PEFT's configuration.
pub fn folder(single: &Single, dtype: Option<FileDtype>) -> Result<[(&'static str, Contents<'_>); 2]> {
    let files = single.files();
    let Some(config) = files.metadata().get(CONFIG) else {
        let message = format!("`{}` has no PEFT configuration, which a folder holds", single.name());
        return Err(Problem::new(message).hint("name a file that ends in .safetensors").into());
    };
    let config = Contents::Bytes(config.as_bytes().into());
    let weights = match files.made_bytes().filter(|_| dtype.is_none()) {
        Some(made) => Contents::Bytes(made.into()),
        None => {
            let mut metadata = files.metadata().clone();
            metadata.remove(CONFIG);
            Contents::Tensors { files, dtype: dtype.map(FileDtype::dtype), metadata }
        }
    };
    Ok([(read::PEFT_WEIGHTS, weights), (read::PEFT_CONFIG, config)])
}

/// A textual inversion under the word that stands for it.
fn word(single: &Single, dtype: Option<FileDtype>) -> Result<Contents<'_>> {
    let Some(word) = single.word() else { anyhow::bail!("`{}` is no new word", single.name()) };
    let mut tensors = word.tensors();
    for (name, tensor) in &mut tensors {
        let stored = single.files().stored_dtype(name).unwrap_or(DType::F32);
        *tensor = fitting(name, tensor, dtype.map_or(stored, FileDtype::dtype))?;
    }
    let mut metadata = single.files().metadata().clone();
    metadata.extend(word.metadata());
    Ok(Contents::Bytes(bytes(&tensors, &metadata)?.into()))
}

fn copy(files: &WeightFiles, dtype: Option<DType>, metadata: &Metadata, to: &mut dyn Write) -> Result<()> {
    let entries = files.shapes().map(|(name, shape)| {
        let stored = files.stored_dtype(name).map_or_else(|| files.read(name).map(|t| t.dtype()), Ok)?;
        Ok(Entry { name: name.to_owned(), dtype: dtype.unwrap_or(stored), shape: shape.to_vec() })
    });
    let entries = entries.collect::<Result<Vec<_>>>()?;
    let tensor =
        |entry: &Entry| -> Result<Tensor> { fitting(&entry.name, &files.read(&entry.name)?, entry.dtype) };
    crate::sdxl::write::write(to, &entries, metadata, tensor)
}

/// Whether it is PaRa alone.
fn is_para(single: &Single) -> bool {
    single.is("PaRa") && single.layers().iter().all(|layer| para::is_projection(&single.pieces(layer)))
}

fn in_our_form(single: &Single) -> bool {
    single.files().shapes().all(|(name, _)| name.starts_with("unet.") && name.ends_with(".para_q"))
}

/// What our files say of themselves, and what PEFT's configuration says of files that are not ours.
const SAID_OF_THE_FORM: [&str; 8] = [
    "format",
    "version",
    "strength",
    "modelspec.sai_model_spec",
    "modelspec.architecture",
    "modelspec.implementation",
    CONFIG,
    "para",
];

/// A PaRa in any form as our files have it.
fn para_in_our_form(single: &Single, dtype: FileDtype) -> Result<Single> {
    let mut spans = BTreeMap::new();
    let mut unknown = Vec::new();
    for layer in single.layers() {
        match target_of(&layer.module) {
            Some(target) => drop(spans.insert(target, para::span(&single.pieces(layer))?.q)),
            None => unknown.push(format!("`{}`", layer.module)),
        }
    }
    if !unknown.is_empty() {
        let message = format!(
            "`{}` names layers in a way that only a model can tell:\n  {}",
            single.name(),
            unknown.join("\n  ")
        );
        return Err(Problem::new(message)
            .hint("`Merge` or `Convert` against a model gives them diffusers' names")
            .into());
    }
    let mut says = single.files().metadata().clone();
    says.retain(|key, _| !SAID_OF_THE_FORM.contains(&key.as_str()));
    write::para(single.name(), &spans, dtype, says)
}
