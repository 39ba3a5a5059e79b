//! How far a node has come, and how long it will take.

/// What a node counts at most at the same time; steps, and those of a preview within one.
const MOST_TRACKS: usize = 6;

/// Everything that a node counts.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    tracks: Vec<Track>,
    /// The one that was told last.
    last: usize,
}

/// One thing that is counted.
#[derive(Debug, Clone)]
pub struct Track {
    /// What is counted, in the singular.
    pub unit: String,
    /// How many are done.
    pub done: u64,
    /// How many there are.
    pub total: u64,
    /// How many were done when it was first told, and when that was: what a resumed training had done before counts
    /// for nothing.
    first: (u64, f64),
    /// When it was last told.
    at: f64,
}

impl Progress {
    /// Takes in what was told at a time.
    pub fn note(&mut self, done: u64, total: u64, unit: &str, at: f64) {
        if let Some(index) = self.tracks.iter().position(|track| track.unit == unit) {
            self.tracks[index].note(done, total, at);
            self.last = index;
            return;
        }
        if self.tracks.len() == MOST_TRACKS {
            self.tracks.pop();
        }
        self.tracks.push(Track { unit: unit.to_owned(), done, total, first: (done, at), at });
        self.last = self.tracks.len() - 1;
    }

    /// Takes in that the node is done: the last that it told may be from a moment before.
    pub fn finish(&mut self) {
        for track in &mut self.tracks {
            track.done = track.total;
        }
        let seconds = |index: &usize| self.tracks[*index].at - self.tracks[*index].first.1;
        let longest = (0..self.tracks.len()).max_by(|a, b| seconds(a).total_cmp(&seconds(b)));
        self.last = longest.unwrap_or(0);
    }

    /// What the node is about: of all that is not at its end, what has gone on for longest. A preview is within a
    /// training, and something that was begun and never told of again does not count.
    pub fn main(&self) -> Option<&Track> {
        let under_way = self.tracks.iter().filter(|track| track.done < track.total);
        let seconds = |track: &&Track| track.at - track.first.1;
        let longest = under_way.max_by(|a, b| seconds(a).total_cmp(&seconds(b)).then(a.at.total_cmp(&b.at)));
        longest.or(self.tracks.get(self.last))
    }

    /// What it is doing at the moment within that.
    pub fn inner(&self) -> Option<&Track> {
        let last = self.tracks.get(self.last).filter(|track| track.done < track.total)?;
        self.main().filter(|main| main.unit != last.unit).map(|_| last)
    }

    /// Everything that is counted.
    #[cfg(test)]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }
}

impl Track {
    fn note(&mut self, done: u64, total: u64, at: f64) {
        if done < self.done || self.done == self.total {
            self.first = (done, at);
        }
        (self.done, self.total, self.at) = (done, total, at);
    }

    /// The share that is done, from 0 to 1.
    pub fn ratio(&self) -> f64 {
        match self.total {
            0 => 0.0,
            total => (self.done as f64 / total as f64).clamp(0.0, 1.0),
        }
    }

    /// How many are done in a second, once that can be told.
    pub fn pace(&self) -> Option<f64> {
        let (done, seconds) = (self.done.saturating_sub(self.first.0), self.at - self.first.1);
        (done > 0 && seconds > 0.0).then(|| done as f64 / seconds)
    }

    /// How many seconds are left at a time, once that can be told.
    pub fn left(&self, now: f64) -> Option<f64> {
        let rest = self.total.saturating_sub(self.done);
        let since = (now - self.at).max(0.0);
        self.pace().filter(|_| rest > 0).map(|pace| (rest as f64 / pace - since).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_before_a_resume_do_not_count_for_the_time_that_is_left() {
        let mut progress = Progress::default();
        progress.note(900, 1000, "step", 10.0);
        progress.note(910, 1000, "step", 20.0);
        let track = progress.main().unwrap();
        assert_eq!(track.pace(), Some(1.0));
        assert_eq!(track.left(20.0), Some(90.0));
        assert_eq!(track.left(25.0), Some(85.0));
    }

    #[test]
    fn a_preview_within_a_training_is_told_beside_its_steps() {
        let mut progress = Progress::default();
        progress.note(5, 5, "picture", 0.0);
        progress.note(0, 1, "layer", 0.5);
        progress.note(20, 100, "step", 1.0);
        progress.note(21, 100, "step", 1.5);
        progress.note(3, 30, "step of a preview", 2.0);
        assert_eq!(progress.main().unwrap().unit, "step");
        assert_eq!(progress.inner().unwrap().unit, "step of a preview");
        progress.note(30, 30, "step of a preview", 3.0);
        assert!(progress.inner().is_none());
    }
}
