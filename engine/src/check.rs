//! Everything that can be found wrong before the first node runs and any weight is read.
//!
//! [`Graph::new`] settles names and wires. Here the nodes look at their own parameters and at the
//! headers of their files; [instant](crate::Nature::Instant) nodes run, so that the nodes behind
//! them are checked against real values.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::context::{Check, Cx, Outputs, Purpose, Session, Stop};
use crate::control::Reins;
use crate::plan::{Bases, Before, Plan, State, Wanted};
use crate::{
    Control, Diagnostic, Estimate, Events, Graph, GraphNode, Nature, NotYet, Output, Result, Severity, Source,
};

impl<'r> Graph<'r> {
    /// The graph of a source, if nothing is wrong with it that can be known before it runs.
    ///
    /// # Errors
    ///
    /// Every mistake of the source, of its wires, and of each node that could be read.
    pub fn checked(source: Source<'r>, session: &Session) -> Result<Self, Vec<Diagnostic>> {
        Ready::checked(source, session).map(|ready| ready.graph)
    }
}

/// A graph in which nothing is wrong that can be known before it runs.
pub struct Ready<'r> {
    /// The graph.
    pub graph: Graph<'r>,
    /// What is to be run of it.
    pub wanted: Wanted,
    /// What its keys are made from, as far as that is known without reading large files.
    pub(crate) bases: Bases,
    /// What nodes say that they will take.
    pub(crate) estimates: HashMap<String, Estimate>,
    /// The glance at the store that checking began with, if there is nothing to add to it: the first plan takes it.
    settled: Mutex<Option<Plan>>,
}

impl<'r> Ready<'r> {
    /// The graph of a source, all of it checked.
    ///
    /// # Errors
    ///
    /// Every mistake of the source, of its wires, and of each node that could be read.
    pub fn checked(source: Source<'r>, session: &Session) -> Result<Self, Vec<Diagnostic>> {
        let (graph, diagnostics) = Graph::build(source, &session.registry);
        Self::looked_at(graph, session, Wanted::default(), Bases::default(), |_| true, diagnostics)
    }

    /// The graph of a source, as far as it is wanted. Nodes whose result is there were checked when it was made.
    ///
    /// # Errors
    ///
    /// Every mistake of the source, of its wires, and of each node that could be read; wanted
    /// nodes that do not exist.
    pub fn new(source: Source<'r>, session: &Session, wanted: Wanted) -> Result<Self, Vec<Diagnostic>> {
        let (graph, mut diagnostics) = Graph::build(source, &session.registry);
        diagnostics.extend(wanted.mistakes(&graph));
        if !diagnostics.is_empty() {
            let everything = |_: &GraphNode<'_>| true;
            return Self::looked_at(graph, session, wanted, Bases::default(), everything, diagnostics);
        }
        let bases = Bases::quick(&graph, session);
        let glance = Plan::new(&graph, session, &wanted, &bases, &Before::nothing());
        let to_run: HashSet<String> = glance
            .nodes
            .iter()
            .filter(|node| node.state != State::Hit)
            .map(|node| node.node.clone())
            .collect();
        let is_asked = |node: &GraphNode<'_>| to_run.contains(node.name());
        let ready = Self::looked_at(graph, session, wanted, bases, is_asked, diagnostics)?;
        let settled = Mutex::new(Some(glance).filter(Plan::is_settled));
        Ok(Self { settled, ..ready })
    }

    /// A graph that nobody checked: its nodes find their mistakes when they run.
    pub fn unchecked(graph: Graph<'r>, wanted: Wanted) -> Self {
        Self { graph, wanted, bases: Bases::default(), estimates: HashMap::new(), settled: Mutex::default() }
    }

    /// What would run, and why. Large files that are not known yet are read for it.
    pub fn plan(&self, session: &Session, before: &Before<'_>, events: &Events, stop: &Stop) -> Plan {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut plan = settled.unwrap_or_else(|| {
            let bases = self.bases.completed(&self.graph, session, events, stop);
            Plan::new(&self.graph, session, &self.wanted, &bases, before)
        });
        plan.expect(&self.estimates, session, before);
        plan
    }

    /// What would run if this were wanted of the graph, with the files of its nodes as they are now.
    pub(crate) fn plan_for(
        &self,
        wanted: &Wanted,
        session: &Session,
        before: &Before<'_>,
        events: &Events,
        stop: &Stop,
    ) -> Plan {
        let bases = Bases::default().completed(&self.graph, session, events, stop);
        let mut plan = Plan::new(&self.graph, session, wanted, &bases, before);
        plan.expect(&self.estimates, session, before);
        plan
    }

    /// Lets some nodes look at themselves.
    fn looked_at(
        mut graph: Graph<'r>,
        session: &Session,
        wanted: Wanted,
        bases: Bases,
        is_asked: impl Fn(&GraphNode<'_>) -> bool,
        mut diagnostics: Vec<Diagnostic>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let estimates = check_nodes(&graph, session, is_asked, &mut diagnostics);
        check_targets(&graph, session, &mut diagnostics);
        let diagnostics = graph.in_file_order(diagnostics);
        if diagnostics.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(diagnostics);
        }
        graph.notes = diagnostics;
        Ok(Self { graph, wanted, bases, estimates, settled: Mutex::default() })
    }
}

/// Lets the nodes that are asked look at themselves, in an order that respects the wires; gives
/// what they say that they will take. Instant nodes above them run, asked or not.
fn check_nodes(
    graph: &Graph<'_>,
    session: &Session,
    is_asked: impl Fn(&GraphNode<'_>) -> bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> HashMap<String, Estimate> {
    let is_looked_at = needed(graph, &is_asked);
    let mut outputs = Outputs::new();
    let mut estimates = HashMap::new();
    let wrong: HashSet<String> = diagnostics.iter().filter_map(|problem| problem.node.clone()).collect();
    for (node, _) in graph.nodes().zip(&is_looked_at).filter(|(_, is_looked_at)| **is_looked_at) {
        let before = diagnostics.len();
        let is_wrong = wrong.contains(node.name());
        let mut check = Check { session, inputs: &outputs, is_wrong, problems: Vec::new() };
        if is_asked(node) {
            node.source.node.check(&mut check);
        }
        for (field, problem) in std::mem::take(&mut check.problems) {
            let place = field.map_or(&node.source.place, |field| node.source.field_place(field));
            diagnostics.push(told(&problem).node(node.name()).at(place.clone()));
        }
        let has_inputs = node.inputs.values().all(|upstream| outputs.contains_key(upstream));
        let is_sound = diagnostics.len() == before;
        if is_sound && is_asked(node) {
            estimates.extend(node.source.node.estimate(&check).map(|taken| (node.name().to_owned(), taken)));
        }
        if node.source.node_type.nature == Nature::Instant && is_sound && has_inputs {
            match run_instantly(node, session, &outputs) {
                Ok(output) => drop(outputs.insert(node.name().to_owned(), output)),
                Err(error) => {
                    diagnostics.push(told(&error).node(node.name()).at(node.source.place.clone()));
                }
            }
        }
    }
    estimates
}

/// Per node in run order, whether it is asked, or gives an asked one something to check itself against.
fn needed(graph: &Graph<'_>, is_asked: &impl Fn(&GraphNode<'_>) -> bool) -> Vec<bool> {
    let nodes: Vec<_> = graph.nodes().collect();
    let mut is_needed: Vec<bool> = nodes.iter().map(|node| is_asked(node)).collect();
    for (at, readers) in graph.downstreams().iter().enumerate().rev() {
        let is_instant = nodes[at].source.node_type.nature == Nature::Instant;
        is_needed[at] |= is_instant && readers.iter().any(|&reader| is_needed[reader]);
    }
    is_needed
}

/// What a node reports; what it cannot know yet is no mistake.
fn told(error: &anyhow::Error) -> Diagnostic {
    let severity = if error.downcast_ref::<NotYet>().is_some() { Severity::Warning } else { Severity::Error };
    Diagnostic { severity, ..Diagnostic::from_error(error) }
}

fn run_instantly(node: &GraphNode<'_>, session: &Session, inputs: &Outputs) -> Result<Output> {
    let (events, stop, control) = (Events::silent(), Stop::default(), Control::default());
    let reins = Reins { stop: &stop, control: &control, node: node.name() };
    let cx = Cx {
        session,
        node: node.name(),
        inputs,
        events: &events,
        reins,
        purpose: Purpose::Check,
        warnings: Mutex::default(),
        held: Mutex::default(),
        before: Mutex::default(),
    };
    node.source.node.run(&cx)
}

/// Two nodes that write to one place would leave the picture of whoever came last.
fn check_targets(graph: &Graph<'_>, session: &Session, diagnostics: &mut Vec<Diagnostic>) {
    let mut writers: HashMap<PathBuf, &GraphNode<'_>> = HashMap::new();
    for node in graph.nodes() {
        let Some(target) = node.source.node.target(&session.project) else { continue };
        let target = plain(&target);
        match writers.get(&target) {
            Some(first) => diagnostics.push(
                Diagnostic::error(format!(
                    "`{}` and `{}` write to the same place",
                    first.name(),
                    node.name()
                ))
                .node(node.name())
                .at(node.source.field_place("path").clone())
                .label("the second")
                .related(first.source.field_place("path").clone(), "the first")
                .hint("give one of them another path"),
            ),
            None => drop(writers.insert(target, node)),
        }
    }
}

/// A path without `.` and `..`, by its text alone: it need not exist.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}
