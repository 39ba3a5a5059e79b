//! Runs as methods of a survey: every node is one whose pictures were drawn.

use std::fs;
use std::path::{Path, PathBuf};

use flow_engine::{Problem, Project, runs};
use serde_json::Value;

/// What a result of pictures says of them, beside them.
const ABOUT: &str = "images.json";

/// The folder of a run, if an argument means one: its id, the beginning of one, its folder, or `last`. A folder that is no
/// run's is none.
pub fn meant(argument: &Path) -> Option<PathBuf> {
    let name = argument.to_str()?;
    if argument.is_dir() && !argument.join(runs::EVENTS).is_file() {
        return None;
    }
    runs::find(&Project::here(), name).ok()
}

/// The names of the nodes of a run that drew pictures, in order, with the folders of these; only those of `nodes`, if there
/// are any.
///
/// # Errors
/// A run without such nodes.
pub fn drawn(run: &Path, nodes: &[String]) -> Result<Vec<(String, PathBuf)>, Problem> {
    let results = run.join("results");
    let mut folders = Vec::new();
    collect(&results, &mut folders);
    let named = |folder: PathBuf| {
        let name = folder.strip_prefix(&results).unwrap_or(&folder).to_string_lossy().into_owned();
        (nodes.is_empty() || nodes.contains(&name)).then_some((name, folder))
    };
    let mut found: Vec<_> = folders.into_iter().filter_map(named).collect();
    found.sort();
    if found.is_empty() {
        let of = if nodes.is_empty() { String::new() } else { format!(" by {}", nodes.join(" or ")) };
        return Err(Problem::new(format!("no pictures were drawn{of} in {}", run.display()))
            .hint("every node that samples pictures is a method; `flow runs` lists the runs"));
    }
    Ok(found)
}

/// The prompt of a picture among a run's results: what is beside it says it, and the picture itself does not.
pub fn prompt(picture: &Path) -> Option<String> {
    let number: usize = picture.file_stem()?.to_str()?.parse().ok()?;
    let about: Vec<Value> = serde_json::from_slice(&fs::read(picture.with_file_name(ABOUT)).ok()?).ok()?;
    let prompt = about.get(number)?["generation"]["prompt"].as_str()?.trim();
    (!prompt.is_empty()).then(|| prompt.to_owned())
}

/// All folders below one whose pictures were drawn.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    if were_drawn(folder) {
        found.push(folder.to_path_buf());
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), found);
        }
    }
}

/// Whether a folder holds pictures that a sampler drew, and none that were loaded.
fn were_drawn(folder: &Path) -> bool {
    let about = fs::read(folder.join(ABOUT)).ok();
    let about: Option<Vec<Value>> = about.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    about.is_some_and(|about| {
        !about.is_empty() && about.iter().all(|picture| !picture["generation"].is_null())
    })
}
