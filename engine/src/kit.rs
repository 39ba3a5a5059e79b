//! Small nodes for the engine's own tests: numbers on wires.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::*;

/// A number on a wire.
pub(crate) struct Number(pub f64);

impl Value for Number {
    const TYPE: &'static str = "Number";
    fn digest(&self) -> Digest {
        Digest::of(&self.0.to_le_bytes())
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
    Registry::new(1, vec![NodeType::of::<Give>(), NodeType::of::<Add>(), NodeType::of::<Say>()])
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
    let session = session();
    let graph = graph(nodes, &[], &session.registry).unwrap_or_else(|problems| panic!("{problems:?}"));
    let (events, receiver) = Events::channel();
    let outcome = Run { graph: &graph, session: &session, events, stop, jobs }.execute();
    (outcome, receiver.into_iter().map(|record| record.event).collect())
}

/// The number that a node gave.
pub(crate) fn number(outcome: &Outcome, name: &str) -> Option<f64> {
    let number: Arc<Number> = outcome.results.get(name)?.downcast()?;
    Some(number.0)
}
