//! Writing a file so that a crash leaves either the old one or the new one.
//!
//! What is written is compared with what the file holds already, and a new file is begun where they part: nobody has
//! to have all the bytes at once to find that nothing has changed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write};
use std::path::{Path, PathBuf};

use crate::{Problem, Result};
use anyhow::Context as _;

/// Puts bytes into a file, unless they are there already; tells whether it wrote.
///
/// # Errors
/// As [`write_with`].
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    write_with(path, |file| Ok(file.write_all(bytes)?))
}

/// Puts what `write` writes into a file, unless it is there already; tells whether the file changed.
///
/// The folder is made if it is missing. Readers see the old file or the new one, never a part.
///
/// # Errors
/// Those of `write`, a full disk, a folder that takes no files, a pipe or a device in the file's place; the old file is then as it was.
pub fn write_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<bool> {
    if is_special(path) {
        return Err(special_file(&path.display().to_string()).into());
    }
    // A link is followed, so that it stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    write_unlike(&target, &target, write).with_context(|| format!("cannot write {}", path.display()))
}

/// Puts what `write` writes into the file `new`, unless that is what `old` holds; tells whether it is not. If it is,
/// `new` is left alone.
///
/// # Errors
/// As [`write_with`].
pub fn write_unlike(
    old: &Path,
    new: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<bool> {
    fs::create_dir_all(new.parent().unwrap_or(Path::new("")))?;
    let mut file = Unlike::new(old, new);
    write(&mut file)?;
    Ok(file.finish()?)
}

/// Whether it is a pipe, a socket or a device: opening one may wait for ever.
pub fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// The refusal of what is neither a file nor a folder.
pub fn special_file(path: &str) -> Problem {
    Problem::new(format!("`{path}` is a pipe, a socket or a device, not a file"))
        .hint("copy what comes out of it into a file, and name that")
}

/// A writer that compares with the old file as long as that has the same bytes, and then writes the new one.
struct Unlike<'a> {
    new: &'a Path,
    stage: Stage,
}

enum Stage {
    /// As many bytes of the old file were written again.
    Same(File, u64),
    /// There is no old file, and nothing was written.
    Empty,
    /// The new file is under way.
    New(File, Temporary),
}

impl<'a> Unlike<'a> {
    fn new(old: &Path, new: &'a Path) -> Self {
        let opened = fs::metadata(old).is_ok_and(|old| old.is_file()).then(|| File::open(old).ok());
        let stage = opened.flatten().map_or(Stage::Empty, |old| Stage::Same(old, 0));
        Self { new, stage }
    }

    /// The new file, with what it has in common with the old one in it.
    fn begin(&mut self) -> io::Result<&mut File> {
        if !matches!(self.stage, Stage::New(..)) {
            let (mut file, temporary) = Temporary::beside(self.new)?;
            if let Stage::Same(old, same) = &mut self.stage {
                old.rewind()?;
                io::copy(&mut old.take(*same), &mut file)?;
            }
            self.stage = Stage::New(file, temporary);
        }
        match &mut self.stage {
            Stage::New(file, _) => Ok(file),
            Stage::Same(..) | Stage::Empty => Err(ErrorKind::NotFound.into()), // it has just become new
        }
    }

    /// Puts the new file into its place, if it is one.
    fn finish(mut self) -> io::Result<bool> {
        if let Stage::Same(old, same) = &self.stage
            && old.metadata()?.len() == *same
        {
            return Ok(false);
        }
        self.begin()?.sync_all()?;
        if let Stage::New(file, temporary) = self.stage {
            drop(file);
            temporary.becomes(self.new)?;
        }
        Ok(true)
    }
}

impl Write for Unlike<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Stage::Same(old, same) = &mut self.stage
            && goes_on_with(old, bytes)?
        {
            *same += bytes.len() as u64;
            return Ok(bytes.len());
        }
        self.begin()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether these are the next bytes of a file.
fn goes_on_with(file: &mut File, bytes: &[u8]) -> io::Result<bool> {
    let mut next = [0; 1 << 14];
    for chunk in bytes.chunks(next.len()) {
        let next = &mut next[..chunk.len()];
        match file.read_exact(next) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if next != chunk {
            return Ok(false);
        }
    }
    Ok(true)
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
pub(crate) struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// A new file in the same folder, where a rename is a single step.
    pub(crate) fn beside(path: &Path) -> std::io::Result<(File, Self)> {
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

    /// Takes a file's place.
    pub(crate) fn becomes(mut self, path: &Path) -> std::io::Result<()> {
        fs::rename(&self.path, path)?;
        // The name is free again: what is under it from now on is somebody else's.
        self.path.clear();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
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
    fn writers_in_one_folder_do_not_touch_what_others_have_begun() {
        let folder = tempfile::tempdir().unwrap();
        let write = |writer: usize| {
            for file in 0..500 {
                let path = folder.path().join(format!("{writer} {file}"));
                assert!(write_if_changed(&path, b"one").unwrap());
            }
        };
        std::thread::scope(|scope| (0..8).for_each(|writer| drop(scope.spawn(move || write(writer)))));
        assert_eq!(names(folder.path()).len(), 4000);
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

    #[test]
    fn a_stream_is_compared_with_what_is_there_and_written_from_where_it_parts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let in_parts = |parts: &[&[u8]]| {
            write_with(&path, |file| Ok(parts.iter().try_for_each(|part| file.write_all(part))?)).unwrap()
        };
        let long = vec![7; 100_000];
        assert!(in_parts(&[b"one", &long, b"two"]));
        assert!(!in_parts(&[b"on", b"e", &long, b"two"]));
        for parts in [&[&b"one"[..], &long, b"tw"][..], &[b"one", &long, b"twos"], &[b"one", b"two"], &[]] {
            assert!(in_parts(parts));
            assert_eq!(fs::read(&path).unwrap(), parts.concat());
            assert!(!in_parts(parts));
        }
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_stream_that_ends_in_an_error_leaves_the_old_file_and_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"old").unwrap();
        for begun in [&b"old"[..], b"new"] {
            let full = |file: &mut dyn Write| {
                file.write_all(begun)?;
                Err(io::Error::from(ErrorKind::StorageFull).into())
            };
            let error = format!("{:#}", write_with(&path, full).unwrap_err());
            let expected = format!("cannot write {}: no storage space", path.display());
            assert_eq!((error, fs::read(&path).unwrap()), (expected, b"old".to_vec()));
            assert_eq!(names(folder.path()), ["a"]);
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("file"));
        fs::write(&file, b"old").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        assert!(write_if_changed(&link, b"new").unwrap());
        assert!(link.is_symlink() && fs::read(&file).unwrap() == b"new");
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
    #[cfg(unix)]
    #[test]
    fn a_pipe_is_neither_read_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let said = write_if_changed(&path, b"one").unwrap_err().to_string();
        assert!(said.ends_with("a.png` is a pipe, a socket or a device, not a file"), "{said}");
        assert_eq!(names(folder.path()), ["a.png"]);
    }
}
