//! The cache on disk, in the layout that the hub's Python tools share.
//!
//! ```text
//! models--owner--name/blobs/ETAG                 a file's bytes, named by their digest
//!                    /blobs/ETAG.incomplete      what has come of it so far
//!                    /snapshots/COMMIT/unet/..   symlinks into blobs
//!                    /refs/main                  the commit that a branch stood at
//!                    /.no_exist/COMMIT/unet/..   names that are known to be absent
//! .locks/models--owner--name/ETAG.lock           held by who downloads
//! ```
//!
//! Nothing here knows the network. Whatever gets a final name is complete: it is written under another name
//! first and renamed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use flow_engine::Result;

use super::id::{HubId, is_commit};

/// One model in the cache, whether it is there or not.
pub(super) struct Repo {
    folder: PathBuf,
    locks: PathBuf,
}

impl Repo {
    pub(super) fn new(cache: &Path, id: &HubId) -> Self {
        let name = format!("models--{}--{}", id.owner, id.name);
        Self { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The commit that a revision stood at when it was last asked for.
    pub(super) fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Remembers where a revision stands.
    pub(super) fn set_ref(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) {
            return Ok(());
        }
        self.write(&self.folder.join("refs").join(revision), commit)
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The names of a snapshot's files that are there with their bytes.
    pub(super) fn files(&self, commit: &str) -> BTreeSet<String> {
        let root = self.snapshot(commit);
        let mut names = BTreeSet::new();
        for entry in entries(&root) {
            let below = if entry.is_dir() { entries(&entry) } else { vec![entry] };
            let files = below.iter().filter(|path| path.is_file());
            names.extend(files.filter_map(|path| name_below(&root, path)));
        }
        names
    }

    /// Where the bytes of a digest are kept.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where they are kept while they come.
    pub(super) fn partial(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Lets a snapshot's file point to its bytes.
    pub(super) fn link(&self, commit: &str, name: &str, etag: &str) -> Result<()> {
        let link = self.snapshot(commit).join(name);
        if link.is_file() {
            return Ok(());
        }
        let up = "../".repeat(2 + name.split('/').count() - 1);
        let target = Path::new(&up).join("blobs").join(etag);
        replace(&link, |temporary| point(temporary, &target, &self.blob(etag)))
            .with_context(|| format!("cannot write {}", link.display()))
    }

    /// Whether a name is known to be absent.
    pub(super) fn lacks(&self, commit: &str, name: &str) -> bool {
        self.folder.join(".no_exist").join(commit).join(name).exists()
    }

    /// Remembers that a name is absent.
    pub(super) fn set_lacks(&self, commit: &str, name: &str) -> Result<()> {
        self.write(&self.folder.join(".no_exist").join(commit).join(name), "")
    }

    /// The file whose lock is held by who downloads a digest.
    pub(super) fn lock_file(&self, etag: &str) -> Result<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        let describe = || format!("cannot write {}", path.display());
        fs::create_dir_all(&self.locks).with_context(describe)?;
        File::options().create(true).append(true).open(&path).with_context(describe)
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        replace(path, |temporary| {
            fs::write(temporary, text)?;
            File::open(temporary)?.sync_all()
        })
        .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The name of the model whose snapshot a folder is.
pub fn name_of(folder: &Path) -> Option<String> {
    let mut parents = folder.ancestors().skip(1);
    let is_snapshot = parents.next()?.file_name()? == "snapshots";
    let repo = parents.next()?.file_name()?.to_str()?.strip_prefix("models--")?;
    is_snapshot.then(|| repo.rsplit("--").next().unwrap_or(repo).to_owned())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn name_below(root: &Path, path: &Path) -> Option<String> {
    let parts = path.strip_prefix(root).ok()?.components().map(|part| match part {
        Component::Normal(part) => part.to_str(),
        _ => None,
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}

/// Numbers temporary names, which two nodes could want at once.
static TURN: AtomicUsize = AtomicUsize::new(0);

/// Makes something under a name of its own beside `path`, then renames it.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (process, turn) = (std::process::id(), TURN.fetch_add(1, Ordering::Relaxed));
    let temporary = folder.join(format!(".{name}.{process}-{turn}.tmp"));
    // One is there only if a process of this number died here.
    let _ = fs::remove_file(&temporary);
    make(&temporary).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(unix)]
fn point(link: &Path, target: &Path, _blob: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Without symlinks for everybody, a second name for the same bytes.
#[cfg(not(unix))]
fn point(link: &Path, _target: &Path, blob: &Path) -> io::Result<()> {
    fs::hard_link(blob, link).or_else(|_| fs::copy(blob, link).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_called_by_its_model() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(name("/c/models--a--sd-xl/snapshots/0123").as_deref(), Some("sd-xl"));
        assert_eq!(name("/c/models--a--sd-xl/0123"), None);
        assert_eq!(name("models/mini-sdxl"), None);
    }
}
