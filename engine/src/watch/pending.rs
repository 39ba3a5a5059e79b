//! Edits that may go on: which files they touch, and when they have ended.
//!
//! It knows instants and names, and neither files nor threads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many times the debounce a file waits for others that are still written.
const PATIENCE: u32 = 10;

/// Edits that have not been told.
pub(super) struct Pending {
    debounce: Duration,
    edits: BTreeMap<PathBuf, Edit>,
}

#[derive(Clone, Copy)]
struct Edit {
    first: Instant,
    last: Instant,
}

impl Pending {
    pub(super) fn new(debounce: Duration) -> Self {
        Self { debounce, edits: BTreeMap::new() }
    }

    /// Something happened to these files.
    pub(super) fn touch<'a>(&mut self, files: impl IntoIterator<Item = &'a PathBuf>, now: Instant) {
        for file in files {
            match self.edits.get_mut(file) {
                Some(edit) => edit.last = now,
                None => {
                    self.edits.insert(file.clone(), Edit { first: now, last: now });
                }
            }
        }
    }

    /// Forgets the other files.
    pub(super) fn retain(&mut self, keep: impl Fn(&Path) -> bool) {
        self.edits.retain(|file, _| keep(file));
    }

    /// When there is something to tell: all is quiet, or one file has waited long enough for the others.
    pub(super) fn due(&self) -> Option<Instant> {
        let quiet = self.edits.values().map(|edit| edit.last).max()? + self.debounce;
        let patient = |edit: &Edit| self.settled(edit).max(edit.first + self.debounce * PATIENCE);
        self.edits.values().map(patient).min().map(|patient| patient.min(quiet))
    }

    /// The files that are to be told now.
    pub(super) fn take(&mut self, now: Instant) -> BTreeSet<PathBuf> {
        if self.due().is_none_or(|due| now < due) {
            return BTreeSet::new();
        }
        let (settled, going_on): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.edits).into_iter().partition(|(_, edit)| self.settled(edit) <= now);
        self.edits = going_on;
        settled.into_keys().collect()
    }

    fn settled(&self, edit: &Edit) -> Instant {
        edit.last + self.debounce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBOUNCE: Duration = Duration::from_millis(100);

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    fn paths<const N: usize>(names: [&str; N]) -> BTreeSet<PathBuf> {
        names.map(PathBuf::from).into()
    }

    #[test]
    fn edits_close_together_are_told_at_once_when_all_is_quiet() {
        let (start, mut pending) = (Instant::now(), Pending::new(DEBOUNCE));
        assert_eq!(pending.due(), None);
        pending.touch(&paths(["a"]), start);
        pending.touch(&paths(["b"]), after(start, 90));
        pending.touch(&paths(["a"]), after(start, 180));
        assert_eq!(pending.due(), Some(after(start, 280)));
        assert_eq!(pending.take(after(start, 279)), paths([]));
        assert_eq!(pending.take(after(start, 280)), paths(["a", "b"]));
        assert_eq!((pending.take(after(start, 999)), pending.due()), (paths([]), None));
    }

    #[test]
    fn a_file_that_is_written_all_the_time_does_not_keep_others_waiting_for_ever() {
        let (start, mut pending) = (Instant::now(), Pending::new(DEBOUNCE));
        pending.touch(&paths(["edited"]), start);
        let told = (0..200).map(|step| after(start, 10 * step)).find_map(|now| {
            pending.touch(&paths(["growing"]), now);
            let told = pending.take(now);
            (!told.is_empty()).then_some((told, now))
        });
        assert_eq!(told, Some((paths(["edited"]), after(start, 1000))));
        assert_eq!(pending.take(after(start, 1100)), paths(["growing"]));
    }
}
