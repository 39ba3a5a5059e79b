//! Files that hold a header and no weights, for tests of what headers tell.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

/// A safetensors file of float16 zeros with these tensors, which takes no room on disk.
pub(crate) fn fabricate<N: AsRef<str>>(
    tensors: impl IntoIterator<Item = (N, Vec<usize>)>,
) -> (TempDir, PathBuf) {
    fabricate_as("F16", tensors)
}

/// The same of another type of two bytes.
pub(crate) fn fabricate_as<N: AsRef<str>>(
    dtype: &str,
    tensors: impl IntoIterator<Item = (N, Vec<usize>)>,
) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let info = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        header.insert(name.as_ref().to_owned(), info);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut out = File::create(&file).unwrap();
    out.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    out.write_all(&header).unwrap();
    out.set_len((8 + header.len() + end) as u64).unwrap();
    (folder, file)
}

/// A folder of the repository.
pub(crate) fn repository(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder)
}
