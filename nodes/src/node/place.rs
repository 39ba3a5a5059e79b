//! Where a node writes to: what a path of a graph names, and what stands in its way.

use std::path::{Path, PathBuf};

use flow_engine::Problem;

use flow_engine::file;

/// What a node writes, as far as names tell.
pub(super) struct Form {
    /// The ending of a path that names one file.
    pub(super) ending: &'static str,
    /// The endings that other forms of the same thing have.
    pub(super) others: &'static [&'static str],
    /// What is said of those.
    pub(super) saved_as: &'static str,
    /// A folder to name.
    pub(super) example: &'static str,
}

impl Form {
    /// Whether a path names one file; else it names a folder.
    pub(super) fn names_a_file(&self, path: &str) -> bool {
        ending(path) == self.ending
    }

    /// Reports what stands in the way of writing to `path`, which the file system knows as `full`.
    pub(super) fn writable(&self, path: &str, full: &Path) -> Result<(), Problem> {
        let ending = ending(path);
        if self.others.contains(&ending.as_str()) {
            return Err(Problem::new(format!("`{path}` ends in .{ending}, and {}", self.saved_as))
                .hint(format!("name a folder, or a file that ends in .{}", self.ending)));
        }
        if path.contains('\0') {
            return Err(Problem::new("the path holds a zero byte, which no file system takes"));
        }
        if path.trim().is_empty() {
            let hint = format!("name a folder, such as `{}`", self.example);
            return Err(Problem::new("the path is empty").hint(hint));
        }
        if self.names_a_file(path) && full.is_dir() {
            return Err(Problem::new(format!("`{path}` ends in .{ending} and is a folder")));
        }
        let folder = if self.names_a_file(path) { full.parent().unwrap_or(full) } else { full };
        file::unwritable(folder).map_or(Ok(()), Err)
    }
}

/// The ending of a file's name, in lower case.
fn ending(path: &str) -> String {
    Path::new(path).extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// What holds weights in one file.
pub(super) const WEIGHTS: Form = Form {
    ending: "safetensors",
    others: &["ckpt", "pt", "pth", "bin", "pkl", "sft", "gguf", "onnx"],
    saved_as: "weights are saved as safetensors",
    example: "out/bear",
};

/// Refuses to write to `full` where one of the files that the result is made from is there or below.
pub(super) fn spares<'a>(full: &Path, sources: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Problem> {
    let Ok(full) = full.canonicalize() else { return Ok(()) }; // nothing is there
    let inside = |source: &PathBuf| source.canonicalize().is_ok_and(|source| source.starts_with(&full));
    if !sources.into_iter().any(inside) {
        return Ok(());
    }
    let message = format!("`{}` is what the result is made from", full.display());
    Err(Problem::new(message).hint("give another path, so that the next run starts from the same files"))
}
