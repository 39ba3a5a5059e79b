//! Small nodes for the engine's own tests: numbers on wires.

mod steered;
mod workshop;

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use steered::{Count, Wait};
pub(crate) use steered::{Heard, steered};
pub(crate) use workshop::Workshop;

use crate::*;

/// A number on a wire.
pub(crate) struct Number(pub f64);

impl Value for Number {
    const TYPE: &'static str = "Number";
    fn digest(&self) -> Digest {
        Digest::of(&self.0.to_le_bytes())
    }
    fn to_files(&self) -> Result<Option<Vec<StoredFile<'_>>>> {
        Ok(Some(vec![StoredFile::new("number", self.0.to_le_bytes().to_vec())]))
    }
    fn from_files(files: Vec<StoredFile<'static>>) -> Result<Self> {
        let bytes = files.first().and_then(|file| file.bytes.as_ref().try_into().ok());
        Ok(Self(f64::from_le_bytes(bytes.ok_or_else(|| Problem::new("no number"))?)))
    }
}

/// A text on a wire.
pub(crate) struct Text;

impl Value for Text {
    const TYPE: &'static str = "Text";
    fn digest(&self) -> Digest {
        Digest::of(b"text")
    }
}

/// How a test node ends.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Ending {
    /// With its value.
    #[default]
    Well,
    /// With a problem.
    Failing,
    /// In a panic.
    Panicking,
    /// Never, unless it is cancelled.
    Waiting,
    /// With its value, which nobody knows before it runs.
    Later,
    /// With its value divided.
    Divided(Divided),
}

/// Nested parameters.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Divided {
    /// What to divide by.
    pub by: f64,
}

/// How numbers become one.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) enum How {
    /// Their sum.
    Sum,
    /// Their sum, each with a weight.
    Weighted(Weights),
}

/// Weights of a sum.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weights {
    /// One weight.
    pub factor: f64,
}

/// Give a number.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Give {
    /// The number.
    #[schemars(range(min = 0, max = 100))]
    pub value: f64,
    /// How the node ends.
    #[serde(default)]
    pub ending: Ending,
    /// A file to read.
    #[serde(default)]
    pub file: Option<String>,
}

impl Node for Give {
    const KIND: &'static str = "Give";
    const NATURE: Nature = Nature::Instant;
    type Output = Number;

    fn check(&self, cx: &mut Check<'_>) {
        if matches!(self.ending, Ending::Later) {
            cx.problem_with("value", NotYet::new("the number comes when it runs"));
        }
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        Ok(self.file.iter().map(|file| project.path(file)).collect())
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Number> {
        match self.ending {
            Ending::Well | Ending::Later => Ok(Number(self.value)),
            Ending::Divided(divided) => Ok(Number(self.value / divided.by)),
            Ending::Failing => Err(Problem::new("it was told to fail").hint("do not tell it so").into()),
            Ending::Panicking => panic!("it was told to panic"),
            Ending::Waiting => loop {
                cx.progress(0, 1, "wait")?;
                std::thread::yield_now();
            },
        }
    }
}

/// Give a number, as a node that is worth storing.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Number")]
pub(crate) struct Keep {
    /// The number.
    pub value: f64,
    /// A file to read, which may be missing.
    #[serde(default)]
    pub file: Option<String>,
}

impl Node for Keep {
    const KIND: &'static str = "Number";
    type Output = Number;

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        Ok(self.file.iter().map(|file| project.path(file)).collect())
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Number> {
        if self.value < 0.0 {
            cx.warn("it is negative", None);
        }
        Ok(Number(self.value))
    }
}

/// Give the sign of a number: another number, the same result.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sign {
    /// The number.
    pub number: In<Number>,
}

impl Node for Sign {
    const KIND: &'static str = "Sign";
    type Output = Number;

    fn run(&self, cx: &Cx<'_>) -> Result<Number> {
        Ok(Number(cx.input(&self.number)?.0.signum()))
    }
}

/// Read a file that changes meanwhile.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overtaken {
    /// The file.
    pub file: String,
}

impl Node for Overtaken {
    const KIND: &'static str = "Overtaken";
    type Output = Number;

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        Ok(vec![project.path(&self.file)])
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Number> {
        std::fs::write(cx.path(&self.file), "what somebody saved meanwhile")?;
        Ok(Number(1.0))
    }
}

/// Write a number into a file.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Write {
    /// The number.
    pub number: In<Number>,
    /// The file.
    pub path: String,
}

impl Node for Write {
    const KIND: &'static str = "Write";
    const NATURE: Nature = Nature::Effect;
    type Output = Number;

    fn run(&self, cx: &Cx<'_>) -> Result<Number> {
        let number = cx.input(&self.number)?.0;
        file::write_if_changed(&cx.path(&self.path), number.to_string().as_bytes())?;
        Ok(Number(number))
    }
}

/// Add numbers up.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Add {
    /// The numbers.
    pub numbers: Vec<In<Number>>,
    /// One more.
    #[serde(default)]
    pub more: Option<In<Number>>,
    /// How they become one.
    #[serde(default = "sum")]
    pub how: How,
    /// Whether it fails when it runs.
    #[serde(default)]
    pub fail: bool,
}

fn sum() -> How {
    How::Sum
}

impl Node for Add {
    const KIND: &'static str = "Add";
    const HOLDS_DEVICE: bool = true;
    type Output = Number;

    fn check(&self, cx: &mut Check<'_>) {
        let known: f64 = self.numbers.iter().filter_map(|wire| cx.input(wire)).map(|number| number.0).sum();
        if known > 1000.0 {
            cx.problem_with("numbers", Problem::new("that is too much"));
        }
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Number> {
        // Two nodes that hold the device at once would count to 2.
        let device = cx.shared::<std::sync::atomic::AtomicUsize>();
        assert_eq!(device.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
        let factor = if let How::Weighted(weights) = &self.how { weights.factor } else { 1.0 };
        let mut total = 0.0;
        for wire in self.numbers.iter().chain(&self.more) {
            total += factor * cx.input(wire)?.0;
        }
        device.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        if self.fail { Err(Problem::new("the sum is wrong").into()) } else { Ok(Number(total)) }
    }
}

/// Say something.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Say {
    /// The number to say.
    pub number: In<Number>,
}

impl Node for Say {
    const KIND: &'static str = "Say";
    type Output = Text;

    fn run(&self, cx: &Cx<'_>) -> Result<Text> {
        cx.input(&self.number).map(|_| Text)
    }
}

pub(crate) fn registry() -> Registry {
    numbered_registry(1)
}

/// The same kinds over other numerics.
pub(crate) fn numbered_registry(numerics: u32) -> Registry {
    let kinds = vec![
        NodeType::of::<Give>(),
        NodeType::of::<Keep>(),
        NodeType::of::<Sign>(),
        NodeType::of::<Wait>(),
        NodeType::of::<Count>(),
        NodeType::of::<Write>(),
        NodeType::of::<Overtaken>(),
        NodeType::of::<Add>(),
        NodeType::of::<Say>(),
    ];
    Registry::new(numerics, kinds)
}

pub(crate) fn session() -> Session {
    let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
    Session::new(registry(), settings, Project::current())
}

/// A graph of some nodes, or its mistakes.
pub(crate) fn graph<'r>(
    nodes: &str,
    overrides: &[&str],
    registry: &'r Registry,
) -> Result<Graph<'r>, Vec<Diagnostic>> {
    let overrides: Vec<Override> = overrides.iter().map(|set| set.parse().expect(set)).collect();
    let document = Document::new("test.ron", format!("Graph(nodes: {{\n{nodes}\n}})"));
    Graph::new(read_ron(document, &overrides, registry), registry)
}

/// Each mistake as `text at its place: message (hint)`.
pub(crate) fn mistakes(nodes: &str, overrides: &[&str]) -> Vec<String> {
    let registry = registry();
    let problems = graph(nodes, overrides, &registry).err().unwrap_or_default();
    problems.iter().map(told).collect()
}

/// A mistake as one line.
pub(crate) fn told(problem: &Diagnostic) -> String {
    let place = problem.place.as_ref().map(Place::text).unwrap_or_default();
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{place}: {}{hint}", problem.message)
}

/// Runs a graph; gives its outcome and its events.
pub(crate) fn run(nodes: &str, jobs: usize) -> (Outcome, Vec<Event>) {
    run_with_stop(nodes, jobs, Stop::default())
}

pub(crate) fn run_with_stop(nodes: &str, jobs: usize, stop: Stop) -> (Outcome, Vec<Event>) {
    run_in(&session(), nodes, Wanted::default(), options(jobs), stop)
}

pub(crate) fn options(jobs: usize) -> Options {
    Options { jobs, keep_going: false, keep_results: true }
}

/// Runs a graph in a session, as far as it is wanted.
pub(crate) fn run_in(
    session: &Session,
    nodes: &str,
    wanted: Wanted,
    options: Options,
    stop: Stop,
) -> (Outcome, Vec<Event>) {
    let ready = ready(session, nodes, wanted);
    let (events, receiver) = Events::channel();
    let outcome = Run { events, stop, options, ..Run::new(&ready, session) }.execute();
    (outcome, receiver.into_iter().map(|record| record.event).collect())
}

/// A graph of some nodes, which fit together.
pub(crate) fn ready<'s>(session: &'s Session, nodes: &str, wanted: Wanted) -> Ready<'s> {
    let graph = graph(nodes, &[], &session.registry);
    Ready::unchecked(graph.unwrap_or_else(|problems| panic!("{problems:?}")), wanted)
}

/// A graph of some nodes, checked like one that is about to run.
pub(crate) fn ready_to_run<'s>(session: &'s Session, nodes: &str) -> Ready<'s> {
    let document = Document::new("test.ron", format!("Graph(nodes: {{\n{nodes}\n}})"));
    let source = read_ron(document, &[], &session.registry);
    Ready::new(source, session, Wanted::default()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The number that a node gave.
pub(crate) fn number(outcome: &Outcome, name: &str) -> Option<f64> {
    let number: Arc<Number> = outcome.results.get(name)?.downcast()?;
    Some(number.0)
}
