//! Digests of the files that nodes read, each read once while it stays what it is.
//!
//! A file is known by device, inode, size and times. One that changed within the last seconds is
//! not remembered: it could change again without its times telling.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use crate::store::Log;
use crate::{Cancelled, Digest, Event, Events, Problem, Result, Stop};

/// Bytes of what tells a file from others and from what it was.
const IDENTITY: usize = 5 * 8;
const RECORD: usize = IDENTITY + 32;
/// Times of files are no finer than this on any file system.
const GRAIN: Duration = Duration::from_secs(2);
/// What is read at a time: enough for all processors to hash.
const PIECE: usize = 8 << 20;
/// Reading a file of this size is told.
const LARGE: u64 = 1 << 20;
/// How often a file may change while it is read.
const ATTEMPTS: usize = 3;

type Identity = [u8; IDENTITY];

/// Digests of files.
pub struct FileDigests {
    folder: Option<PathBuf>,
    remembered: OnceLock<Mutex<Remembered>>,
    /// Whether what earlier processes saw is not believed.
    is_paranoid: bool,
}

struct Remembered {
    known: HashMap<Identity, Digest>,
    /// None where nothing can be written, or nothing should.
    log: Option<Log<RECORD>>,
}

impl Default for FileDigests {
    /// Digests that the process alone remembers.
    fn default() -> Self {
        Self { folder: None, remembered: OnceLock::new(), is_paranoid: false }
    }
}

impl FileDigests {
    /// Digests that are remembered in a folder, which need not exist.
    pub fn remembered_in(folder: PathBuf) -> Self {
        Self { folder: Some(folder), ..Self::default() }
    }

    /// Reads every file once more in this process.
    #[must_use]
    pub fn paranoid(self) -> Self {
        Self { is_paranoid: true, ..self }
    }

    /// A digest of a file's name, size and time, for where its bytes are not worth reading.
    pub(crate) fn glance(path: &Path) -> Result<Digest> {
        let metadata = metadata(path)?;
        let seen = [path.as_os_str().as_encoded_bytes(), &identity(path, &metadata)];
        Ok(Digest::of_parts(seen))
    }

    /// The digest of a file's bytes if that is remembered, or if the file is small.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn quick(&self, path: &Path) -> Result<Option<Digest>> {
        let metadata = metadata(path)?;
        match self.lock().known.get(&identity(path, &metadata)) {
            Some(digest) => return Ok(Some(*digest)),
            None if metadata.len() >= LARGE => return Ok(None),
            None => {}
        }
        self.of(path, &Events::silent(), &Stop::default()).map(Some)
    }

    /// The digest of a file's bytes. That a large one is read is told.
    ///
    /// # Errors
    /// A file that cannot be read, or that changes all the time; a run that was asked to stop.
    pub fn of(&self, path: &Path, events: &Events, stop: &Stop) -> Result<Digest> {
        for _ in 0..ATTEMPTS {
            let before = metadata(path)?;
            let identity_before = identity(path, &before);
            if let Some(&digest) = self.lock().known.get(&identity_before) {
                return Ok(digest);
            }
            let (started, began) = (Instant::now(), SystemTime::now());
            let digest = digest_of_bytes(path, stop)?;
            let after = metadata(path)?;
            if identity(path, &after) != identity_before {
                continue;
            }
            if after.len() >= LARGE {
                let (path, bytes) = (path.display().to_string(), after.len());
                events.emit(Event::FileDigested { path, bytes, seconds: started.elapsed().as_secs_f64() });
            }
            if is_settled(&after, began) {
                self.lock().remember(identity_before, digest);
            }
            return Ok(digest);
        }
        let problem = Problem::new(format!("{} changes while it is read", path.display()));
        Err(problem.hint("wait until whoever writes it is done").into())
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        let open = || {
            let Some(folder) = self.folder.clone() else {
                return Mutex::new(Remembered { known: HashMap::new(), log: None });
            };
            let (log, records) = Log::open(folder);
            let believed = records.iter().filter(|_| !self.is_paranoid);
            let known: HashMap<_, _> = believed.filter_map(read).collect();
            if log.is_scattered() && !self.is_paranoid {
                let records: Vec<_> =
                    known.iter().map(|(identity, digest)| written(identity, *digest)).collect();
                // The next process tries again.
                let _ = log.merge(records.iter());
            }
            Mutex::new(Remembered { known, log: Some(log) })
        };
        self.remembered.get_or_init(open).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn remember(&mut self, identity: Identity, digest: Digest) {
        self.known.insert(identity, digest);
        if let Some(log) = &mut self.log
            && log.append(&written(&identity, digest)).is_err()
        {
            // A folder that cannot be written to costs reading the file again next time.
            self.log = None;
        }
    }
}

fn metadata(path: &Path) -> Result<Metadata> {
    std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))
}

fn digest_of_bytes(path: &Path, stop: &Stop) -> Result<Digest> {
    let describe = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(describe)?;
    let size = usize::try_from(file.metadata().with_context(describe)?.len()).unwrap_or(PIECE);
    let mut piece = vec![0; size.clamp(1 << 12, PIECE)];
    let mut hasher = blake3::Hasher::new();
    loop {
        let read = file.read(&mut piece).with_context(describe)?;
        match read {
            0 => return Ok(Digest::from_bytes(*hasher.finalize().as_bytes())),
            1..=0xf_ffff => hasher.update(&piece[..read]),
            _ => hasher.update_rayon(&piece[..read]),
        };
        if stop.asked() {
            return Err(Cancelled.into());
        }
    }
}

/// Whether a change from `now` on would show in the file's times.
fn is_settled(metadata: &Metadata, now: SystemTime) -> bool {
    let is_off = |time: SystemTime| {
        let distance = now.duration_since(time).unwrap_or_else(|error| error.duration());
        distance > GRAIN
    };
    metadata.modified().is_ok_and(is_off) && is_off(changed(metadata))
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> SystemTime {
    use std::os::unix::fs::MetadataExt as _;
    UNIX_EPOCH + Duration::new(metadata.ctime().max(0).unsigned_abs(), 0)
}

#[cfg(not(unix))]
fn changed(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(UNIX_EPOCH)
}

/// Device, inode, size, time of the last change of the bytes, time of the last change of anything.
#[cfg(unix)]
fn identity(_: &Path, metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    let nanoseconds =
        |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest).cast_unsigned();
    joined([
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    ])
}

/// The same where files have no inode: their path tells them apart.
#[cfg(not(unix))]
fn identity(path: &Path, metadata: &Metadata) -> Identity {
    let path = Digest::of(std::path::absolute(path).unwrap_or_default().as_os_str().as_encoded_bytes());
    let part = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| path.as_bytes()[at + byte]));
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default();
    joined([part(0), part(8), metadata.len(), u64::try_from(modified.as_nanos()).unwrap_or_default(), 0])
}

fn joined(numbers: [u64; 5]) -> Identity {
    let mut identity = [0; IDENTITY];
    for (at, number) in numbers.iter().enumerate() {
        identity[8 * at..][..8].copy_from_slice(&number.to_le_bytes());
    }
    identity
}

fn written(identity: &Identity, digest: Digest) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..IDENTITY].copy_from_slice(identity);
    record[IDENTITY..].copy_from_slice(digest.as_bytes());
    record
}

fn read(record: &[u8; RECORD]) -> Option<(Identity, Digest)> {
    let (identity, digest) = record.split_first_chunk::<IDENTITY>()?;
    Some((*identity, Digest::from_bytes(*digest.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with some age, so that it is remembered.
    fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn of(digests: &FileDigests, path: &Path) -> Digest {
        digests.of(path, &Events::silent(), &Stop::default()).unwrap()
    }

    #[test]
    fn the_bytes_decide_and_not_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let large = vec![7; PIECE + 12_345];
        let (a, b) = (file(folder.path(), "a", &large), file(folder.path(), "b", &large));
        let digests = FileDigests::default();
        assert_eq!(of(&digests, &a), Digest::of(&large));
        assert_eq!(of(&digests, &a), of(&digests, &b));
        std::fs::write(&a, b"other").unwrap();
        assert_eq!(of(&digests, &a), Digest::of(b"other"));
    }

    #[test]
    fn a_file_that_was_just_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let digests = FileDigests::default();
        for bytes in [b"one", b"two", b"six"] {
            // The times of a file may be the same for changes within milliseconds.
            assert_eq!(of(&digests, &file(folder.path(), "a", bytes)), Digest::of(bytes));
        }
    }

    #[test]
    fn what_is_remembered_is_believed_unless_one_is_paranoid() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "a", b"one");
        let remembered = folder.path().join("digests");
        let lie = Digest::of(b"a lie");
        let identity = identity(&path, &metadata(&path).unwrap());
        FileDigests::remembered_in(remembered.clone()).lock().remember(identity, lie);
        let again = || FileDigests::remembered_in(remembered.clone());
        assert_eq!(of(&again(), &path), lie);
        assert_eq!(of(&again().paranoid(), &path), Digest::of(b"one"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = FileDigests::default().of(Path::new("no/such"), &Events::silent(), &Stop::default());
        assert_eq!(error.unwrap_err().to_string(), "cannot read no/such");
    }
}
