//! Everything that can be found wrong before the first node runs and any weight is read.
//!
//! [`Graph::new`] settles names and wires. Here the nodes look at their own parameters and at the
//! headers of their files; [instant](crate::Nature::Instant) nodes run, so that the nodes behind
//! them are checked against real values.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use crate::context::{Check, Cx, Outputs, Purpose, Session, Stop};
use crate::graph::in_file_order;
use crate::{Diagnostic, Events, Graph, GraphNode, Nature, NotYet, Output, Result, Severity, Source};

impl<'r> Graph<'r> {
    /// The graph of a source, if nothing is wrong with it that can be known before it runs.
    ///
    /// # Errors
    ///
    /// Every mistake of the source, of its wires, and of each node that could be read.
    pub fn checked(source: Source<'r>, session: &Session) -> Result<Self, Vec<Diagnostic>> {
        let (mut graph, mut diagnostics) = Self::build(source, &session.registry);
        check_nodes(&graph, session, &mut diagnostics);
        check_targets(&graph, session, &mut diagnostics);
        let diagnostics = in_file_order(diagnostics);
        if diagnostics.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(diagnostics);
        }
        graph.notes = diagnostics;
        Ok(graph)
    }
}

/// Lets each node look at itself, in an order that respects the wires.
fn check_nodes(graph: &Graph<'_>, session: &Session, diagnostics: &mut Vec<Diagnostic>) {
    let mut outputs = Outputs::new();
    for node in graph.nodes() {
        let before = diagnostics.len();
        let mut check = Check { session, inputs: &outputs, problems: Vec::new() };
        node.source.node.check(&mut check);
        for (field, problem) in check.problems {
            let place = field.map_or(&node.source.place, |field| node.source.field_place(field));
            diagnostics.push(told(&problem).node(node.name()).at(place.clone()));
        }
        let has_inputs = node.inputs.values().all(|upstream| outputs.contains_key(upstream));
        let is_sound = diagnostics.len() == before && has_inputs;
        if node.source.node_type.nature == Nature::Instant && is_sound {
            match run_instantly(node, session, &outputs) {
                Ok(output) => drop(outputs.insert(node.name().to_owned(), output)),
                Err(error) => {
                    diagnostics.push(told(&error).node(node.name()).at(node.source.place.clone()));
                }
            }
        }
    }
}

/// What a node reports; what it cannot know yet is no mistake.
fn told(error: &anyhow::Error) -> Diagnostic {
    let severity = if error.downcast_ref::<NotYet>().is_some() { Severity::Warning } else { Severity::Error };
    Diagnostic { severity, ..Diagnostic::from_error(error) }
}

fn run_instantly(node: &GraphNode<'_>, session: &Session, inputs: &Outputs) -> Result<Output> {
    let (events, stop, purpose) = (Events::silent(), Stop::default(), Purpose::Check);
    let cx = Cx { session, node: node.name(), inputs, events: &events, stop: &stop, purpose };
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
