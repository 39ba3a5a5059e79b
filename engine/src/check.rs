//! Everything that can be found wrong before the first node runs and any weight is read.
//!
//! [`Graph::new`](crate::Graph::new) has settled names and wires. Here the nodes look at their
//! own parameters and at the headers of their files; [instant](crate::Nature::Instant) nodes run,
//! so that the nodes behind them are checked against real values.

use crate::context::{Check, Cx, Outputs, Session, Stop};
use crate::{Diagnostic, Events, Graph, GraphNode, Nature, Output, Result};

/// Checks a graph's nodes, in an order that respects the wires.
///
/// # Errors
///
/// Every mistake found.
pub fn check(graph: &Graph<'_>, session: &Session) -> Result<(), Vec<Diagnostic>> {
    let mut outputs = Outputs::new();
    let mut diagnostics = Vec::new();
    for node in graph.nodes() {
        let before = diagnostics.len();
        let mut check = Check { session, inputs: &outputs, problems: Vec::new() };
        node.source.node.check(&mut check);
        for (field, problem) in check.problems {
            let place = field.map_or(&node.source.place, |field| node.source.field_place(field));
            diagnostics.push(Diagnostic::from_error(&problem).node(node.name()).at(place.clone()));
        }
        let has_inputs = node.inputs.values().all(|upstream| outputs.contains_key(upstream));
        if node.source.node_type.nature == Nature::Instant && diagnostics.len() == before && has_inputs {
            match run_instantly(node, session, &outputs) {
                Ok(output) => drop(outputs.insert(node.name().to_owned(), output)),
                Err(error) => {
                    let problem = Diagnostic::from_error(&error).node(node.name());
                    diagnostics.push(problem.at(node.source.place.clone()));
                }
            }
        }
    }
    diagnostics.sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
    if diagnostics.is_empty() { Ok(()) } else { Err(diagnostics) }
}

fn run_instantly(node: &GraphNode<'_>, session: &Session, inputs: &Outputs) -> Result<Output> {
    let (events, stop) = (Events::silent(), Stop::default());
    let cx = Cx { session, node: node.name(), inputs, events: &events, stop: &stop, key: None, graph: None };
    node.source.node.run(&cx)
}
