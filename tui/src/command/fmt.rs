//! `flow fmt FILES`: graph files in their one layout.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use flow_engine::{Diagnostic, Document, Place, file, format};

use crate::open::one;
use crate::show::out;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct FmtArguments {
    /// Graph files; `-` lays out what comes through standard input, for editors.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only say which files have another layout, with 1 as the exit code if any has.
    #[arg(long)]
    check: bool,
}

pub fn fmt(arguments: &FmtArguments) -> Ending {
    if arguments.files == [Path::new("-")] {
        let text = std::io::read_to_string(std::io::stdin().lock()).context("cannot read standard input");
        let new = layout("standard input", text.map_err(one)?).map_err(|mistake| vec![*mistake])?.1;
        out::print(&new).map_err(one)?;
        return Ok(Exit::Done);
    }
    let read = arguments.files.iter().map(|path| formatted(path));
    let (texts, mistakes): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
    if !mistakes.is_empty() {
        return Err(mistakes.into_iter().filter_map(Result::err).map(|mistake| *mistake).collect());
    }
    let mut is_other = false;
    for (path, (old, new)) in arguments.files.iter().zip(texts.into_iter().flatten()) {
        if old == new {
            continue;
        }
        is_other = true;
        out::print(&format!("{}\n", path.display())).map_err(one)?;
        if !arguments.check {
            file::write_if_changed(path, new.as_bytes()).map_err(one)?;
        }
    }
    Ok(if is_other && arguments.check { Exit::NodeFailed } else { Exit::Done })
}

/// The text of a file, and the same in its layout.
fn formatted(path: &Path) -> Result<(String, String), Box<Diagnostic>> {
    let read = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let text = read.map_err(|error| Box::new(Diagnostic::from_error(&error)))?;
    layout(&path.display().to_string(), text)
}

/// A text, and the same in its layout.
fn layout(name: &str, text: String) -> Result<(String, String), Box<Diagnostic>> {
    let new = format(&text).map_err(|broken| {
        let document = Document::new(name, text.clone());
        let end = text[broken.at..].chars().next().map_or(broken.at, |letter| broken.at + letter.len_utf8());
        Box::new(Diagnostic::error(broken.message).at(Place { document, span: broken.at..end }))
    })?;
    Ok((text, new))
}
