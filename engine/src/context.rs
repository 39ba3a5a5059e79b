//! What a node may ask for while it is checked and while it runs.
//!
//! The only way from a node to the world around it: values on its wires, the run's settings,
//! progress and cancellation, and a slot for what outlives a node. No globals.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::control::Reins;
use crate::flight::Flights;
use crate::{
    Cancelled, Digest, Event, Events, FileDigests, Graph, In, Output, Problem, Project, Registry, Result,
    Settings, Store, Value, Wish,
};

/// Asks a run, or a part of it, to stop; cheap to clone.
#[derive(Clone, Default)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    whole: Option<Box<Stop>>,
}

impl Stop {
    /// Asks: every node stops at its next step.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether someone asked.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) || self.whole.as_ref().is_some_and(|whole| whole.asked())
    }

    /// Asks a part to stop: asking the whole asks the part as well.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { asked: Arc::default(), whole: Some(Box::new(self.clone())) }
    }
}

/// One slot per type, for what outlives a node: mapped checkpoints, folded weights.
#[derive(Default)]
pub struct Shared {
    slots: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Shared {
    /// The slot of a type, made empty when it is first asked for.
    pub fn slot<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut slots = self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let slot = slots.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        // The slot of a type holds that type, so the second arm is never taken.
        Arc::clone(slot).downcast().unwrap_or_else(|_| Arc::new(T::default()))
    }
}

/// What a process keeps from graph to graph: the kinds, the settings, the shared slots.
pub struct Session {
    /// Every kind that a graph can name.
    pub registry: Registry,
    /// Device and precision.
    pub settings: Settings,
    /// What paths are relative to.
    pub project: Project,
    /// What outlives a node.
    pub shared: Shared,
    /// Digests of the files that nodes read.
    pub files: FileDigests,
    /// The bytes that what outlives a node may take in memory.
    pub memory: u64,
    /// Results on disk; without, every node runs.
    pub store: Option<Store>,
    /// What runs now.
    pub(crate) flights: Flights,
    /// Held by the node that holds the device.
    pub(crate) device: Mutex<()>,
}

/// What a session keeps in memory if nobody says otherwise: SDXL in float32 with its text encoders and autoencoder.
const MEMORY: u64 = 16 << 30;

impl Session {
    /// A session with nothing kept yet.
    pub fn new(registry: Registry, settings: Settings, project: Project) -> Self {
        Self {
            registry,
            settings,
            project,
            shared: Shared::default(),
            files: FileDigests::default(),
            memory: MEMORY,
            store: None,
            flights: Flights::default(),
            device: Mutex::default(),
        }
    }

    /// The same with results in the project's store, where digests of files are remembered too.
    #[must_use]
    pub fn with_store(self) -> Self {
        let home = self.project.home();
        let files = FileDigests::remembered_in(home.join("digests"));
        Self { store: Some(Store::at(home.join("store"))), files, ..self }
    }

    /// The same, but no digest of a file that an earlier process took is trusted.
    #[must_use]
    pub fn paranoid(self) -> Self {
        Self { files: self.files.paranoid(), ..self }
    }
}

/// Results of nodes by name.
pub(crate) type Outputs = HashMap<String, Output>;

/// Why a node runs.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// To have its graph checked: nothing large is read.
    Check,
    /// To give its result under this content key, if its files could be read for one.
    Result {
        key: Option<Digest>,
        graph: &'a Graph<'a>,
        /// How long another node's result took.
        seconds: &'a (dyn Fn(&str) -> Option<f64> + Sync),
    },
}

/// What a running node sees of the world.
pub struct Cx<'a> {
    pub(crate) session: &'a Session,
    pub(crate) node: &'a str,
    pub(crate) inputs: &'a Outputs,
    pub(crate) events: &'a Events,
    pub(crate) reins: Reins<'a>,
    pub(crate) purpose: Purpose<'a>,
    /// What a person was told, to be told again when the result comes from the store.
    pub(crate) warnings: Mutex<Vec<(String, Option<String>)>>,
    /// How long the node was held.
    pub(crate) held: Mutex<Duration>,
    /// Seconds that earlier runs gave to what the node makes.
    pub(crate) before: Mutex<f64>,
}

impl Cx<'_> {
    /// The value on a wire.
    pub fn input<T: Value>(&self, wire: &In<T>) -> Result<Arc<T>> {
        let missing = || Problem::new(format!("`{}` gives no {}", wire.node(), T::TYPE)).into();
        self.inputs.get(wire.node()).and_then(Output::downcast).ok_or_else(missing)
    }

    /// The node's name in its graph.
    pub fn node(&self) -> &str {
        self.node
    }

    /// Device and precision of the run.
    pub fn settings(&self) -> Settings {
        self.session.settings
    }

    /// The slot of the process for a type.
    pub fn shared<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.session.shared.slot()
    }

    /// The bytes that what is kept in shared slots may take.
    pub fn memory(&self) -> u64 {
        self.session.memory
    }

    /// What paths are relative to.
    pub fn project(&self) -> &Project {
        &self.session.project
    }

    /// A path of the graph as the file system knows it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.session.project.path(path)
    }

    /// One digest of some files, by their bytes. While a graph is only checked, no file is read to
    /// its end, and this is a digest of names, sizes and times.
    pub fn digest_of_files(&self, files: &[PathBuf]) -> Result<Digest> {
        let digest_of = |file: &PathBuf| match self.purpose {
            Purpose::Result { .. } => self.session.files.of(file, self.events, self.reins.stop),
            Purpose::Check => FileDigests::glance(file),
        };
        let digests = files.iter().map(digest_of).collect::<Result<Vec<_>>>()?;
        Ok(Digest::of_parts(digests.iter().map(|digest| &digest.as_bytes()[..])))
    }

    /// Whether a graph is only checked: then nothing large is read, and nothing is told.
    pub fn checking(&self) -> bool {
        matches!(self.purpose, Purpose::Check)
    }

    /// The node's content key; none while a graph is only checked.
    pub fn key(&self) -> Option<Digest> {
        match self.purpose {
            Purpose::Result { key, .. } => key,
            Purpose::Check => None,
        }
    }

    /// How long it took to make what is on a wire, on the machine and in the run that made it; none where that is not
    /// known, and while a graph is only checked. It is part of no result: only a node that runs every time may tell it.
    pub fn seconds<T: Value>(&self, wire: &In<T>) -> Option<f64> {
        match self.purpose {
            Purpose::Result { seconds, .. } => seconds(wire.node()),
            Purpose::Check => None,
        }
    }

    /// The whole graph as RON, with defaults and overrides filled in; none while it is only checked.
    pub fn graph(&self) -> Result<Option<String>> {
        match self.purpose {
            Purpose::Result { graph, .. } => graph.to_ron().map(Some),
            Purpose::Check => Ok(None),
        }
    }

    /// Waits here while the run is paused, and stops here if the node or the run was asked to stop. Every long loop calls
    /// this or [`progress`](Self::progress) at each step.
    pub fn stop_if_asked(&self) -> Result<()> {
        let held = self.reins.hold();
        if !held.is_zero() {
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) += held;
        }
        if self.reins.is_stopped() { Err(Cancelled.into()) } else { Ok(()) }
    }

    /// Says that what is made here was begun in earlier runs, and how many seconds they gave to it: they are part of what
    /// the result costs.
    pub fn took_before(&self, seconds: f64) {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = seconds;
    }

    /// What [`took_before`](Self::took_before) was told.
    pub(crate) fn before(&self) -> f64 {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the node has been held by pauses: time in which it did nothing.
    pub fn held(&self) -> Duration {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a person has asked of this node since it last looked. A node that can do none of it never looks.
    pub fn wishes(&self) -> Vec<Wish> {
        self.reins.control.take_wishes(self.node)
    }

    /// Tells how far the node has come, waits here while the run is paused, and stops here if the node or the run was
    /// asked to stop.
    pub fn progress(&self, done: usize, total: usize, unit: &str) -> Result<()> {
        self.events.emit(Event::Progress {
            node: self.node.to_owned(),
            done: done as u64,
            total: total as u64,
            unit: unit.to_owned(),
        });
        self.stop_if_asked()
    }

    /// Tells of a number that was measured.
    pub fn metric(&self, name: &str, value: f64, step: Option<u64>, unit: &str) {
        self.events.emit(Event::Metric {
            node: self.node.to_owned(),
            name: name.to_owned(),
            value,
            step,
            unit: unit.to_owned(),
        });
    }

    /// Tells of a picture to look at.
    pub fn preview(&self, path: &std::path::Path, label: &str) {
        self.events.emit(Event::Preview {
            node: self.node.to_owned(),
            path: path.display().to_string(),
            label: label.to_owned(),
        });
    }

    /// Tells that a state to go on from was saved.
    pub fn checkpoint(&self, path: &std::path::Path, step: u64) {
        self.events.emit(Event::Checkpoint {
            node: self.node.to_owned(),
            path: path.display().to_string(),
            step,
        });
    }

    /// Tells that something was made and is kept in memory for other nodes.
    pub fn kept(&self, what: &str, bytes: u64, seconds: f64) {
        self.events.emit(Event::Kept { node: self.node.to_owned(), what: what.to_owned(), bytes, seconds });
    }

    /// Tells that something that was kept in memory was let go for this node's sake.
    pub fn evicted(&self, what: &str, bytes: u64) {
        self.events.emit(Event::Evicted { node: self.node.to_owned(), what: what.to_owned(), bytes });
    }

    /// Tells of something that a person should know.
    pub fn warn(&self, message: impl Into<String>, hint: Option<String>) {
        let message = message.into();
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.push((message.clone(), hint.clone()));
        self.events.emit(Event::Warning { node: Some(self.node.to_owned()), message, hint });
    }
}

/// What a node sees of the world while its graph is checked: nothing has run, except the
/// [instant](crate::Nature::Instant) nodes above it.
pub struct Check<'a> {
    pub(crate) session: &'a Session,
    pub(crate) inputs: &'a Outputs,
    /// Whether something is wrong with the node's own fields.
    pub(crate) is_wrong: bool,
    pub(crate) problems: Vec<(Option<&'static str>, anyhow::Error)>,
}

impl Check<'_> {
    /// Reports a problem with the node as a whole.
    pub fn problem(&mut self, problem: impl Into<anyhow::Error>) {
        self.problems.push((None, problem.into()));
    }

    /// Reports a problem with one of its fields.
    pub fn problem_with(&mut self, field: &'static str, problem: impl Into<anyhow::Error>) {
        self.problems.push((Some(field), problem.into()));
    }

    /// Whether every number is within its range and every wire leads somewhere; if not, that is told already, and what is
    /// made of them all need not be tried.
    pub fn is_in_range(&self) -> bool {
        !self.is_wrong
    }

    /// The slot of the process for a type.
    pub fn shared<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.session.shared.slot()
    }

    /// The value on a wire, if the upstream is instant and has no problem of its own.
    pub fn input<T: Value>(&self, wire: &In<T>) -> Option<Arc<T>> {
        self.inputs.get(wire.node()).and_then(Output::downcast)
    }

    /// Device and precision of the run.
    pub fn settings(&self) -> Settings {
        self.session.settings
    }

    /// What paths are relative to.
    pub fn project(&self) -> &Project {
        &self.session.project
    }

    /// A path of the graph as the file system knows it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.session.project.path(path)
    }
}
