//! One file from the hub into the cache: goes on where it was interrupted, and is believed only with its digest.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use flow_engine::{Problem, Result};
use sha2::{Digest as _, Sha256};

use super::cache::Repo;
use super::client::{Client, Failure, Identity};
use super::id::HubId;

/// How often cancellation is looked at.
const CHUNK_BYTES: usize = 256 << 10;
const BEAT: Duration = Duration::from_millis(100);

/// Who is told of bytes done and bytes in all, and may stop it.
pub type Watch<'a> = dyn FnMut(u64, u64) -> Result<()> + 'a;

/// A model on its way into the cache.
pub(super) struct Download<'a> {
    pub client: &'a Client<'a>,
    pub repo: &'a Repo,
    pub id: &'a HubId,
    pub commit: &'a str,
    pub watch: &'a mut Watch<'a>,
    /// Bytes of the files before this one.
    pub done: u64,
    pub total: u64,
    /// How often in a row a transfer may break off without one new byte.
    pub tries: u32,
}

/// Why a transfer ended early.
enum Broken {
    /// It may go on.
    Off(anyhow::Error),
    /// It may not.
    For(anyhow::Error),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(_) => Self::Off(failure.into()),
            Failure::Refused(_) => Self::For(failure.into()),
        }
    }
}

impl Download<'_> {
    /// Brings a file, if its bytes are not there, and gives it its name.
    pub(super) fn file(&mut self, name: &str, identity: &Identity) -> Result<()> {
        if !self.is_there(identity) {
            let lock = self.locked(identity)?;
            // Another process may have brought it while we waited.
            if !self.is_there(identity) {
                self.bring(name, identity)?;
            }
            drop(lock);
        }
        self.repo.link(self.commit, name, &identity.etag)?;
        self.done = self.done.saturating_add(identity.size_bytes);
        self.tell(0)
    }

    fn is_there(&self, identity: &Identity) -> bool {
        fs::metadata(self.repo.blob(&identity.etag)).is_ok_and(|blob| blob.len() == identity.size_bytes)
    }

    /// Waits until no other process brings the same bytes.
    fn locked(&mut self, identity: &Identity) -> Result<File> {
        let lock = self.repo.lock_file(&identity.etag)?;
        while let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
            self.tell(0)?;
            sleep(BEAT);
        }
        // A file system that knows no locks is no reason to fail: the digest guards the bytes.
        Ok(lock)
    }

    /// Brings a file's bytes, with as many transfers as it takes.
    fn bring(&mut self, name: &str, identity: &Identity) -> Result<()> {
        let partial = self.repo.partial(&identity.etag);
        let mut failed = 0;
        loop {
            let before = size_of(&partial);
            match self.transfer(name, identity, &partial) {
                Ok(()) => break,
                Err(Broken::For(error)) => return Err(error),
                Err(Broken::Off(error)) => {
                    failed = if size_of(&partial) > before { 1 } else { failed + 1 };
                    if failed >= self.tries {
                        return Err(error);
                    }
                    self.wait(failed)?;
                }
            }
        }
        fs::rename(&partial, self.repo.blob(&identity.etag))
            .with_context(|| format!("cannot finish `{name}`"))
    }

    /// Adds to what has come of a file until it is complete.
    fn transfer(&mut self, name: &str, identity: &Identity, partial: &Path) -> Result<(), Broken> {
        let on_disk = |cause: io::Error| Broken::For(write_problem(name, partial, &cause).into());
        let mut file = open_partial(partial).map_err(on_disk)?;
        let mut hash = Sha256::new();
        let mut have = self.hash_kept(&mut file, identity, &mut hash).map_err(Broken::For)?;
        if have < identity.size_bytes {
            let mut bytes = self.client.open(self.id, self.commit, name, have)?;
            if bytes.from != have {
                have = restart(&mut file, &mut hash, bytes.from, name)?;
            }
            self.copy(name, bytes.reader.as_mut(), &mut file, &mut hash, have, identity.size_bytes).map_err(
                |broken| match broken {
                    Stopped::Asked(error) => Broken::For(error),
                    Stopped::Reading(cause) => Broken::Off(read_problem(name, &cause).into()),
                    Stopped::Writing(cause) => on_disk(cause),
                },
            )?;
        }
        file.sync_all().map_err(on_disk)?;
        if identity.sha256().is_some_and(|expected| expected != hex(&hash.finalize())) {
            // What is wrong must not be gone on from.
            let _ = fs::remove_file(partial);
            return Err(Broken::For(wrong_digest(name, self.id).into()));
        }
        Ok(())
    }

    /// Hashes what an earlier transfer left; too much of it is thrown away.
    fn hash_kept(&mut self, file: &mut File, identity: &Identity, hash: &mut Sha256) -> Result<u64> {
        let kept = file.metadata()?.len();
        if kept > identity.size_bytes {
            file.set_len(0)?;
            return Ok(0);
        }
        file.seek(SeekFrom::Start(0))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut have = 0;
        while have < kept {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            hash.update(&chunk[..count]);
            have += count as u64;
            self.tell(have)?;
        }
        Ok(have)
    }

    /// Copies from the network into a file until it has `size` bytes.
    fn copy(
        &mut self,
        name: &str,
        from: &mut dyn Read,
        to: &mut dyn Write,
        hash: &mut Sha256,
        mut have: u64,
        size: u64,
    ) -> Result<(), Stopped> {
        let mut chunk = vec![0; CHUNK_BYTES];
        while have < size {
            self.tell(have).map_err(Stopped::Asked)?;
            let room = chunk.len().min(usize::try_from(size - have).unwrap_or(usize::MAX));
            let count = match from.read(&mut chunk[..room]) {
                Ok(0) => {
                    let early = format!("`{name}` ended after {have} of {size} bytes");
                    return Err(Stopped::Reading(io::Error::new(ErrorKind::UnexpectedEof, early)));
                }
                Ok(count) => count,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
                Err(cause) => return Err(Stopped::Reading(cause)),
            };
            to.write_all(&chunk[..count]).map_err(Stopped::Writing)?;
            hash.update(&chunk[..count]);
            have += count as u64;
        }
        Ok(())
    }

    fn tell(&mut self, of_this_file: u64) -> Result<()> {
        (self.watch)(self.done.saturating_add(of_this_file), self.total)
    }

    /// Waits longer each time, and not at all the first time.
    fn wait(&mut self, failed: u32) -> Result<()> {
        for _ in 0..(failed - 1) * 20 {
            (self.watch)(self.done, self.total)?;
            sleep(BEAT);
        }
        Ok(())
    }
}

/// Why copying stopped.
enum Stopped {
    Asked(anyhow::Error),
    Reading(io::Error),
    Writing(io::Error),
}

fn open_partial(path: &Path) -> io::Result<File> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    File::options().create(true).read(true).append(true).open(path)
}

/// The hub sends from another place than it was asked to: from the start is as good.
fn restart(file: &mut File, hash: &mut Sha256, from: u64, name: &str) -> Result<u64, Broken> {
    if from != 0 {
        let message = format!("the hub sends `{name}` from byte {from}, which was not asked for");
        return Err(Broken::Off(Problem::new(message).into()));
    }
    file.set_len(0).map_err(|cause| Broken::For(cause.into()))?;
    *hash = Sha256::new();
    Ok(0)
}

fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_problem(name: &str, cause: &io::Error) -> Problem {
    Problem::new(format!("the download of `{name}` broke off: {cause}"))
        .hint("run it again: it goes on where it was interrupted")
}

fn write_problem(name: &str, path: &Path, cause: &io::Error) -> Problem {
    let folder = path.parent().unwrap_or(path).display();
    match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Problem::new(format!("the disk is full: `{name}` does not fit into {folder}")).hint(
                "make room and run it again, it goes on where it was; or set `HF_HUB_CACHE` to a folder on another disk",
            )
        }
        _ => Problem::new(format!("cannot write `{name}` into {folder}: {cause}"))
            .hint("set `HF_HUB_CACHE` to a folder that can be written to"),
    }
}

fn wrong_digest(name: &str, id: &HubId) -> Problem {
    Problem::new(format!("`{name}` of {id} came with a wrong digest, and is thrown away"))
        .hint("run it again to download it anew; if that does not help, something on the way changes files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_one() {
        let problem = write_problem("unet/x", Path::new("/c/blobs/x"), &ErrorKind::StorageFull.into());
        assert_eq!(problem.to_string(), "the disk is full: `unet/x` does not fit into /c/blobs");
        let other = write_problem("unet/x", Path::new("/c/blobs/x"), &ErrorKind::PermissionDenied.into());
        assert!(other.to_string().starts_with("cannot write `unet/x`"));
    }
}
