//! Writing a folder so that a crash leaves either the old one or the new one.
//!
//! The new folder grows under another name beside its place. Files that have not changed are taken over from the old
//! one, so that a folder in which one network is new costs what that network costs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flow_engine::Result;

use flow_engine::file;

/// A folder under way; it is removed unless it takes its place.
pub(crate) struct NewFolder {
    temporary: Temporary,
    target: PathBuf,
    /// What a person calls it.
    path: PathBuf,
    names: BTreeSet<PathBuf>,
    changed: bool,
}

impl NewFolder {
    /// A folder that is to be at `path`, and nothing in it yet.
    ///
    /// # Errors
    /// A place that takes no folders.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        // A link is followed, so that it stays one.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let temporary = target
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| Temporary::beside(&target))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let (names, changed) = (BTreeSet::new(), !target.is_dir());
        Ok(Self { temporary, target, path: path.to_owned(), names, changed })
    }

    /// Puts what `write` writes into the file of this name, which may lie in folders of its own.
    ///
    /// # Errors
    /// Those of `write`, a full disk.
    pub(crate) fn write_with(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let (old, new) = (self.target.join(name), self.temporary.0.join(name));
        let wrote = file::write_unlike(&old, &new, write).and_then(|is_new| match is_new {
            true => Ok(true),
            // The same bytes under two names for a moment; where that cannot be, they are copied.
            false => {
                Ok(fs::hard_link(&old, &new).or_else(|_| fs::copy(&old, &new).map(drop)).map(|()| false)?)
            }
        });
        self.changed |= wrote.with_context(|| format!("cannot write {}", self.path.join(name).display()))?;
        self.names.insert(name.into());
        Ok(())
    }

    /// Puts the folder into its place, unless the same one is there; tells whether it did. What was there is removed.
    ///
    /// # Errors
    /// A file in its place, a folder that cannot be moved away; what is there then stays.
    pub(crate) fn becomes(self) -> Result<bool> {
        if !self.changed && files_below(&self.target)? == self.names {
            return Ok(false);
        }
        self.replace().with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(true)
    }

    fn replace(&self) -> io::Result<()> {
        let (new, target) = (&self.temporary.0, &self.target);
        if !target.is_dir() {
            return fs::rename(new, target);
        }
        let old = Temporary::beside(target)?;
        let away = old.0.join("old");
        fs::rename(target, &away)?;
        // If the new one cannot come, the old one comes back, and the first mistake is the one to tell.
        fs::rename(new, target).or_else(|mistake| fs::rename(&away, target).and(Err(mistake)))
    }
}

/// Every file in a folder and in those below it, by its path from there. Links are files.
///
/// # Errors
/// A folder that cannot be read.
fn files_below(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let entry = entry?;
            let name = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(name);
            } else {
                files.insert(name);
            }
        }
    }
    Ok(files)
}

/// A folder under a name that nobody else uses; it is removed with what is left in it.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> io::Result<Self> {
        let process = std::process::id();
        let mut attempt = 0;
        loop {
            let temporary = path.with_file_name(format!(".flow-{process}-{attempt}.tmp"));
            match fs::create_dir(&temporary) {
                Ok(()) => return Ok(Self(temporary)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // There is no one to tell, and after a rename there is nothing to remove.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a folder with these files; tells whether it changed.
    fn write(path: &Path, files: &[(&str, &[u8])]) -> bool {
        let mut folder = NewFolder::at(path).unwrap();
        for (name, bytes) in files {
            folder.write_with(name, |file| Ok(file.write_all(bytes)?)).unwrap();
        }
        folder.becomes().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        files_below(folder).unwrap().into_iter().map(|name| name.display().to_string()).collect()
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole_and_only_if_something_in_it_differs() {
        let house = tempfile::tempdir().unwrap();
        let path = house.path().join("out/model");
        assert!(write(&path, &[("a", b"1"), ("deep/b", b"2")]));
        assert!(!write(&path, &[("a", b"1"), ("deep/b", b"2")]));
        assert!(write(&path, &[("a", b"1"), ("deep/b", b"3")]));
        assert_eq!(fs::read(path.join("deep/b")).unwrap(), b"3");
        assert!(write(&path, &[("a", b"1")]), "one file is too many");
        assert_eq!(names(house.path()), ["out/model/a"]);
    }

    #[test]
    fn a_folder_that_is_given_up_leaves_the_old_one_and_nothing_else() {
        let house = tempfile::tempdir().unwrap();
        let path = house.path().join("model");
        write(&path, &[("a", b"1")]);
        let mut folder = NewFolder::at(&path).unwrap();
        folder.write_with("a", |file| Ok(file.write_all(b"2")?)).unwrap();
        let failing = |_: &mut dyn Write| Err(io::Error::from(ErrorKind::StorageFull).into());
        let error = format!("{:#}", folder.write_with("b", failing).unwrap_err());
        let expected = format!("cannot write {}: no storage space", path.join("b").display());
        assert_eq!(error, expected);
        drop(folder);
        assert_eq!(names(house.path()), ["model/a"]);
        assert_eq!(fs::read(path.join("a")).unwrap(), b"1");
    }

    #[test]
    fn a_file_is_not_replaced_by_a_folder() {
        let house = tempfile::tempdir().unwrap();
        let path = house.path().join("model");
        fs::write(&path, b"a file").unwrap();
        let folder = NewFolder::at(&path).unwrap();
        assert!(folder.becomes().unwrap_err().to_string().starts_with("cannot write "));
        assert_eq!(fs::read(&path).unwrap(), b"a file");
        assert_eq!(names(house.path()), ["model"]);
    }
}
