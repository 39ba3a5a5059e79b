//! The weights of a diffusers folder: one folder for each part.

use std::collections::BTreeMap;
use std::path::Path;

use flow_engine::{Problem, Result};

use super::files::{READ_TYPES, WeightFiles};
use super::part::Part;
use super::single_file::Shapes;
use super::{text_encoder, vae};

/// The weights of `parts`, or why they cannot be opened: one reason for each.
pub(super) fn open(folder: &Path, parts: &[Part]) -> Result<BTreeMap<Part, WeightFiles>> {
    let open = |&part: &Part| open_part(&folder.join(part.folder()), part).map(|files| (part, files));
    let (opened, mut failed): (Vec<_>, Vec<_>) = parts.iter().map(open).partition(Result::is_ok);
    if failed.len() == 1 {
        return failed.remove(0).map(|only| BTreeMap::from([only]));
    }
    let reasons: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
    let Some(first) = reasons.first() else { return opened.into_iter().collect() };
    let said: Vec<_> = reasons.iter().map(|reason| format!("{reason:#}")).collect();
    let message = format!("the weights in `{}` cannot be opened:\n  {}", folder.display(), said.join("\n  "));
    Err(Problem::new(message).hint(Problem::hint_of(first).unwrap_or("download the model again")).into())
}

/// The weights of one part, in its own folder, under today's names.
pub(super) fn open_part(folder: &Path, part: Part) -> Result<WeightFiles> {
    Ok(todays(part, WeightFiles::open(folder, part.stem())?))
}

/// Weights with diffusers' names as they are called today, without what is no weight.
pub(super) fn todays(part: Part, files: WeightFiles) -> WeightFiles {
    let files = files.without(|name| name.ends_with("position_ids"));
    match part {
        Part::Vae => files.renamed(vae::todays_name),
        Part::TextEncoder | Part::TextEncoder2 => files.renamed(text_encoder::usual_name),
        Part::Unet => files,
    }
}

/// Everything by which a part's files differ from what its network wants.
pub(super) fn mismatches(part: Part, wanted: &Shapes, files: &WeightFiles) -> Vec<String> {
    let found: BTreeMap<&str, &[usize]> = files.shapes().collect();
    let folder = part.folder();
    let missing = wanted.iter().filter(|(name, _)| !found.contains_key(name.as_str()));
    let missing = missing.map(|(name, shape)| format!("{folder}: `{name}` {shape:?} is missing"));
    let unexpected = found.iter().filter(|(name, _)| !wanted.contains_key(**name));
    let unexpected = unexpected.map(|(name, shape)| format!("{folder}: `{name}` {shape:?} is not expected"));
    let misshaped = wanted.iter().filter_map(|(name, shape)| {
        let found = found.get(name.as_str()).filter(|found| !part.same_shape(shape, found))?;
        Some(format!("{folder}: `{name}` is {found:?}, expected {shape:?}"))
    });
    let foreign = wanted.keys().filter_map(|name| {
        let foreign = files.foreign_type(name)?;
        Some(format!("{folder}: `{name}` is of type {foreign:?}; {READ_TYPES}"))
    });
    missing.chain(misshaped).chain(foreign).chain(unexpected).collect()
}
