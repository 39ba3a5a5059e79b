//! Writing a file so that a crash leaves either the old one or the new one.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flow_engine::{Problem, Result};

use super::find::{is_special, special_file};

/// Puts bytes into a file, unless they are there already; tells whether it wrote.
///
/// The folder is made if it is missing. Readers see the old file or the new one, never a part.
///
/// # Errors
/// A folder or a disk that cannot be written to; a pipe or a device in the file's place.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if is_special(path) {
        return Err(special_file(&path.display().to_string()).into());
    }
    let is_as_long = fs::metadata(path).is_ok_and(|present| present.len() == bytes.len() as u64);
    if is_as_long && fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    // A link is followed, so that it stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    write(&target, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let (mut file, temporary) = Temporary::beside(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    temporary.becomes(path)?;
    Ok(())
}

/// What keeps a folder, which need not exist yet, from being written to, if anything does.
///
/// It tries: permissions, read-only mounts and quotas have too many forms to ask about.
pub fn unwritable(folder: &Path) -> Option<Problem> {
    let nearest = folder.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok())?;
    if !nearest.is_dir() {
        let problem = Problem::new(format!("{} is a file, not a folder", nearest.display()));
        return Some(problem.hint("name another folder, or move the file away"));
    }
    let error = Temporary::beside(&nearest.join("probe")).err()?;
    Some(Problem::new(format!("cannot write to {}: {error}", nearest.display())))
}

/// A file under a name that nobody else uses; it is removed unless it takes another's place.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// A new file in the same folder, where a rename is a single step.
    fn beside(path: &Path) -> std::io::Result<(File, Self)> {
        let process = std::process::id();
        let mut attempt = 0;
        loop {
            let temporary = path.with_file_name(format!(".flow-{process}-{attempt}.tmp"));
            match File::create_new(&temporary) {
                Ok(file) => return Ok((file, Self { path: temporary })),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn becomes(self, path: &Path) -> std::io::Result<()> {
        // After the rename, dropping finds nothing to remove.
        fs::rename(&self.path, path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // There is no one to tell, and the error that led here is already on its way.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_same_bytes_are_not_written_twice_and_other_bytes_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/a.png");
        assert!(write_if_changed(&path, b"one").unwrap());
        assert!(!write_if_changed(&path, b"one").unwrap());
        assert!(write_if_changed(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(path.parent().unwrap()), ["a.png"]);
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::create_dir_all(path.join("in the way")).unwrap();
        let error = write_if_changed(&path, b"one").unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        assert_eq!(names(folder.path()), ["a.png"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_neither_read_nor_replaced() {
        use super::super::testing::{at_once, pipe};
        let folder = tempfile::tempdir().unwrap();
        let path = pipe(folder.path(), "a.png");
        let said = at_once(move || write_if_changed(&path, b"one").unwrap_err().to_string());
        assert!(said.ends_with("a.png` is a pipe, a socket or a device, not a file"), "{said}");
        assert_eq!(names(folder.path()), ["a.png"]);
    }

    #[test]
    fn a_folder_below_a_file_is_unwritable_and_a_folder_to_be_made_is_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"").unwrap();
        let problem = unwritable(&folder.path().join("file/deep/er")).unwrap();
        assert!(problem.to_string().ends_with("file is a file, not a folder"), "{problem}");
        assert_eq!(unwritable(&folder.path().join("new/deep/er")), None);
        assert_eq!(names(folder.path()), ["file"]);
    }
}
