//! Pictures that are ready, the ones painted last, within a bound.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ratatui::layout::Size;

use super::Shown;
use super::reading::Stamp;

/// So many pictures are kept at most.
const MOST: usize = 400;
/// So many cells have all of them together: in the terminal's own ways, a cell takes about a kilobyte.
const MOST_CELLS: u64 = 100_000;
/// Whether a file has changed is found out no more often than this.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Which picture, and how large.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The file.
    pub path: PathBuf,
    /// The area that it is to fit into.
    pub size: Size,
}

/// What is ready, and what is on its way.
#[derive(Default)]
pub struct Cache {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    /// Counts what is painted, to know what was painted last.
    clock: u64,
}

struct Entry {
    shown: Option<(Option<Stamp>, Shown)>,
    painted: u64,
    /// When somebody was sent to look at the file.
    looked: Option<Instant>,
    /// Whether somebody is on the way.
    is_awaited: bool,
}

impl Cache {
    /// Does something with a picture if it is ready. Whether it was.
    pub fn with(&self, key: &Key, act: impl FnOnce(&Shown)) -> bool {
        let mut kept = self.lock();
        kept.clock += 1;
        let clock = kept.clock;
        let Some(entry) = kept.entries.get_mut(key) else { return false };
        entry.painted = clock;
        entry.shown.as_ref().is_some_and(|(_, shown)| {
            act(shown);
            true
        })
    }

    /// Whether somebody ought to look at the file now; that is then on its way.
    pub fn wants_a_look(&self, key: &Key) -> bool {
        let mut kept = self.lock();
        let painted = kept.clock;
        let new = || Entry { shown: None, painted, looked: None, is_awaited: false };
        let entry = kept.entries.entry(key.clone()).or_insert_with(new);
        if entry.is_awaited || entry.looked.is_some_and(|looked| looked.elapsed() < BETWEEN_LOOKS) {
            return false;
        }
        entry.is_awaited = true;
        true
    }

    /// The stamp of the file as it was when it was read, if it was.
    pub fn stamp(&self, key: &Key) -> Option<Option<Stamp>> {
        self.lock().entries.get(key)?.shown.as_ref().map(|(stamp, _)| *stamp)
    }

    /// Somebody has looked, and has something to show if the file is another than before.
    pub fn looked(&self, key: &Key, new: Option<(Option<Stamp>, Shown)>) {
        let mut kept = self.lock();
        // It was forgotten meanwhile.
        let Some(entry) = kept.entries.get_mut(key) else { return };
        (entry.looked, entry.is_awaited) = (Some(Instant::now()), false);
        if new.is_some() {
            entry.shown = new;
        }
        kept.make_room();
    }

    /// Nobody will look: there is too much else to look at.
    pub fn give_up(&self, key: &Key) {
        let mut kept = self.lock();
        if let Some(entry) = kept.entries.get_mut(key) {
            entry.is_awaited = false;
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().entries.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }
}

impl Kept {
    /// Lets those go that were not painted for the longest time.
    fn make_room(&mut self) {
        let cells = |key: &Key| u64::from(key.size.width) * u64::from(key.size.height);
        let mut total: u64 = self.entries.keys().map(cells).sum();
        while self.entries.len() > 1 && (self.entries.len() > MOST || total > MOST_CELLS) {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.painted);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            total -= cells(&oldest);
            self.entries.remove(&oldest);
        }
    }
}
