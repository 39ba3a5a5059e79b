//! The bytes of weight files, on disk or in memory. Nothing here knows what is in them.

use std::fs::File;
use std::path::{Path, PathBuf};

use flow_engine::{Problem, Result};
use memmap2::Mmap;

/// A file and its bytes.
#[derive(Debug)]
pub(super) struct MappedFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Bytes,
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The bytes of a safetensors file, on disk or in memory.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}

/// Maps a file.
///
/// # Errors
/// What is no file, or cannot be opened.
pub(super) fn map(path: &Path) -> Result<Bytes> {
    // Opening a pipe would wait for somebody to write into it.
    if path.exists() && !path.is_file() {
        return Err(Problem::new(format!("`{}` is not a file", path.display())).into());
    }
    let file = File::open(path)
        .map_err(|cause| Problem::new(format!("cannot open `{}`: {cause}", path.display())))?;
    #[expect(
        unsafe_code,
        reason = "mapping is unsafe because another process could cut the file while we read it"
    )]
    let map = unsafe { Mmap::map(&file) }
        .map_err(|cause| Problem::new(format!("cannot map `{}`: {cause}", path.display())))?;
    Ok(Bytes::Mapped(map))
}
