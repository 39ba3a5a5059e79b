//! What would run and why: a graph's keys against the store, before anything starts.
//!
//! A plan knows keys, and never a value. What an upstream will give is known if its result is
//! stored; what depends on one that runs may still come out unchanged, and says so.

mod bases;
mod expect;
mod written;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

pub(crate) use bases::{Bases, files_now};
pub use expect::{Basis, Before, Expected, Made};
pub use written::Written;

use crate::diagnostic::nearest;
use crate::store::Found;
use crate::why::differences;
use crate::{Diagnostic, Digest, Estimate, Graph, GraphNode, KeyParts, Nature, Session};

/// What a run of a graph is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only these nodes, and what they need; all if there are none.
    pub targets: Vec<String>,
    /// These nodes and all that depends on them run, whatever is stored.
    pub from: Vec<String>,
    /// These nodes run, whatever is stored.
    pub force: Vec<String>,
}

impl Wanted {
    /// What is wrong with it: nodes that the graph does not have.
    pub(crate) fn mistakes(&self, graph: &Graph<'_>) -> Vec<Diagnostic> {
        let known: HashSet<&str> = graph.nodes().map(GraphNode::name).collect();
        let named = [("--target", &self.targets), ("--from", &self.from), ("--force", &self.force)];
        let all = named.into_iter().flat_map(|(option, names)| names.iter().map(move |name| (option, name)));
        let unknown = all.filter(|(_, name)| !known.contains(name.as_str())).map(|(option, name)| {
            let hint = nearest(name, known.iter().copied()).map(|name| format!("did you mean `{name}`?"));
            Diagnostic::error(format!("`{option}` names `{name}`, and there is no such node"))
                .maybe_hint(hint)
        });
        unknown.collect()
    }
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its result is stored.
    Hit,
    /// It runs.
    Run,
    /// It reads a node that runs, and runs itself unless that comes out as before.
    Depends,
    /// It is started in every run, and writes only where bytes differ.
    Volatile,
}

/// One node of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedNode {
    /// Name of the node.
    pub node: String,
    /// Its kind.
    pub kind: String,
    /// Names of the nodes it reads, each once.
    pub inputs: Vec<String>,
    /// Recipe key, where all files of the node and of its upstreams could be read.
    pub key: Option<Digest>,
    /// What happens to it.
    pub state: State,
    /// Why, in words.
    pub why: String,
    /// How long it will run, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// What it reads from disk.
    #[serde(default)]
    pub read_bytes: u64,
    /// The most memory that it will hold, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// How it is written in the graph; only a run's own story tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
}

/// What would run, in an order that respects the wires.
pub struct Plan {
    /// The nodes that are wanted.
    pub nodes: Vec<PlannedNode>,
    /// The same nodes, as the run needs them.
    pub(crate) steps: Vec<Step>,
}

/// What a run needs to know of a planned node.
pub(crate) struct Step {
    /// Its position in the order of [`Graph::nodes`].
    pub at: usize,
    /// What its keys are made from but for its inputs, and the digest of that; none if its files cannot be read.
    pub base: Option<(Arc<KeyParts>, Digest)>,
    /// Whether it runs though its result may be stored.
    pub is_forced: bool,
    /// Whether the run of the plan has its result by now.
    pub is_made: AtomicBool,
    /// Content key, if all its inputs are known.
    pub content: Option<Digest>,
    /// Per input, the upstream's name and the digest of its result, if that is stored.
    pub inputs: Vec<(String, String, Option<Digest>)>,
}

/// Everything that decides a node's result.
pub struct Explanation<'a> {
    /// What its keys are made from but for inputs.
    pub parts: &'a KeyParts,
    /// Per input: the input, the upstream's name, and the digest of its result, if that is stored.
    pub inputs: &'a [(String, String, Option<Digest>)],
    /// Content key, if all its inputs are known.
    pub content: Option<Digest>,
}

impl Step {
    /// The content key over some inputs.
    pub fn key_over(&self, inputs: &[(&str, Digest)]) -> Option<Digest> {
        self.base.as_ref().map(|(_, base)| KeyParts::key_over(*base, inputs))
    }

    /// All parts of the content key over some inputs.
    pub fn parts_over(&self, inputs: &[(&str, Digest)]) -> Option<KeyParts> {
        let (parts, _) = self.base.as_ref()?;
        let inputs = inputs.iter().map(|&(name, digest)| (name.to_owned(), digest)).collect();
        Some(KeyParts { inputs, ..KeyParts::clone(parts) })
    }
}

impl Plan {
    /// The plan of a graph against what is stored.
    pub(crate) fn new(
        graph: &Graph<'_>,
        session: &Session,
        wanted: &Wanted,
        bases: &Bases,
        before: &Before<'_>,
    ) -> Self {
        let mut planner = Planner { session, before, known: HashMap::with_capacity(graph.len()) };
        let is_wanted = wanted_nodes(graph, wanted);
        let is_forced = forced_nodes(graph, wanted);
        let mut plan =
            Self { nodes: Vec::with_capacity(graph.len()), steps: Vec::with_capacity(graph.len()) };
        for (at, node) in graph.nodes().enumerate().filter(|(at, _)| is_wanted[*at]) {
            let step = Step {
                at,
                base: bases.get(at),
                is_forced: is_forced[at],
                is_made: AtomicBool::new(false),
                content: None,
                inputs: Vec::new(),
            };
            let (planned, step) = planner.plan(node, step);
            plan.nodes.push(planned);
            plan.steps.push(step);
        }
        plan
    }

    /// Whether nothing can be told of it that is not known yet: every result is stored, and its digest known.
    pub(crate) fn is_settled(&self) -> bool {
        let is_settled = |state| matches!(state, State::Hit | State::Volatile);
        self.nodes.iter().all(|node| is_settled(node.state))
            && self.steps.iter().all(|step| step.base.is_some())
    }

    /// Adds what each node that runs will take.
    pub(crate) fn expect(
        &mut self,
        estimates: &HashMap<String, Estimate>,
        session: &Session,
        before: &Before<'_>,
    ) {
        expect::fill(self, estimates, session, before);
    }

    /// How many nodes are in a state.
    pub fn count(&self, state: State) -> usize {
        self.nodes.iter().filter(|node| node.state == state).count()
    }

    /// Everything that decides the result of a node, if its files can be read.
    pub fn explanation(&self, name: &str) -> Option<Explanation<'_>> {
        let at = self.nodes.iter().position(|node| node.node == name)?;
        let Step { base, inputs, content, .. } = &self.steps[at];
        Some(Explanation { parts: &base.as_ref()?.0, inputs, content: *content })
    }

    /// The nodes that were to run whatever is stored, and have no result yet.
    pub(crate) fn still_forced(&self) -> Vec<String> {
        let is_left = |step: &Step| step.is_forced && !step.is_made.load(Ordering::Relaxed);
        let left = self.nodes.iter().zip(&self.steps).filter(|(_, step)| is_left(step));
        left.map(|(node, _)| node.node.clone()).collect()
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&PlannedNode> {
        self.nodes.iter().find(|node| node.node == name)
    }
}

/// Walks down a graph and knows what is above.
struct Planner<'a> {
    session: &'a Session,
    before: &'a Before<'a>,
    /// Per node above: its recipe key, and the digest of its result if that is stored.
    known: HashMap<&'a str, Above>,
}

#[derive(Clone, Copy)]
struct Above {
    recipe: Option<Digest>,
    result: Option<Digest>,
}

impl<'a> Planner<'a> {
    fn plan(&mut self, node: &'a GraphNode<'_>, mut step: Step) -> (PlannedNode, Step) {
        let recipe =
            node.inputs_as(|name| self.known.get(name)?.recipe).and_then(|inputs| step.key_over(&inputs));
        let result = |name: &str| self.known.get(name).and_then(|above| above.result);
        let above = |(input, from): (&String, &String)| (input.clone(), from.clone(), result(from));
        step.inputs = node.inputs.iter().map(above).collect();
        let inputs = node.inputs_as(result);
        step.content = inputs.as_ref().and_then(|inputs| step.key_over(inputs));
        let found = step.content.and_then(|key| self.session.store.as_ref()?.find(&key));
        let (state, why) = self.state(node, &step, inputs, found);
        let is_known = matches!(state, State::Hit | State::Volatile);
        let result = found.filter(|_| is_known).map(|found| found.digest);
        self.known.insert(node.name(), Above { recipe, result });
        let planned = PlannedNode {
            node: node.name().to_owned(),
            kind: node.source.node_type.kind.to_owned(),
            inputs: node.upstreams().into_iter().map(ToOwned::to_owned).collect(),
            key: recipe,
            state,
            why,
            expected: None,
            read_bytes: 0,
            peak_bytes: None,
            written: None,
        };
        (planned, step)
    }

    fn state(
        &self,
        node: &GraphNode<'_>,
        step: &Step,
        inputs: Option<Vec<(&str, Digest)>>,
        found: Option<Found>,
    ) -> (State, String) {
        if node.source.node_type.nature == Nature::Effect {
            return (State::Volatile, "it writes, and only where bytes differ".to_owned());
        }
        if step.is_forced {
            return (State::Run, "it is told to".to_owned());
        }
        if step.base.is_none() {
            return (State::Run, "its files are not read yet".to_owned());
        }
        if self.session.store.is_none() {
            return (State::Run, "nothing is stored".to_owned());
        }
        let Some(inputs) = inputs else {
            let unknown = |name: &&str| self.known.get(name).is_none_or(|above| above.result.is_none());
            let above: Vec<_> =
                node.upstreams().into_iter().filter(unknown).map(|name| format!("`{name}`")).collect();
            let give = if above.len() == 1 { "gives" } else { "give" };
            return (State::Depends, format!("on what {} {give}", above.join(" and ")));
        };
        match found {
            Some(_) => (State::Hit, "its result is stored".to_owned()),
            None => (State::Run, why_missing(node, step.parts_over(&inputs), self.before)),
        }
    }
}

/// Why a node runs of which nothing is known.
pub const NEVER_RAN: &str = "it has not run before";

/// Why there is no result under a key.
pub(crate) fn why_missing(node: &GraphNode<'_>, parts: Option<KeyParts>, before: &Before<'_>) -> String {
    let Some(made) = before.of(node.name()) else { return NEVER_RAN.to_owned() };
    let from = |input: &str| node.inputs.get(input).cloned();
    let differences = parts.map(|parts| differences(&made.parts, &parts, &from)).unwrap_or_default();
    match differences.is_empty() {
        true => "its result is not stored any more".to_owned(),
        false => differences.join("; "),
    }
}

/// Per node in run order, whether it is a target or needed for one.
fn wanted_nodes(graph: &Graph<'_>, wanted: &Wanted) -> Vec<bool> {
    let is_target = |node: &GraphNode<'_>| {
        wanted.targets.is_empty() || wanted.targets.iter().any(|target| target == node.name())
    };
    let mut is_wanted: Vec<bool> = graph.nodes().map(is_target).collect();
    for (at, readers) in graph.downstreams().iter().enumerate().rev() {
        is_wanted[at] |= readers.iter().any(|&reader| is_wanted[reader]);
    }
    is_wanted
}

/// Per node in run order, whether it runs whatever is stored.
fn forced_nodes(graph: &Graph<'_>, wanted: &Wanted) -> Vec<bool> {
    let set = |list: &[String]| list.iter().cloned().collect::<HashSet<_>>();
    let (from, force) = (set(&wanted.from), set(&wanted.force));
    let mut is_after: Vec<bool> = graph.nodes().map(|node| from.contains(node.name())).collect();
    for (at, readers) in graph.downstreams().iter().enumerate() {
        if is_after[at] {
            readers.iter().for_each(|&reader| is_after[reader] = true);
        }
    }
    graph.nodes().zip(is_after).map(|(node, is_after)| is_after || force.contains(node.name())).collect()
}

#[cfg(test)]
mod tests;
