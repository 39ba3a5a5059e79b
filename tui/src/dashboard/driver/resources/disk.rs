//! What a folder takes, and what its disk has left.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A folder is not walked again before so long.
const BETWEEN_WALKS: Duration = Duration::from_secs(30);
/// Of the time, a walk takes one part in so many.
const LEISURE: u32 = 50;
/// After so many files, a walk rests: the disk is there for the run.
const FILES_AT_ONCE: usize = 500;
const REST: Duration = Duration::from_millis(5);

/// The size of a folder with everything in it, as it was when it was walked last.
pub struct StoreSize {
    folder: PathBuf,
    known: Option<u64>,
    walk: Option<Receiver<u64>>,
    began: Instant,
    next: Instant,
}

impl StoreSize {
    /// Of this folder, which need not exist.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, known: None, walk: None, began: Instant::now(), next: Instant::now() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is known; never waits for a walk.
    pub fn look(&mut self) -> Option<u64> {
        match self.walk.as_ref().map(Receiver::try_recv) {
            Some(Ok(bytes)) => {
                self.known = Some(bytes);
                self.rest();
            }
            Some(Err(TryRecvError::Disconnected)) => self.rest(),
            Some(Err(TryRecvError::Empty)) => {}
            None if Instant::now() >= self.next => self.walk(),
            None => {}
        }
        self.known
    }

    fn walk(&mut self) {
        let (folder, (told, heard)) = (self.folder.clone(), channel());
        self.began = Instant::now();
        let walk = move || {
            // Nobody waits for it at the end of the program.
            let _ = told.send(bytes_in(&folder));
        };
        self.walk = thread::Builder::new().name("store size".into()).spawn(walk).is_ok().then_some(heard);
        if self.walk.is_none() {
            self.rest();
        }
    }

    fn rest(&mut self) {
        self.walk = None;
        self.next = Instant::now() + BETWEEN_WALKS.max(self.began.elapsed() * LEISURE);
    }
}

/// What the files in a folder take; links are not followed, and what vanishes meanwhile takes nothing.
fn bytes_in(folder: &Path) -> u64 {
    let (mut bytes, mut seen, mut folders) = (0, 0, vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => bytes += on_disk(&metadata),
                Err(_) => {}
            }
            seen += 1;
            if seen % FILES_AT_ONCE == 0 {
                thread::sleep(REST);
            }
        }
    }
    bytes
}

#[cfg(unix)]
fn on_disk(metadata: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    const BLOCK: u64 = 512;
    metadata.blocks() * BLOCK
}

#[cfg(not(unix))]
fn on_disk(metadata: &Metadata) -> u64 {
    metadata.len()
}

/// What is free for this program on the disk that a folder lies on, or will lie on.
#[cfg(unix)]
pub fn free(folder: &Path) -> Option<u64> {
    let disk = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some(disk.f_bavail * disk.f_frsize)
}

/// Not looked at here.
#[cfg(not(unix))]
pub fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_as_large_as_what_lies_in_it_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(bytes_in(folder.path()), 0);
        fs::write(deep.join("c"), vec![1; 100_000]).unwrap();
        assert!((100_000..200_000).contains(&bytes_in(folder.path())));
        assert_eq!(bytes_in(&folder.path().join("missing")), 0);
    }

    #[test]
    fn a_disk_is_found_for_a_folder_that_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free(&folder.path().join("not/yet")) > Some(0));
    }
}
