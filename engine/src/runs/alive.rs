//! Whether the process of a run is still there.
//!
//! It holds a lock on a file of its own in the run's folder. The system lets go of it when the process ends, however it
//! ends, and a process number that is used again deceives nobody. It is not the file of events that is locked: on some
//! systems, nobody could read it then.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The file in a run folder that is there and locked while the run's process is.
pub const RUNNING: &str = "running";

/// A run whose process is there; not any more when it is dropped.
pub(super) struct Alive {
    path: PathBuf,
    /// Its lock is what counts.
    _locked: File,
}

impl Alive {
    /// Says so in a run's folder, if anything can be written there. Where there are no locks, the file alone says it.
    pub fn in_folder(run: &Path) -> Option<Self> {
        let path = run.join(RUNNING);
        let mut file = File::create(&path).ok()?;
        let _ = file.lock();
        // For people who look into it.
        let _ = writeln!(file, "{}", std::process::id());
        Some(Self { path, _locked: file })
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // If it stays, it is not locked any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the process of a run is still there. Where the system cannot tell, it is taken to be.
pub fn is_running(run: &Path) -> bool {
    let Ok(file) = File::open(run.join(RUNNING)) else { return false };
    match file.try_lock_shared() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
    }
}
