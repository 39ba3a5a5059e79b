//! Everything that is known about a run while it runs: one enum, one stream.
//!
//! The plain printer, the NDJSON stream and the dashboard are readers of it. Nothing in the
//! engine or in a node prints.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::plan::PlannedNode;
use crate::{DiagnosticReport, Digest, Result};

/// The version of [`Event`]'s written form; raised when a reader of old streams would misread.
pub const SCHEMA: u32 = 1;

/// One line of a run's story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of the written form, [`SCHEMA`].
    pub schema: u32,
    /// Number of the record in its run, from 0, without gaps.
    pub seq: u64,
    /// Seconds since the run started.
    pub t: f64,
    /// What happened; its name is the field `type`.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The graph was read and checked, and its nodes are about to run.
    RunStarted {
        /// The graph file as it was given.
        graph: String,
        /// The same as an absolute path.
        #[serde(default)]
        file: String,
        /// Number of nodes.
        nodes: usize,
        /// Device of the run.
        device: String,
        /// Precision of the run.
        dtype: String,
        /// How many nodes may run at the same time.
        jobs: usize,
        /// Seconds since 1970 at `t` = 0.
        time: f64,
    },
    /// What will run, in an order that respects the wires.
    Plan {
        /// The nodes.
        nodes: Vec<PlannedNode>,
    },
    /// All inputs of the node are there; it waits for a place.
    NodeQueued {
        /// Name of the node.
        node: String,
    },
    /// The node's result was found under its content key.
    CacheHit {
        /// Name of the node.
        node: String,
        /// Content key.
        key: Digest,
        /// Digest of the result.
        digest: Digest,
    },
    /// The node's result was not found.
    CacheMiss {
        /// Name of the node.
        node: String,
        /// Content key.
        key: Digest,
        /// Which part of the key differs from the last run's, in words.
        why: String,
    },
    /// A large file was read to its end to learn its digest; it will be remembered.
    FileDigested {
        /// The file.
        path: String,
        /// Its size.
        bytes: u64,
        /// How long it took.
        seconds: f64,
    },
    /// Something was made that is kept in memory for other nodes: a network, an encoded prompt.
    Kept {
        /// The node that it was made for.
        node: String,
        /// What it is.
        what: String,
        /// The memory that it takes.
        bytes: u64,
        /// How long it took.
        seconds: f64,
    },
    /// Something that was kept in memory was let go, to make room for what this node needs.
    Evicted {
        /// The node that needs the room.
        node: String,
        /// What it is.
        what: String,
        /// The memory that it took.
        bytes: u64,
    },
    /// The node runs.
    NodeStarted {
        /// Name of the node.
        node: String,
        /// Its kind.
        kind: String,
        /// Content key, where all files of the node could be read.
        key: Option<Digest>,
    },
    /// The node has come this far.
    Progress {
        /// Name of the node.
        node: String,
        /// Steps done.
        done: u64,
        /// Steps in all.
        total: u64,
        /// What is counted, in the singular.
        unit: String,
    },
    /// A number that the node measured.
    Metric {
        /// Name of the node.
        node: String,
        /// Name of the number.
        name: String,
        /// The number.
        value: f64,
        /// The step it belongs to.
        step: Option<u64>,
        /// Its unit, empty for plain numbers.
        unit: String,
    },
    /// A picture to look at.
    Preview {
        /// Name of the node.
        node: String,
        /// The file that holds it.
        path: String,
        /// What it shows.
        label: String,
    },
    /// The node saved a state to go on from.
    Checkpoint {
        /// Name of the node.
        node: String,
        /// The file that holds it.
        path: String,
        /// The step it was saved after.
        step: u64,
    },
    /// Something a person should know; the run goes on.
    Warning {
        /// Name of the node, if it is about one.
        node: Option<String>,
        /// What it is.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The node failed.
    NodeFailed {
        /// Name of the node.
        node: String,
        /// What went wrong, and where the node stands.
        diagnostic: DiagnosticReport,
    },
    /// The node did not run.
    NodeSkipped {
        /// Name of the node.
        node: String,
        /// Why: the upstream that failed, or that the run was cancelled.
        because: String,
    },
    /// The node gave its result.
    NodeFinished {
        /// Name of the node.
        node: String,
        /// Digest of the result.
        digest: Digest,
        /// How long it ran.
        seconds: f64,
        /// The most memory that the process has held so far, where the system tells.
        peak_bytes: Option<u64>,
    },
    /// Every node is held at its next step.
    Paused,
    /// The nodes go on.
    Resumed,
    /// A saved edit took effect.
    GraphReloaded {
        /// Nodes that are new.
        added: Vec<String>,
        /// Nodes whose key changed.
        changed: Vec<String>,
        /// Nodes that are gone.
        removed: Vec<String>,
    },
    /// The graph, or a saved edit of it, has mistakes.
    GraphRejected {
        /// All of them.
        diagnostics: Vec<DiagnosticReport>,
    },
    /// Nothing more will happen.
    RunFinished {
        /// How it ended.
        status: Status,
        /// How long the run took.
        seconds: f64,
        /// Nodes that gave a result.
        finished: usize,
        /// Nodes that failed.
        failed: usize,
        /// Nodes that did not run.
        skipped: usize,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every node gave its result.
    Done,
    /// A node failed, and the others were to go on; or one was cancelled by hand, and others gave their result.
    Partial,
    /// A node failed.
    Failed,
    /// It was asked to stop.
    Cancelled,
}

/// Someone who watches a run.
pub trait Reader: Send {
    /// The next record.
    ///
    /// # Errors
    ///
    /// If it cannot go on reading; it is then given no more, and the run goes on without it.
    fn read(&mut self, record: &Record) -> Result<()>;

    /// Nothing has come for a moment, or nothing more will come: time to hand on what was held back.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    fn rest(&mut self) -> Result<()> {
        Ok(())
    }
}

/// After so long without a record, readers rest.
const MOMENT: Duration = Duration::from_millis(50);

/// Where a run tells its story; cheap to clone.
#[derive(Clone)]
pub struct Events {
    line: Option<Arc<Line>>,
}

struct Line {
    started: Instant,
    next: Mutex<(u64, Sender<Record>)>,
}

impl Events {
    /// Events that nobody reads.
    pub fn silent() -> Self {
        Self { line: None }
    }

    /// Events into a channel, in the order of their numbers.
    pub fn channel() -> (Self, Receiver<Record>) {
        let (sender, receiver) = channel();
        let line = Line { started: Instant::now(), next: Mutex::new((0, sender)) };
        (Self { line: Some(Arc::new(line)) }, receiver)
    }

    /// Events for some readers, who read on a thread of their own so that a slow one does not
    /// hold up the run. Join it after the last clone of the events is dropped: it gives what kept
    /// readers from going on.
    pub fn for_readers(mut readers: Vec<Box<dyn Reader>>) -> (Self, JoinHandle<Vec<anyhow::Error>>) {
        let (events, receiver) = Self::channel();
        let reading = thread::spawn(move || {
            let mut failures = Vec::new();
            let mut each = |act: &dyn Fn(&mut dyn Reader) -> Result<()>| {
                readers.retain_mut(|reader| act(&mut **reader).map_err(|error| failures.push(error)).is_ok());
            };
            while let Ok(record) = receiver.recv() {
                each(&|reader| reader.read(&record));
                while let Ok(record) = receiver.recv_timeout(MOMENT) {
                    each(&|reader| reader.read(&record));
                }
                each(&|reader| reader.rest());
            }
            failures
        });
        (events, reading)
    }

    /// Tells what happened.
    pub fn emit(&self, event: Event) {
        let Some(line) = &self.line else { return };
        let mut next = line.next.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let record = Record { schema: SCHEMA, seq: next.0, t: line.started.elapsed().as_secs_f64(), event };
        next.0 += 1;
        // A reader that is gone has read enough.
        let _ = next.1.send(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it is asked to do.
    struct Noting(Arc<Mutex<Vec<&'static str>>>);

    impl Reader for Noting {
        fn read(&mut self, record: &Record) -> Result<()> {
            self.0.lock().unwrap().push("read");
            if record.seq == 2 { Err(crate::Problem::new("full").into()) } else { Ok(()) }
        }

        fn rest(&mut self) -> Result<()> {
            self.0.lock().unwrap().push("rest");
            Ok(())
        }
    }

    #[test]
    fn readers_rest_when_nothing_comes_and_those_that_fail_are_asked_no_more() {
        let (notes, event) = (Arc::default(), Event::Paused);
        let (events, reading) = Events::for_readers(vec![Box::new(Noting(Arc::clone(&notes)))]);
        events.emit(event.clone());
        thread::sleep(8 * MOMENT);
        assert_eq!(*notes.lock().unwrap(), ["read", "rest"]);
        events.emit(event.clone());
        thread::sleep(8 * MOMENT);
        events.emit(event.clone());
        events.emit(event);
        drop(events);
        assert_eq!(reading.join().unwrap().len(), 1);
        assert_eq!(*notes.lock().unwrap(), ["read", "rest", "read", "rest", "read"]);
    }

    #[test]
    fn a_record_carries_schema_seq_t_and_type_and_reads_back() {
        let (events, receiver) = Events::channel();
        events.emit(Event::NodeQueued { node: "a".into() });
        events.emit(Event::RunFinished {
            status: Status::Done,
            seconds: 1.5,
            finished: 1,
            failed: 0,
            skipped: 0,
        });
        drop(events);
        let records: Vec<Record> = receiver.iter().collect();
        assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), [0, 1]);
        let json = serde_json::to_value(&records[1]).unwrap();
        assert_eq!(
            (&json["schema"], &json["type"], &json["status"]),
            (&1.into(), &"run_finished".into(), &"done".into())
        );
        assert!(json["t"].is_number());
        assert_eq!(serde_json::from_value::<Record>(json).unwrap(), records[1]);
    }
}
