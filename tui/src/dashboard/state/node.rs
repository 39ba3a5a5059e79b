//! One node, as far as its run has come.

use std::path::PathBuf;
use std::sync::Arc;

use flow_engine::plan::Expected;
use flow_engine::{Digest, PlannedNode, Written};

use super::progress::Progress;
use super::series::Series;
use super::text::harmless;

/// More numbers than this are not kept of a node.
const MOST_SERIES: usize = 48;

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// It waits for others.
    #[default]
    Waiting,
    /// It waits for a place.
    Queued,
    /// It runs.
    Running,
    /// Its result was there.
    Stored,
    /// It gave its result.
    Done,
    /// It failed.
    Failed,
    /// It did not run.
    Skipped,
}

impl Phase {
    /// All of them, in the order of the header.
    pub const ALL: [Self; 7] =
        [Self::Running, Self::Queued, Self::Waiting, Self::Stored, Self::Done, Self::Failed, Self::Skipped];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waits",
            Self::Queued => "queued",
            Self::Running => "runs",
            Self::Stored => "stored",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Whether nothing more is to be expected.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Stored | Self::Done | Self::Failed | Self::Skipped)
    }
}

/// One node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name as the graph knows it.
    pub raw_name: Arc<str>,
    /// Its name as a screen may show it.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: String,
    /// Positions of the nodes that it reads.
    pub inputs: Vec<usize>,
    /// Positions of the nodes that read it.
    pub outputs: Vec<usize>,
    /// Why it runs or does not, as the plan says it or its key does.
    pub why: String,
    /// Recipe key, and content key once it is known.
    pub key: Option<Digest>,
    /// How long it was expected to take.
    pub expected: Option<Expected>,
    /// What it reads from disk.
    pub read_bytes: u64,
    /// The most memory that it was expected to hold.
    pub expected_bytes: Option<u64>,
    /// How it is written.
    pub written: Option<Written>,
    /// Where it stands.
    pub phase: Phase,
    /// When it started.
    pub started: Option<f64>,
    /// How long it ran.
    pub seconds: Option<f64>,
    /// The most memory that the process had held when it was done.
    pub peak_bytes: Option<u64>,
    /// Digest of its result.
    pub digest: Option<Digest>,
    /// How far it has come.
    pub progress: Progress,
    /// What it measured.
    pub series: Vec<Series>,
    /// Its last checkpoint: the step, and the file.
    pub checkpoint: Option<(u64, PathBuf)>,
    /// Until when it stands out because an edit changed it.
    pub flash_until: f64,
}

impl Node {
    /// A node that has not started. Its wires are yet to be joined.
    pub fn new(planned: PlannedNode) -> Self {
        Self {
            name: harmless(&planned.node).into(),
            raw_name: planned.node.into(),
            kind: harmless(&planned.kind).into_owned(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            why: harmless(&planned.why).into_owned(),
            key: planned.key,
            expected: planned.expected,
            read_bytes: planned.read_bytes,
            expected_bytes: planned.peak_bytes,
            written: planned.written,
            phase: Phase::Waiting,
            started: None,
            seconds: None,
            peak_bytes: None,
            digest: None,
            progress: Progress::default(),
            series: Vec::new(),
            checkpoint: None,
            flash_until: 0.0,
        }
    }

    /// Takes over how far it had come under the plan before.
    pub fn go_on_from(&mut self, before: Self) {
        let Self { phase, started, seconds, peak_bytes, digest, progress, series, checkpoint, .. } = before;
        if matches!(phase, Phase::Failed | Phase::Skipped) {
            return;
        }
        (self.phase, self.started, self.seconds) = (phase, started, seconds);
        (self.peak_bytes, self.digest, self.checkpoint) = (peak_bytes, digest, checkpoint);
        (self.progress, self.series) = (progress, series);
    }

    /// Takes in a number.
    pub fn measure(&mut self, name: &str, value: f64, step: Option<u64>, unit: &str) {
        if let Some(series) = self.series.iter_mut().find(|series| series.name == name) {
            series.push(step, value);
        } else if self.series.len() < MOST_SERIES {
            let mut series = Series::new(name, unit);
            series.push(step, value);
            self.series.push(series);
        }
    }

    /// A number by its name.
    pub fn series(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// Whether it has curves to show.
    pub fn trains(&self) -> bool {
        self.series("loss").is_some()
    }

    /// The share that is done, from 0 to 1, while it runs.
    pub fn ratio(&self) -> Option<f64> {
        let main = self.progress.main().filter(|_| self.phase == Phase::Running);
        main.map(super::progress::Track::ratio)
    }

    /// How long it has run by now, or ran.
    pub fn ran(&self, now: f64) -> Option<f64> {
        match self.phase {
            Phase::Running => self.started.map(|started| (now - started).max(0.0)),
            _ => self.seconds,
        }
    }
}
