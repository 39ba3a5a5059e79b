//! Results on disk, filed under content keys.
//!
//! ```text
//! entries/ab/<key>.json   what the key is made from, the value's digest, its files, what it took
//! files/cd/<digest>       the files of values, each once
//! index/*.log             keys and digests again, for fast look-ups
//! ```
//!
//! Everything is written under a temporary name, synced where it is dear, and renamed, so that a
//! crash leaves all of a result or none; and it is verified when it is read, so that a damaged
//! result is none. Several processes may share a store, on a shared file system too, and no lock
//! is taken: two that make the same result write the same bytes.
//!
//! A store does not know what a value is, and nothing here decides what runs.

mod entry;
mod index;
mod log;
mod tidy;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

pub use entry::{Cost, Entry, EntryFile};
pub use index::Found;
use index::Index;
pub(crate) use log::Log;
pub use tidy::{Listed, Sweep, Swept, Verified};

use crate::file::Temporary;
use crate::{Digest, Problem, Result, StoredFile};

/// Results on disk. Nothing is made there before the first is written.
pub struct Store {
    root: PathBuf,
    index: OnceLock<Mutex<Index>>,
}

impl Store {
    /// The store in a folder, which need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), index: OnceLock::new() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is known of the result of a key, if it has one.
    pub fn find(&self, key: &Digest) -> Option<Found> {
        let found = self.index().get(key);
        found.or_else(|| {
            // Another process may have made it since, or died before it told the index.
            let entry = self.entry(key).ok()??;
            let found = entry.found();
            self.index().note(*key, found);
            Some(found)
        })
    }

    /// The entry of a key, if it has one.
    ///
    /// # Errors
    /// An entry that is damaged or cannot be read.
    pub fn entry(&self, key: &Digest) -> Result<Option<Entry>> {
        let path = self.entry_path(key);
        let describe = || format!("cannot read {}", path.display());
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.with_context(describe)?,
        };
        let entry = Entry::from_text(&text).with_context(describe)?;
        if entry.key != *key {
            return Err(Problem::new("the entry is another key's")).with_context(describe);
        }
        Ok(Some(entry))
    }

    /// The files of a stored value, every byte of them verified.
    ///
    /// # Errors
    /// A result that is gone or damaged.
    pub fn load(&self, key: &Digest) -> Result<Vec<StoredFile<'static>>> {
        let entry = self.entry(key)?.ok_or_else(|| Problem::new("the entry is gone"))?;
        let files = entry.files.ok_or_else(|| Problem::new("the value has no files"))?;
        files.into_iter().map(|file| Ok(StoredFile::new(file.name, self.read(&file.digest)?))).collect()
    }

    /// The bytes that are filed under their digest, verified.
    fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.file_path(digest);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if Digest::of_large(&bytes) != *digest {
            return Err(Problem::new(format!("{} is damaged", path.display())).into());
        }
        Ok(bytes)
    }

    /// Notes that a result is in use, so that a [sweep](Self::sweep) of old ones leaves it; to the hour.
    pub fn touch(&self, key: &Digest) {
        const HOUR: Duration = Duration::from_secs(3600);
        let path = self.entry_path(key);
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > HOUR)) {
            set_age_to_zero(&path);
        }
    }

    /// Files a result, in the place of the one that its key had.
    ///
    /// # Errors
    /// A full disk, or a folder that cannot be written to; the store then is as it was.
    pub fn put(&self, mut entry: Entry, files: Option<&[StoredFile<'_>]>) -> Result<()> {
        let file = |file: &StoredFile<'_>| {
            let digest = Digest::of_large(&file.bytes);
            self.write_file(&digest, &file.bytes)?;
            Ok(EntryFile { name: file.name.clone(), digest, bytes: file.bytes.len() as u64 })
        };
        entry.files = files.map(|files| files.iter().map(file).collect::<Result<Vec<_>>>()).transpose()?;
        let found = entry.found();
        // A value that is made again is not worth waiting for the disk.
        write(&self.entry_path(&entry.key), entry.to_text()?.as_bytes(), entry.files.is_some())?;
        self.index().set(entry.key, Some(found))
    }

    fn write_file(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.file_path(digest);
        if fs::metadata(&path).is_ok_and(|there| there.len() == bytes.len() as u64) {
            // Its age tells a sweep that it is in use.
            set_age_to_zero(&path);
            return Ok(());
        }
        write(&path, bytes, true)
    }

    /// Takes a result out that turned out to be damaged: the entry, and those of its files that are not whole.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn forget(&self, key: &Digest) -> Result<()> {
        let files = self.entry(key).ok().flatten().and_then(|entry| entry.files).unwrap_or_default();
        for file in files.iter().filter(|file| self.read(&file.digest).is_err()) {
            remove(&self.file_path(&file.digest))?;
        }
        remove(&self.entry_path(key))?;
        self.index().set(*key, None)
    }

    /// The file of a value, for whom wants to look at it. It must not be written to.
    pub fn file_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("files").join(&name[..2]).join(name)
    }

    fn entry_path(&self, key: &Digest) -> PathBuf {
        let name = key.to_string();
        self.root.join("entries").join(&name[..2]).join(name + ".json")
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        let index = self.index.get_or_init(|| Mutex::new(Index::open(self.root.join("index"))));
        index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error says that nobody may write there, which a reader of the store can live with.
pub fn is_read_only(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem))
}

/// Puts a file into its place in one step.
fn write(path: &Path, bytes: &[u8], is_dear: bool) -> Result<()> {
    let put = || {
        let (mut file, temporary) = match Temporary::beside(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
                Temporary::beside(path)?
            }
            begun => begun?,
        };
        file.write_all(bytes)?;
        if is_dear {
            file.sync_all()?;
        }
        drop(file);
        temporary.becomes(path)
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}

fn set_age_to_zero(path: &Path) {
    // A store that nobody may write to has no ages.
    let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests;
