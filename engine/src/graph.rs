//! The checked graph: a petgraph DAG whose wires all fit.
//!
//! Names, wire types and cycles are settled here, all mistakes at once, before anything is read
//! from disk. A graph does not know how it is run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use rayon::prelude::*;
use ron::ser::PrettyConfig;
use serde_json::Value as Json;

use crate::diagnostic::nearest;
use crate::schema::{OutOfRange, Wire, wires_and_mistakes};
use crate::source::{BrokenNode, Source, SourceNode, ron_options};
use crate::{Diagnostic, Digest, Document, NodeType, Place, Registry, Result};

/// A graph that can be planned and run.
pub struct Graph<'r> {
    /// The file it came from.
    pub document: Arc<Document>,
    /// What will only be known [when it runs](crate::NotYet), as warnings.
    pub notes: Vec<Diagnostic>,
    dag: DiGraph<GraphNode<'r>, ()>,
    order: Vec<NodeIndex>,
}

/// A node of a graph.
pub struct GraphNode<'r> {
    /// The node as it was written.
    pub source: SourceNode<'r>,
    /// Its parameters with defaults filled in; wires are null.
    pub parameters: Arc<Json>,
    /// Per input, the name of the upstream node.
    pub inputs: BTreeMap<String, String>,
}

impl GraphNode<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The names of the nodes it reads, each once, in the order of the alphabet.
    pub fn upstreams(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.inputs.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The inputs with a digest in the place of each upstream's name, if all have one.
    pub(crate) fn inputs_as(
        &self,
        digest_of: impl Fn(&str) -> Option<Digest>,
    ) -> Option<Vec<(&str, Digest)>> {
        self.inputs.iter().map(|(input, upstream)| Some((input.as_str(), digest_of(upstream)?))).collect()
    }
}

impl<'r> Graph<'r> {
    /// Checks that the nodes of a source fit together.
    ///
    /// # Errors
    ///
    /// Every mistake of the source and of its wires, in the order of the file.
    pub fn new(source: Source<'r>, registry: &Registry) -> Result<Self, Vec<Diagnostic>> {
        let (graph, diagnostics) = Self::build(source, registry);
        if diagnostics.is_empty() { Ok(graph) } else { Err(graph.in_file_order(diagnostics)) }
    }

    /// Whatever can be built of a source, and every mistake of it. With mistakes, nodes may be
    /// missing and wires lead nowhere: such a graph can be checked further, and not run.
    pub(crate) fn build(source: Source<'r>, registry: &Registry) -> (Self, Vec<Diagnostic>) {
        let Source { document, nodes, broken, mut diagnostics, files: _ } = source;
        let given = given_types(&nodes, &broken);
        let mut dag = DiGraph::with_capacity(nodes.len(), nodes.len());
        let mut index_of = HashMap::with_capacity(nodes.len());
        let mut wires_of = Vec::with_capacity(nodes.len());
        let prepared: Vec<_> = nodes.into_par_iter().map(|node| prepare(node, &given, registry)).collect();
        for (node, wires, problems) in prepared {
            diagnostics.extend(problems);
            index_of.insert(node.source.name.clone(), dag.add_node(node));
            wires_of.push(wires);
        }
        for (index, wires) in dag.node_indices().zip(&wires_of) {
            // One edge per pair of nodes; `update_edge` would look through all readers of a shared node each time.
            let upstreams: BTreeSet<_> = wires.iter().filter_map(|wire| index_of.get(&wire.from)).collect();
            for &upstream in upstreams {
                dag.add_edge(upstream, index, ());
            }
        }
        diagnostics.extend(cycles(&dag));
        let order = run_order(&dag);
        (Self { document, notes: Vec::new(), dag, order }, diagnostics)
    }

    /// Diagnostics in the order in which their places stand in the file, with the functions of a script that made the
    /// nodes that they are about.
    pub(crate) fn in_file_order(&self, mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let sources = self.dag.node_weights().map(|node| &node.source).filter(|node| !node.calls.is_empty());
        let calls: HashMap<&str, &Vec<String>> =
            sources.map(|node| (node.name.as_str(), &node.calls)).collect();
        for problem in &mut diagnostics {
            let made_by = problem.node.as_deref().and_then(|node| calls.get(node));
            problem.causes.extend(made_by.into_iter().copied().flatten().cloned());
        }
        diagnostics.sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
        diagnostics
    }

    /// The nodes in an order that respects the wires, and otherwise the order of the file.
    pub fn nodes(&self) -> impl Iterator<Item = &GraphNode<'r>> {
        self.order.iter().map(|&index| &self.dag[index])
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether the graph has no node.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Per node in the order of [`nodes`](Self::nodes), the positions of the nodes that read it.
    pub(crate) fn downstreams(&self) -> Vec<Vec<usize>> {
        let mut position = vec![0; self.order.len()];
        for (at, index) in self.order.iter().enumerate() {
            position[index.index()] = at;
        }
        let readers =
            |index: &NodeIndex| self.dag.neighbors(*index).map(|reader| position[reader.index()]).collect();
        self.order.iter().map(readers).collect()
    }

    /// The graph as RON, with defaults and overrides filled in: it reads back as the same graph.
    ///
    /// # Errors
    ///
    /// If a node holds something that RON cannot write.
    pub fn to_ron(&self) -> Result<String> {
        let style = PrettyConfig::new().struct_names(true).compact_structs(true).compact_arrays(true);
        let mut nodes = String::new();
        for node in self.dag.node_weights() {
            let name = ron::to_string(node.name())?;
            let body = ron_options().to_string_pretty(&node.source.node, style.clone())?;
            nodes.push_str(&format!("        {name}: {body},\n"));
        }
        Ok(format!("Graph(\n    nodes: {{\n{nodes}    }},\n)\n"))
    }
}

/// The type that each name gives; none where the kind of a broken node is not known.
fn given_types<'a>(
    nodes: &'a [SourceNode<'_>],
    broken: &'a [BrokenNode<'_>],
) -> HashMap<String, Option<&'static str>> {
    let type_of = |node_type: &NodeType| node_type.output;
    let whole = nodes.iter().map(|node| (node.name.clone(), Some(type_of(node.node_type))));
    whole.chain(broken.iter().map(|node| (node.name.clone(), node.node_type.map(type_of)))).collect()
}

/// Fills in a node's parameters, finds its wires, and tells which of them and which numbers are wrong.
fn prepare<'r>(
    source: SourceNode<'r>,
    given: &HashMap<String, Option<&'static str>>,
    registry: &Registry,
) -> (GraphNode<'r>, Vec<Wire>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut parameters = serde_json::to_value(&source.node).unwrap_or_else(|error| {
        diagnostics.push(Diagnostic::error(error.to_string()).node(&source.name).at(source.place.clone()));
        Json::Null
    });
    let (wires, mistakes) = wires_and_mistakes(&source.node_type.schema, &parameters);
    for found in wrong_numbers(&source, &parameters, mistakes) {
        diagnostics.push(wrong_number(&source, &found.pointer, &found.message));
    }
    for wire in &wires {
        if let Some(name) = parameters.pointer_mut(&wire.pointer) {
            *name = Json::Null;
        }
    }
    diagnostics.extend(wrong_wires(&source, &wires, given, registry));
    let inputs = wires.iter().map(|wire| (wire.label(), wire.from.clone())).collect();
    (GraphNode { source, parameters: Arc::new(parameters), inputs }, wires, diagnostics)
}

/// All numbers that a node's schema does not allow. Where it allows that there is none, a number
/// that is not finite looks like none in JSON, and the file tells them apart.
fn wrong_numbers(source: &SourceNode<'_>, parameters: &Json, mut found: Vec<OutOfRange>) -> Vec<OutOfRange> {
    let is_none = |field: &str, place: &Place| parameters[field].is_null() && place.text() != "None";
    for (field, _) in source.fields.iter().filter(|(field, place)| is_none(field, place)) {
        let pointer = format!("/{field}");
        if !found.iter().any(|found| found.pointer == pointer) {
            found.push(OutOfRange { pointer, message: "must be a finite number".to_owned() });
        }
    }
    found
}

fn wrong_number(source: &SourceNode<'_>, pointer: &str, message: &str) -> Diagnostic {
    let path = pointer[1..].replace('/', ".");
    let field = path.split('.').next().unwrap_or_default();
    Diagnostic::error(format!("`{path}` {message}")).node(&source.name).at(source.field_place(field).clone())
}

/// What is wrong with the wires of a node.
fn wrong_wires(
    reader: &SourceNode<'_>,
    wires: &[Wire],
    given: &HashMap<String, Option<&'static str>>,
    registry: &Registry,
) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for (index, wire) in wires.iter().enumerate() {
        // The same name may stand in a list several times; each has a place of its own.
        let is_twin = |other: &&Wire| other.field() == wire.field() && other.from == wire.from;
        let nth = wires[..index].iter().filter(is_twin).count();
        let place = reader.field_place(wire.field()).narrowed_to(&quoted(&wire.from), nth);
        let problem = wrong_wire(reader, wire, given, registry);
        problems.extend(problem.map(|problem| problem.node(&reader.name).at(place)));
    }
    problems
}

/// What is wrong with a wire, if anything.
fn wrong_wire(
    reader: &SourceNode<'_>,
    wire: &Wire,
    given: &HashMap<String, Option<&'static str>>,
    registry: &Registry,
) -> Option<Diagnostic> {
    let read_by = format!("read by node `{}`", reader.name);
    if wire.from == reader.name {
        let message = format!("`{}` of `{}` is a wire to itself", wire.label(), reader.name);
        return Some(Diagnostic::error(message));
    }
    let Some(type_name) = given.get(&wire.from) else {
        let near = nearest(&wire.from, given.keys().map(String::as_str));
        let hint = near.map(|name| format!("did you mean `{name}`?"));
        return Some(
            Diagnostic::error(format!("there is no node `{}`", wire.from)).label(read_by).maybe_hint(hint),
        );
    };
    let type_name = type_name.filter(|type_name| *type_name != wire.type_name)?;
    let message =
        format!("`{}` takes {}, but `{}` gives {type_name}", wire.label(), a(&wire.type_name), wire.from);
    let hint = givers(&wire.type_name, &reader.name, given, registry);
    Some(Diagnostic::error(message).label(read_by).hint(hint))
}

/// A name as a graph file writes it.
fn quoted(name: &str) -> String {
    ron::to_string(name).unwrap_or_else(|_| name.to_owned())
}

/// A type's name with its article; names of pictures are plural and take none.
fn a(type_name: &str) -> String {
    match type_name.chars().next() {
        _ if type_name.ends_with('s') => type_name.to_owned(),
        Some('A' | 'E' | 'I' | 'O' | 'U') => format!("an {type_name}"),
        _ => format!("a {type_name}"),
    }
}

/// Which other nodes of the graph give a type, or else which kinds do.
fn givers(
    type_name: &str,
    reader: &str,
    given: &HashMap<String, Option<&'static str>>,
    registry: &Registry,
) -> String {
    let others = given.iter().filter(|(name, given)| **given == Some(type_name) && *name != reader);
    let mut names: Vec<_> = others.map(|(name, _)| format!("`{name}`")).collect();
    names.sort();
    if names.is_empty() {
        let kinds = registry.kinds_giving(type_name);
        names = kinds.iter().map(|kind| format!("a node of kind `{kind}`")).collect();
    }
    match &names[..] {
        [] => format!("no kind of node gives {type_name}"),
        [only] => format!("{only} gives {type_name}"),
        [first @ .., last] => format!("{} and {last} give {type_name}", first.join(", ")),
    }
}

/// One mistake per cycle, with the way around it.
fn cycles(dag: &DiGraph<GraphNode<'_>, ()>) -> Vec<Diagnostic> {
    let loops = kosaraju_scc(dag).into_iter().filter(|component| component.len() > 1);
    loops.filter_map(|component| name_cycle(dag, &component)).collect()
}

/// Walks upstream inside a component until a node comes again: that is a cycle.
fn name_cycle(dag: &DiGraph<GraphNode<'_>, ()>, component: &[NodeIndex]) -> Option<Diagnostic> {
    let mut path = vec![*component.iter().min()?];
    let start = loop {
        let here = *path.last()?;
        let next = dag
            .neighbors_directed(here, Direction::Incoming)
            .filter(|next| component.contains(next))
            .min()?;
        match path.iter().position(|seen| *seen == next) {
            Some(start) => break start,
            None => path.push(next),
        }
    };
    let mut around = path.split_off(start);
    around.push(around[0]);
    let names: Vec<_> = around.iter().rev().map(|&index| format!("`{}`", dag[index].name())).collect();
    let reader = &dag[around[0]];
    let upstream = dag[around[1]].name();
    let input = reader.inputs.iter().find(|(_, from)| *from == upstream)?.0;
    let field = input.split(['[', '.']).next().unwrap_or_default();
    let place: Place = reader.source.field_place(field).narrowed_to(&quoted(upstream), 0);
    Some(
        Diagnostic::error(format!("these nodes wait for each other: {}", names.join(" -> ")))
            .node(reader.name())
            .at(place)
            .label("closes the circle")
            .hint("take one of these wires out"),
    )
}

/// An order that respects the wires: of the nodes that are ready, always the first of the file.
/// Nodes of a circle, which are never ready, come last.
fn run_order(dag: &DiGraph<GraphNode<'_>, ()>) -> Vec<NodeIndex> {
    let mut waiting: Vec<usize> =
        dag.node_indices().map(|index| dag.neighbors_directed(index, Direction::Incoming).count()).collect();
    let mut ready: BinaryHeap<_> =
        dag.node_indices().filter(|index| waiting[index.index()] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for reader in dag.neighbors(index) {
            waiting[reader.index()] -= 1;
            if waiting[reader.index()] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    order.extend(dag.node_indices().filter(|index| waiting[index.index()] > 0));
    order
}

#[cfg(test)]
mod tests;
