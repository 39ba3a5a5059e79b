//! Checkpoints that are open, so that checking a graph, running it, and several nodes on one path read headers once.
//!
//! Nothing here knows what a checkpoint is made of, but its files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use flow_engine::Result;

use super::checkpoint::{Checkpoint, OpenOptions};

/// Open checkpoints by where they are and what they were opened with.
#[derive(Debug, Default)]
pub struct Opened {
    each: Mutex<HashMap<(PathBuf, OpenOptions), Open>>,
}

#[derive(Debug)]
struct Open {
    checkpoint: Arc<Checkpoint>,
    seen: Seen,
}

/// What files and folders looked like when they were opened.
type Seen = BTreeMap<PathBuf, Identity>;

/// What is another for a file that was written anew, and for a folder that a file was put into.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    size: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and the last change of any kind.
    #[cfg(unix)]
    place: [i64; 4],
}

impl Opened {
    /// As [`Checkpoint::open_with`], if it was not opened before or if any of its files changed since.
    ///
    /// # Errors
    /// As [`Checkpoint::open_with`].
    pub fn open(&self, path: &Path, options: &OpenOptions) -> Result<Arc<Checkpoint>> {
        // Whoever waits here would have read the same headers.
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (path.to_owned(), options.clone());
        if let Some(open) = each.get(&key)
            && seen(open.seen.keys()).is_ok_and(|now| now == open.seen)
        {
            return Ok(Arc::clone(&open.checkpoint));
        }
        each.remove(&key);
        let began = SystemTime::now();
        let checkpoint = Arc::new(Checkpoint::open_with(path, options)?);
        // What changed while it was read may be half of what it was, and is read again next time.
        if let Ok(seen) = seen(&files_and_folders(&checkpoint))
            && seen.values().all(|one| one.modified.is_some_and(|modified| modified < began))
        {
            each.insert(key, Open { checkpoint: Arc::clone(&checkpoint), seen });
        }
        Ok(checkpoint)
    }
}

/// The files of a checkpoint, and the folders in which others might come to be preferred to them.
fn files_and_folders(checkpoint: &Checkpoint) -> BTreeSet<PathBuf> {
    let files = checkpoint.files().iter().cloned();
    let folders = checkpoint.files().iter().filter_map(|file| Some(file.parent()?.to_owned()));
    let folders = folders.filter(|folder| !folder.as_os_str().is_empty());
    files.chain(folders).chain([checkpoint.path().to_owned()]).collect()
}

fn seen<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> io::Result<Seen> {
    paths.into_iter().map(|path| Ok((path.clone(), Identity::of(&fs::metadata(path)?)))).collect()
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            place: {
                use std::os::unix::fs::MetadataExt as _;
                [metadata.dev() as i64, metadata.ino() as i64, metadata.ctime(), metadata.ctime_nsec()]
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sdxl::testing::repository;

    /// A copy of the embedded model that nobody has touched for an hour.
    fn model() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let from = repository("models/mini-sdxl");
        let checkpoint = Checkpoint::open(&from).unwrap();
        for file in checkpoint.files() {
            let to = folder.path().join(file.strip_prefix(&from).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(file, &to).unwrap();
        }
        for path in files_and_folders(&Checkpoint::open(folder.path()).unwrap()) {
            let hour = SystemTime::now() - Duration::from_secs(3600);
            fs::File::open(path).unwrap().set_modified(hour).unwrap();
        }
        folder
    }

    #[test]
    fn what_does_not_change_is_opened_once_for_each_choice() {
        let (folder, opened) = (model(), Opened::default());
        let open = |options: &OpenOptions| opened.open(folder.path(), options).unwrap();
        let plain = open(&OpenOptions::default());
        assert!(Arc::ptr_eq(&plain, &open(&OpenOptions::default())));
        let vae = OpenOptions { vae: Some(folder.path().join("vae")), ..OpenOptions::default() };
        assert!(!Arc::ptr_eq(&plain, &open(&vae)) && Arc::ptr_eq(&open(&vae), &open(&vae)));
        assert!(Arc::ptr_eq(&plain, &open(&OpenOptions::default())));
    }

    #[test]
    fn what_is_written_anew_or_put_beside_is_opened_again() {
        let (folder, opened) = (model(), Opened::default());
        let open = || opened.open(folder.path(), &OpenOptions::default()).unwrap();
        let first = open();
        let file = folder.path().join("unet/diffusion_pytorch_model.safetensors");
        fs::copy(&file, folder.path().join("copy")).unwrap();
        fs::rename(folder.path().join("copy"), &file).unwrap();
        let second = open();
        assert!(!Arc::ptr_eq(&first, &second));
        fs::write(folder.path().join("vae/more.json"), "{}").unwrap();
        assert!(!Arc::ptr_eq(&second, &open()));
    }

    #[test]
    fn a_model_that_has_gone_is_an_error_again() {
        let (folder, opened) = (model(), Opened::default());
        let path = folder.path().to_owned();
        assert!(opened.open(&path, &OpenOptions::default()).is_ok());
        drop(folder);
        assert!(opened.open(&path, &OpenOptions::default()).is_err());
    }
}
