//! A whole model in one file, in the original layout.
//!
//! What the networks want is looked up in the file's header under the original names, and becomes a table of views of
//! the mapped file under diffusers' names. From there on a single file is a folder.

use std::collections::{BTreeMap, BTreeSet};

use flow_engine::{Problem, Result};

use super::detect::Family;
use super::files::{READ_TYPES, Take, WeightFiles};
use super::original::{OriginalNames, prefix};
use super::part::Part;

/// Names and shapes, as [`Layout::of`](super::weights::Layout::of) gives them.
pub(crate) type Shapes = BTreeMap<String, Vec<usize>>;

/// The parts of a single file under diffusers' names.
///
/// # Errors
/// A file of another family, by its name; tensors that are missing, misshaped or unexpected, all at once.
pub(crate) fn parts(
    file: &WeightFiles,
    names: &OriginalNames,
    wanted: &BTreeMap<Part, Shapes>,
) -> Result<BTreeMap<Part, WeightFiles>> {
    let path = file.path().display().to_string();
    let family = Family::of(file.shapes());
    if family != Family::Sdxl {
        return Err(family.refusal(&path).into());
    }
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    let held: Vec<_> = wanted.iter().map(|(&part, shapes)| (part, holders(part, shapes, names))).collect();
    for (part, holders) in &held {
        let part = *part;
        if holders.keys().any(|name| file.shape(name).is_some()) {
            wrong.extend(holders.iter().filter_map(|(name, holder)| holder.misfit(part, name, file)));
        } else {
            wrong.push(format!("all of {}: there is no `{}*`", called(part), prefix(part)));
        }
        known.extend(holders.keys().map(String::as_str));
    }
    let overridden: Vec<_> = Part::ALL.into_iter().filter(|part| !wanted.contains_key(part)).collect();
    let unexpected = file.shapes().filter(|(name, _)| {
        let elsewhere = overridden.iter().any(|&part| name.starts_with(prefix(part)));
        !(elsewhere || known.contains(name) || rides_along(name))
    });
    wrong.extend(unexpected.map(|(name, shape)| format!("`{name}` {shape:?} is not expected")));
    if wrong.is_empty() {
        return Ok(held.iter().map(|(part, holders)| (*part, views(file, holders))).collect());
    }
    let message = format!("`{path}` does not fit its configuration:\n  {}", wrong.join("\n  "));
    let hint = "was it made from a model of another size? `config` names a diffusers folder with its configuration, \
                `vae` an autoencoder";
    Err(Problem::new(message).hint(hint).into())
}

/// An autoencoder under the original names, in a file of its own or of a whole model.
///
/// # Errors
/// As [`parts`].
pub(crate) fn vae(file: &WeightFiles, names: &OriginalNames, wanted: &Shapes) -> Result<WeightFiles> {
    let prefix = prefix(Part::Vae);
    let whole = file.shapes().any(|(name, _)| name.starts_with(prefix));
    let file = file.clone();
    let file = if whole { file.without(|name| !name.starts_with(prefix)) } else { file };
    let file = file.renamed(|name| if whole { name.to_owned() } else { format!("{prefix}{name}") });

    let holders = holders(Part::Vae, wanted, names);
    let mut wrong: Vec<_> =
        holders.iter().filter_map(|(name, holder)| holder.misfit(Part::Vae, name, &file)).collect();
    let unexpected = file.shapes().filter(|(name, _)| !holders.contains_key(*name) && !rides_along(name));
    wrong.extend(unexpected.map(|(name, shape)| format!("`{name}` {shape:?} is not expected")));
    if !wrong.is_empty() {
        let path = file.path().display();
        let message = format!("`{path}` is not this model's kind of autoencoder:\n  {}", wrong.join("\n  "));
        return Err(Problem::new(message)
            .hint("an autoencoder of another size is given as a folder with its `config.json`")
            .into());
    }
    Ok(views(&file, &holders))
}

/// The networks' tensors in a file that holds them all in the right shapes.
fn views(file: &WeightFiles, holders: &BTreeMap<String, Holder<'_>>) -> WeightFiles {
    file.views(
        holders.iter().flat_map(|(name, holder)| {
            holder.pieces.iter().map(|(piece, take)| (*piece, name.as_str(), *take))
        }),
    )
}

/// What a tensor of the file must be, and which of the networks' tensors are in it.
pub(super) struct Holder<'a> {
    pub(super) shape: Vec<usize>,
    pub(super) pieces: Vec<(&'a str, Take)>,
}

/// The tensors of the file that hold one part, by name.
pub(super) fn holders<'a>(
    part: Part,
    wanted: &'a Shapes,
    names: &OriginalNames,
) -> BTreeMap<String, Holder<'a>> {
    let mut holders = BTreeMap::new();
    for (name, shape) in wanted {
        let original = names.of(part, name);
        let mut shape = shape.clone();
        match original.take {
            Take::Whole => {}
            Take::Third(_) => shape[0] *= 3,
            Take::Transposed => shape.reverse(),
        }
        let holder = holders.entry(original.name).or_insert_with(|| Holder { shape, pieces: Vec::new() });
        holder.pieces.push((name, original.take));
    }
    holders
}

impl Holder<'_> {
    /// What is wrong with the tensor `name` of the file, in the file's words and in diffusers'.
    fn misfit(&self, part: Part, name: &str, file: &WeightFiles) -> Option<String> {
        let pieces: Vec<_> = self.pieces.iter().map(|(piece, _)| format!("`{piece}`")).collect();
        let whose = format!("{} of {}", pieces.join(", "), called(part));
        let wanted = &self.shape;
        let Some(found) = file.shape(name) else {
            return Some(format!("`{name}` {wanted:?} is missing ({whose})"));
        };
        if !part.same_shape(wanted, found) {
            return Some(format!("`{name}` is {found:?}, expected {wanted:?} ({whose})"));
        }
        let foreign = file.foreign_type(name)?;
        Some(format!("`{name}` is of type {foreign:?}; {} ({whose})", READ_TYPES))
    }
}

fn called(part: Part) -> &'static str {
    match part {
        Part::Unet => "the denoiser",
        Part::Vae => "the autoencoder",
        Part::TextEncoder => "the first text encoder",
        Part::TextEncoder2 => "the second text encoder",
    }
}

/// Whether a tensor is one of those that travel in checkpoints and change no picture: what training and buffers left
/// behind, and marks that [`Checkpoint`](super::Checkpoint) reads.
fn rides_along(name: &str) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "model_ema.",
        "denoiser.",
        "loss.",
        "first_stage_model.loss.",
        "conditioner.embedders.0.transformer.text_projection",
        "conditioner.embedders.0.text_projection",
        "posterior_",
        "sqrt_",
        "alphas_cumprod",
    ];
    const ENDINGS: [&str; 2] = ["position_ids", "logit_scale"];
    const WHOLE: [&str; 7] = [
        "betas",
        "log_one_minus_alphas_cumprod",
        "logvar",
        "global_step",
        "scale_factor",
        V_PREDICTION,
        ZERO_SNR,
    ];
    BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
        || WHOLE.contains(&name)
}

/// The mark of a model that predicts v, as fine-tunes carry it.
pub(crate) const V_PREDICTION: &str = "v_pred";

/// The mark of a model that was trained up to pure noise.
pub(crate) const ZERO_SNR: &str = "ztsnr";

#[cfg(test)]
#[path = "single_file_tests.rs"]
mod tests;
