//! The folders that the system watches for us, and which files each name in them is about.
//!
//! A folder is watched as long as a spot of a file's [`trail`] is in it, and no longer. It knows no time: when to look
//! again is the lookout's to say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

use notify::event::{EventKind, ModifyKind};
use notify::{Error, ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::trail::{Identity, Spot, trail};

/// How often a trail is followed again because a folder appeared on it meanwhile; the next look goes on from there.
const ROUNDS: usize = 10;

/// Watched folders.
pub(super) struct Folders {
    watcher: RecommendedWatcher,
    trails: HashMap<PathBuf, BTreeSet<Spot>>,
    folders: BTreeMap<PathBuf, Folder>,
}

#[derive(Default)]
struct Folder {
    /// Which folder is watched; none if it is to be watched anew.
    watched: Option<Identity>,
    /// The files that each name in it is about.
    names: HashMap<OsString, BTreeSet<PathBuf>>,
}

impl Folder {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.names.values().flatten()
    }
}

impl Folders {
    /// No folder yet; what happens in those to come goes to `notice`.
    pub(super) fn new(notice: impl notify::EventHandler) -> notify::Result<Self> {
        let watcher = notify::recommended_watcher(notice)?;
        Ok(Self { watcher, trails: HashMap::new(), folders: BTreeMap::new() })
    }

    /// Watches what the trails of these files, each under the name it was given and its absolute path, go through now.
    ///
    /// # Errors
    /// A folder that is there and cannot be watched.
    pub(super) fn follow(&mut self, files: &[(&Path, &Path)]) -> notify::Result<()> {
        for _ in 0..ROUNDS {
            for (file, absolute) in files {
                self.place(file, trail(absolute));
            }
            // Something may have come between looking and watching.
            if !self.watch_anew()? {
                break;
            }
        }
        Ok(())
    }

    /// Forgets the other files.
    pub(super) fn retain(&mut self, keep: impl Fn(&Path) -> bool) {
        let gone: Vec<_> = self.trails.keys().filter(|file| !keep(file)).cloned().collect();
        for file in gone {
            self.place(&file, BTreeSet::new());
            self.trails.remove(&file);
        }
        self.leave_empty();
    }

    /// The files that an event is about.
    pub(super) fn files_of(&mut self, event: &Event) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        for path in &event.paths {
            files.extend(self.named(path).into_iter().flatten().cloned());
            if is_about_being_there(event.kind)
                && let Some(folder) = self.folders.get_mut(path)
            {
                folder.watched = None;
                files.extend(folder.files().cloned());
            }
        }
        files
    }

    fn named(&self, path: &Path) -> Option<&BTreeSet<PathBuf>> {
        self.folders.get(path.parent()?)?.names.get(path.file_name()?)
    }

    /// The files in folders that are not what they were when watching them began.
    pub(super) fn files_in_other_folders(&mut self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        for (path, folder) in &mut self.folders {
            if folder.watched.is_none() || folder.watched != Identity::of(path) {
                folder.watched = None;
                files.extend(folder.files().cloned());
            }
        }
        files
    }

    /// Puts a file where its trail goes.
    fn place(&mut self, file: &Path, spots: BTreeSet<Spot>) {
        let before = self.trails.insert(file.to_owned(), spots.clone()).unwrap_or_default();
        for Spot { folder, name } in before.difference(&spots) {
            let Some(folder) = self.folders.get_mut(folder) else { continue };
            let Some(files) = folder.names.get_mut(name) else { continue };
            files.remove(file);
            if files.is_empty() {
                folder.names.remove(name);
            }
        }
        for Spot { folder, name } in spots.difference(&before) {
            let folder = self.folders.entry(folder.clone()).or_default();
            folder.names.entry(name.clone()).or_default().insert(file.to_owned());
        }
    }

    /// Watches the folders that are not watched yet, or no more; tells whether there were any.
    fn watch_anew(&mut self) -> notify::Result<bool> {
        self.leave_empty();
        let mut any = false;
        for (path, folder) in self.folders.iter_mut().filter(|(_, folder)| folder.watched.is_none()) {
            any = true;
            let identity = Identity::of(path);
            // It may be watched still, under a name that it has no more.
            let _ = self.watcher.unwatch(path);
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => folder.watched = identity,
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    /// Leaves the folders that no file needs.
    fn leave_empty(&mut self) {
        let watcher = &mut self.watcher;
        self.folders.retain(|path, folder| {
            let needed = !folder.names.is_empty();
            if !needed {
                // It may be gone.
                let _ = watcher.unwatch(path);
            }
            needed
        });
    }
}

/// Whether what is at a path came or went, rather than was written to.
fn is_about_being_there(kind: EventKind) -> bool {
    matches!(kind, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

fn is_gone(error: &Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => matches!(error.kind(), IoKind::NotFound | IoKind::NotADirectory),
        _ => false,
    }
}
