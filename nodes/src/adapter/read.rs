//! From a safetensors file to an adapter: which tensor is which piece of which layer.
//!
//! Only the header is looked at. A tensor whose name no method knows makes the file one that nobody should apply half
//! of, so every such name is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_engine::{Digest, Problem, Result};

use super::full::TUNED_END;
use super::method::{Method, Of, Piece};
use super::peft::{self, Config};
use super::single::{Layer, Single};
use super::textual_inversion::TextualInversion;
use super::{METHODS, Pieces};
use crate::sdxl::detect::Family;
use crate::sdxl::files::WeightFiles;
use crate::sdxl::{Checkpoint, Part};

/// The weights in a folder that PEFT saved.
pub(crate) const PEFT_WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT says of them.
pub(super) const PEFT_CONFIG: &str = "adapter_config.json";

/// The files that an adapter at `path` consists of, whose bytes decide what it does.
///
/// # Errors
/// A folder that is neither PEFT's nor a model.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    if path.join("model_index.json").is_file() {
        return Ok(Checkpoint::open(path)?.files().to_vec());
    }
    let files = [PEFT_WEIGHTS, PEFT_CONFIG].map(|name| path.join(name));
    if files[0].is_file() {
        return Ok(files.into_iter().filter(|file| file.is_file()).collect());
    }
    let message = format!("`{}` is a folder without `{PEFT_WEIGHTS}` or `model_index.json`", path.display());
    Err(Problem::new(message).hint("name a file, a folder that PEFT saved, or a whole model").into())
}

/// Opens an adapter: a safetensors file, a folder that PEFT saved, or a whole model (full fine-tuning).
///
/// # Errors
/// A file that is damaged or is no adapter; everything in it that no method knows, at once.
pub fn open(path: &Path, digest: Digest) -> Result<Single> {
    open_as(path, None, digest)
}

/// Opens an adapter; a textual inversion becomes the word `token`.
///
/// # Errors
/// As [`open`]; a token for what is no textual inversion.
pub fn open_as(path: &Path, token: Option<&str>, digest: Digest) -> Result<Single> {
    if path.is_file() && Family::of(WeightFiles::open_file(path)?.shapes()) == Family::TextualInversion {
        let word = TextualInversion::open(path, token)?;
        let digest = Digest::of_parts([&digest.as_bytes()[..], word.token().as_bytes()]);
        return Ok(of_word(&stem(path), WeightFiles::open_file(path)?, word, digest));
    }
    if let Some(token) = token {
        let message =
            format!("`{}` is no textual inversion, so that `{token}` means nothing", path.display());
        return Err(Problem::new(message).hint("leave out `token`").into());
    }
    let whole = if path.is_dir() { path.join("model_index.json").is_file() } else { is_checkpoint(path)? };
    if whole {
        return of_checkpoint(&Checkpoint::open(path)?, digest);
    }
    if !path.is_dir() {
        return of_files(&stem(path), WeightFiles::open_file(path)?, digest);
    }
    let files = WeightFiles::open_file(&path.join(PEFT_WEIGHTS))?;
    let config = path.join(PEFT_CONFIG);
    if !config.is_file() {
        return of_files(&stem(path), files, digest);
    }
    let text = std::fs::read_to_string(&config);
    let text = text.map_err(|cause| Problem::new(format!("cannot read `{}`: {cause}", config.display())))?;
    if let Err(cause) = serde_json::from_str::<serde_json::Value>(&text) {
        return Err(Problem::new(format!("`{}` is no JSON: {cause}", config.display())).into());
    }
    of_files(&stem(path), files.saying(peft::CONFIG, text), digest)
}

fn stem(path: &Path) -> String {
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let name = name.unwrap_or(path.as_os_str()).to_string_lossy();
    let bare = [".para", ".lora"].into_iter().find_map(|kind| name.strip_suffix(kind));
    bare.unwrap_or(&name).to_owned()
}

fn is_checkpoint(path: &Path) -> Result<bool> {
    Ok(Family::of(WeightFiles::open_file(path)?.shapes()) == Family::Sdxl)
}

/// An adapter that was made here, as the file that [`write`](super::write) makes of it.
///
/// # Errors
/// Bytes that are no adapter.
pub fn of_bytes(name: &str, bytes: Vec<u8>) -> Result<Single> {
    let digest = Digest::of(&bytes);
    of_files(name, WeightFiles::from_bytes(name, bytes)?, digest)
}

/// A word that was made here, as its file.
///
/// # Errors
/// Bytes that are no safetensors.
pub fn word_of_bytes(name: &str, bytes: Vec<u8>, word: TextualInversion) -> Result<Single> {
    let digest = Digest::of_parts([&bytes[..], word.token().as_bytes()]);
    Ok(of_word(name, WeightFiles::from_bytes(name, bytes)?, word, digest))
}

/// The tensors of a whole model, each under its network's and its own name.
fn of_checkpoint(checkpoint: &Checkpoint, digest: Digest) -> Result<Single> {
    let parts = [Part::Unet, Part::TextEncoder, Part::TextEncoder2].into_iter().map(|part| {
        checkpoint.weights(part).clone().renamed(|name| format!("{}.{name}{TUNED_END}", part.folder()))
    });
    let files = parts.reduce(WeightFiles::and);
    let files = files.ok_or_else(|| Problem::new("a model has networks"))?;
    of_files(&checkpoint.name(), files, digest)
}

/// A new word.
pub(super) fn of_word(name: &str, files: WeightFiles, word: TextualInversion, digest: Digest) -> Single {
    Single { word: Some(word), ..nothing(name, files, digest) }
}

/// Sorts the tensors of a file by layer.
pub(super) fn of_files(name: &str, files: WeightFiles, digest: Digest) -> Result<Single> {
    let path = files.path().display().to_string();
    let mut wrong = Vec::new();
    let mut found: BTreeMap<(String, Of), Vec<(&'static Piece, String)>> = BTreeMap::new();
    for (tensor, shape) in files.shapes() {
        match piece_of(tensor) {
            Some((module, piece)) => {
                found.entry((module.to_owned(), piece.of)).or_default().push((piece, tensor.to_owned()));
            }
            None => wrong.push(format!("`{tensor}` {shape:?} is a piece of no method")),
        }
    }
    if found.is_empty() {
        return Err(no_adapter(&path, &files).into());
    }
    let mut layers = Vec::new();
    for ((module, of), pieces) in found {
        match layer(module, of, pieces) {
            Ok(layer) => layers.push(layer),
            Err(problem) => wrong.push(problem),
        }
    }
    let single = Single { layers, ..nothing(name, files, digest) };
    wrong.extend(zero_alphas(&single)?);
    if wrong.is_empty() {
        return Ok(single);
    }
    let message = format!("`{path}` cannot be read as an adapter:\n  {}", wrong.join("\n  "));
    Err(Problem::new(message).hint(format!("Flow reads {}", known())).into())
}

/// An adapter that changes nothing yet.
fn nothing(name: &str, files: WeightFiles, digest: Digest) -> Single {
    let config = Config::of(files.metadata());
    Single { name: name.to_owned(), files, config, layers: Vec::new(), word: None, digest }
}

/// The methods by name, in one sentence.
fn known() -> String {
    let names: Vec<_> = METHODS.iter().map(|method| method.name()).collect();
    names.join(", ")
}

/// The module and the piece that a tensor's name means: the longest end wins, as `.lokr_w1_a` over `.lokr_w1`.
fn piece_of(tensor: &str) -> Option<(&str, &'static Piece)> {
    let ends = METHODS.iter().flat_map(|method| method.pieces());
    let ends = ends.flat_map(|piece| piece.ends.iter().map(move |end| (*end, piece)));
    let fits = ends.filter(|(end, _)| tensor.ends_with(end) && tensor.len() > end.len());
    let (end, piece) = fits.max_by_key(|(end, _)| end.len())?;
    Some((&tensor[..tensor.len() - end.len()], piece))
}

/// The layer that some pieces make, if they are all of one method and each is there once.
fn layer(module: String, of: Of, pieces: Vec<(&'static Piece, String)>) -> Result<Layer, String> {
    let marks = |method: &&'static dyn Method| {
        method.pieces().iter().any(|own| own.marks && pieces.iter().any(|(piece, _)| piece.ends == own.ends))
    };
    let methods: Vec<_> = METHODS.into_iter().filter(marks).collect();
    let [method] = methods[..] else {
        let names: Vec<_> = pieces.iter().map(|(_, tensor)| format!("`{tensor}`")).collect();
        let names = names.join(", ");
        return Err(match methods.len() {
            0 => format!("`{module}` has {names} and nothing that it belongs to"),
            _ => format!("`{module}` has pieces of several methods: {names}"),
        });
    };
    let mut named: Vec<(&'static str, String)> = Vec::new();
    for (piece, tensor) in pieces {
        let own = method.pieces().iter().find(|own| own.ends == piece.ends);
        let Some(own) = own else { return Err(format!("`{tensor}` is no piece of {}", method.name())) };
        if let Some((_, other)) = named.iter().find(|(name, _)| *name == own.name) {
            return Err(format!("`{other}` and `{tensor}` are the same piece of one layer"));
        }
        named.push((own.name, tensor));
    }
    Ok(Layer { module, of, method, pieces: named })
}

/// An alpha of 0 makes an adapter that does nothing, and nobody means that.
fn zero_alphas(single: &Single) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for layer in &single.layers {
        let pieces: Pieces<'_> = single.pieces(layer);
        if pieces.number("alpha")?.or_else(|| pieces.stated_alpha()) == Some(0.0) {
            wrong.push(format!("`{}` has alpha 0, so that it would change nothing", layer.module));
        }
    }
    Ok(wrong)
}

/// What to say of a file in which nothing is an adapter's.
fn no_adapter(path: &str, files: &WeightFiles) -> Problem {
    if files.shapes().next().is_none() {
        return Problem::new(format!("`{path}` holds no tensor"))
            .hint("was its training stopped before it saved?");
    }
    let family = Family::of(files.shapes());
    Problem::new(format!("`{path}` is {}, and no adapter", family.name()))
        .hint(format!("an adapter is a file of {}", known()))
}
