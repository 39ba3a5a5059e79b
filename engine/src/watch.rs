//! Watching files for edits, however an editor saves them.
//!
//! Editors replace files more often than they write into them, so folders are watched, never files: the folder of each
//! file, of each link on the way to it, and, where a folder is missing, the one that it would appear in. Where the
//! system tells of no edits, files are looked at in turn instead.
//!
//! What is told is that a file *may* have changed. Whether its bytes did is the caller's to find out, and what the
//! file is for is nothing that this module knows.

mod folders;
mod pending;
#[cfg(test)]
mod tests;
mod trail;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::folders::Folders;
use self::pending::Pending;
use self::trail::Stamp;
use crate::{Problem, Result};

/// How often folders are looked at, for what the system does not tell: that one far above was moved.
const LOOK_AT_FOLDERS: Duration = Duration::from_secs(1);
/// How often files are looked at where the system tells of no edits.
const LOOK_AT_FILES: Duration = Duration::from_secs(1);

/// What Linux says when too many programs watch (`EMFILE`).
const TOO_MANY_OPEN_FILES: i32 = 24;

/// What is seen of watched files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// These files, named as they were given, may have been written, made, replaced or removed.
    Edited(BTreeSet<PathBuf>),
    /// Files are watched in a worse way from now on, and why; for a person to read.
    Worse(Problem),
}

/// Watches files until it is dropped.
///
/// Nothing is told of files that are only read, and nothing of their neighbours.
pub struct Watch {
    line: Sender<Word>,
}

/// What the watching thread is told.
enum Word {
    /// The files to watch, and where to say that they are.
    Files(Vec<PathBuf>, Sender<()>),
    /// What the system noticed.
    Noticed(notify::Result<notify::Event>),
    /// Nobody watches any more.
    Stop,
}

impl Watch {
    /// Watches nothing yet. What it sees goes into `told`, which may be a channel for other news as well.
    ///
    /// Edits closer together than `debounce` are told at once, when they have ended. A file that is written all the
    /// time is told when that stops; other files wait for it a few times `debounce` at most.
    ///
    /// # Errors
    /// A system that gives no thread.
    pub fn new<M: From<Sighting> + Send + 'static>(debounce: Duration, told: Sender<M>) -> Result<Self> {
        Self::start(debounce, told, |lookout, line| match Folders::new(move |noticed| tell(&line, noticed)) {
            Ok(folders) => lookout.eyes = Eyes::Folders(folders),
            Err(error) => lookout.look_at_files(&error),
        })
    }

    /// As [`Self::new`], but looks at every file once per `every`: for network file systems, which do not say when
    /// somebody else edits a file. An edit that keeps a file's size and time is missed.
    ///
    /// # Errors
    /// A system that gives no thread.
    pub fn polling<M>(debounce: Duration, every: Duration, told: Sender<M>) -> Result<Self>
    where
        M: From<Sighting> + Send + 'static,
    {
        Self::start(debounce, told, move |lookout, _| lookout.eyes = Eyes::Polling(every))
    }

    fn start<M: From<Sighting> + Send + 'static>(
        debounce: Duration,
        told: Sender<M>,
        open_eyes: impl FnOnce(&mut Lookout<M>, Sender<Word>) + Send + 'static,
    ) -> Result<Self> {
        let (line, words) = channel();
        let this = Self { line: line.clone() };
        let watching = move || {
            let mut lookout = Lookout::new(debounce, told);
            open_eyes(&mut lookout, line);
            lookout.listen(&words);
        };
        thread::Builder::new().name("watch".into()).spawn(watching).context("cannot watch files")?;
        Ok(this)
    }

    /// Watches exactly these files from now on; they need not exist. Of a folder among them, it is told that it comes, goes
    /// or is replaced, and, up to a second later, that names in it come and go.
    ///
    /// Every edit after this returns is told; whoever read a new file before compares it once more.
    ///
    /// # Errors
    /// Watching ended by itself, which is a bug.
    pub fn set_files(&self, files: impl IntoIterator<Item = PathBuf>) -> Result<()> {
        let (done, wait) = channel();
        // If nobody is there to hear it, nobody answers either.
        let _ = self.line.send(Word::Files(files.into_iter().collect(), done));
        Ok(wait.recv().map_err(|_| Problem::new("files are not watched any more"))?)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A thread that is gone needs no telling.
        let _ = self.line.send(Word::Stop);
    }
}

/// Passes on what the system noticed, unless it is that somebody read a file.
fn tell(line: &Sender<Word>, noticed: notify::Result<notify::Event>) {
    if !noticed.as_ref().is_ok_and(is_reading) {
        // A thread that is gone watches nothing.
        let _ = line.send(Word::Noticed(noticed));
    }
}

/// Whether an event leaves the file as it was. One that was open for writing may have been written through a map of it.
fn is_reading(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind, MetadataKind, ModifyKind};
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(MetadataKind::AccessTime)) => true,
        _ => false,
    }
}

/// The watching thread.
struct Lookout<M> {
    told: Sender<M>,
    eyes: Eyes,
    files: BTreeMap<PathBuf, Watched>,
    pending: Pending,
    next_look: Instant,
}

/// How edits are noticed.
enum Eyes {
    /// The system tells of what happens in folders.
    Folders(Folders),
    /// Every file is looked at, this often.
    Polling(Duration),
}

/// A file as it was when it was looked at last.
struct Watched {
    absolute: PathBuf,
    stamp: Option<Stamp>,
    /// Whether it existed when it was told last.
    was_there: bool,
}

impl<M: From<Sighting>> Lookout<M> {
    fn new(debounce: Duration, told: Sender<M>) -> Self {
        let (files, pending) = (BTreeMap::new(), Pending::new(debounce));
        Self { told, eyes: Eyes::Polling(LOOK_AT_FILES), files, pending, next_look: Instant::now() }
    }

    fn listen(mut self, words: &Receiver<Word>) {
        loop {
            let now = Instant::now();
            let until = self.pending.due().map_or(self.next_look, |due| due.min(self.next_look));
            match words.recv_timeout(until.saturating_duration_since(now)) {
                Ok(Word::Files(files, done)) => {
                    self.set_files(files);
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                }
                Ok(Word::Noticed(noticed)) => self.notice(noticed),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look(Instant::now());
        }
    }

    fn set_files(&mut self, files: Vec<PathBuf>) {
        let wanted: BTreeSet<PathBuf> = files.into_iter().collect();
        self.files.retain(|file, _| wanted.contains(file));
        self.pending.retain(|file| wanted.contains(file));
        if let Eyes::Folders(folders) = &mut self.eyes {
            folders.retain(|file| wanted.contains(file));
        }
        let new: BTreeSet<_> = wanted.into_iter().filter(|file| !self.files.contains_key(file)).collect();
        for file in &new {
            let absolute = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            self.files.insert(file.clone(), Watched { absolute, stamp: None, was_there: false });
        }
        self.follow(&new);
        for file in &new {
            self.glance(file);
        }
    }

    /// Watches the folders that decide what these files are now.
    fn follow(&mut self, files: &BTreeSet<PathBuf>) {
        let Eyes::Folders(folders) = &mut self.eyes else { return };
        let known = files.iter().filter_map(|file| Some((file.as_path(), self.files.get(file)?)));
        let paths: Vec<_> = known.map(|(file, watched)| (file, watched.absolute.as_path())).collect();
        if let Err(error) = folders.follow(&paths) {
            self.look_at_files(&error);
        }
    }

    /// Looks at a file; tells whether it is there now or was when it was told last.
    fn glance(&mut self, file: &Path) -> bool {
        let Some(watched) = self.files.get_mut(file) else { return false };
        watched.stamp = Stamp::of(&watched.absolute);
        let is_there = watched.stamp.is_some();
        std::mem::replace(&mut watched.was_there, is_there) || is_there
    }

    /// Takes in what the system noticed.
    fn notice(&mut self, noticed: notify::Result<notify::Event>) {
        let Eyes::Folders(folders) = &mut self.eyes else { return };
        let now = Instant::now();
        match noticed {
            // The system has lost count of what happened.
            Ok(event) if event.need_rescan() => self.pending.touch(self.files.keys(), now),
            Ok(event) => self.pending.touch(&folders.files_of(&event), now),
            Err(error) => self.look_at_files(&error),
        }
    }

    /// Does what is due: looks at everything from time to time, and tells of edits that have ended.
    fn look(&mut self, now: Instant) {
        if now >= self.next_look {
            match &mut self.eyes {
                Eyes::Folders(folders) => {
                    self.pending.touch(&folders.files_in_other_folders(), now);
                    self.next_look = now + LOOK_AT_FOLDERS;
                    self.look_at_each(now, Path::is_dir);
                }
                Eyes::Polling(every) => {
                    self.next_look = now + *every;
                    self.look_at_each(now, |_| true);
                }
            }
        }
        let settled = self.pending.take(now);
        if !settled.is_empty() {
            self.report(settled);
        }
    }

    /// Looks at those that are meant, and takes in which changed.
    fn look_at_each(&mut self, now: Instant, is_meant: impl Fn(&Path) -> bool) {
        for (file, watched) in self.files.iter_mut().filter(|(_, watched)| is_meant(&watched.absolute)) {
            let stamp = Stamp::of(&watched.absolute);
            if stamp != watched.stamp {
                watched.stamp = stamp;
                self.pending.touch([file], now);
            }
        }
    }

    /// Tells of files, whose folders are followed first: a later edit is noticed again. What was not there and is not
    /// there has not changed, whatever became of the folders above it.
    fn report(&mut self, mut settled: BTreeSet<PathBuf>) {
        self.follow(&settled);
        settled.retain(|file| self.glance(file));
        if !settled.is_empty() {
            self.say(Sighting::Edited(settled));
        }
    }

    /// Goes on without the system's help.
    fn look_at_files(&mut self, error: &notify::Error) {
        self.eyes = Eyes::Polling(LOOK_AT_FILES);
        self.next_look = Instant::now();
        let message = format!("the system cannot watch folders: {error}; files are looked at every second");
        let problem = Problem::new(message);
        self.say(Sighting::Worse(match &error.kind {
            notify::ErrorKind::MaxFilesWatch => problem.hint("raise fs.inotify.max_user_watches"),
            notify::ErrorKind::Io(cause) if cause.raw_os_error() == Some(TOO_MANY_OPEN_FILES) => {
                problem.hint("raise fs.inotify.max_user_instances, or the limit of open files")
            }
            _ => problem,
        }));
    }

    fn say(&self, sighting: Sighting) {
        // A receiver that is gone has seen enough.
        let _ = self.told.send(sighting.into());
    }
}
