//! Everything that can be found wrong before the first node runs and any weight is read.
//!
//! [`Graph::new`](crate::Graph::new) has settled names and wires. Here the nodes look at their
//! own parameters and at the headers of their files; [instant](crate::Nature::Instant) nodes run,
//! so that the nodes behind them are checked against real values.

use crate::context::{Check, Cx, Outputs, Session, Stop};
use crate::{Diagnostic, Events, Graph, GraphNode, Nature, NotYet, Output, Result, Severity};

/// Checks a graph's nodes, in an order that respects the wires, and gives what will be known only
/// when it [runs](NotYet), as warnings.
///
/// # Errors
///
/// Every mistake found.
pub fn check(graph: &Graph<'_>, session: &Session) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let mut outputs = Outputs::new();
    let mut diagnostics = Vec::new();
    for node in graph.nodes() {
        let before = diagnostics.len();
        let mut check = Check { session, inputs: &outputs, problems: Vec::new() };
        node.source.node.check(&mut check);
        for (field, problem) in check.problems {
            let place = field.map_or(&node.source.place, |field| node.source.field_place(field));
            diagnostics.push(told(&problem).node(node.name()).at(place.clone()));
        }
        let has_inputs = node.inputs.values().all(|upstream| outputs.contains_key(upstream));
        if node.source.node_type.nature == Nature::Instant && diagnostics.len() == before && has_inputs {
            match run_instantly(node, session, &outputs) {
                Ok(output) => drop(outputs.insert(node.name().to_owned(), output)),
                Err(error) => {
                    diagnostics.push(told(&error).node(node.name()).at(node.source.place.clone()));
                }
            }
        }
    }
    diagnostics.sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
    let is_mistake = |problem: &Diagnostic| problem.severity == Severity::Error;
    if diagnostics.iter().any(is_mistake) { Err(diagnostics) } else { Ok(diagnostics) }
}

fn told(error: &anyhow::Error) -> Diagnostic {
    let severity = if error.downcast_ref::<NotYet>().is_some() { Severity::Warning } else { Severity::Error };
    Diagnostic { severity, ..Diagnostic::from_error(error) }
}

fn run_instantly(node: &GraphNode<'_>, session: &Session, inputs: &Outputs) -> Result<Output> {
    let (events, stop) = (Events::silent(), Stop::default());
    let cx = Cx { session, node: node.name(), inputs, events: &events, stop: &stop, key: None, graph: None };
    node.source.node.run(&cx)
}
