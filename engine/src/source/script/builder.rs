//! The nodes that a script has made so far: kinds, fields, names, and the calls that made them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{Dynamic, EvalAltResult, ImmutableString, NativeCallContext};

use super::error::{Documents, thrown};
use super::expanded::Expanded;
use crate::source::Override;
use crate::{Diagnostic, Place, Registry, Result};

/// More nodes than anybody runs.
const NODES: usize = 50_000;
/// More text than all their fields should have, in bytes.
const TEXT: usize = 64 << 20;

/// What a script holds of a node.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    /// Its position in the order of making.
    pub index: usize,
}

/// Where a node was made.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The call of its kind.
    pub call: Place,
    /// The functions that the call is in, the outermost first, each with the place that called it.
    pub functions: Vec<String>,
}

/// A node that a script made.
pub(super) struct MadeNode {
    pub kind: &'static str,
    pub name: Option<(String, Place)>,
    pub fields: Vec<(ImmutableString, Dynamic)>,
    pub origin: Origin,
}

/// Collects what a script makes.
#[derive(Clone, Default)]
pub(super) struct Builder {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    nodes: Vec<MadeNode>,
    /// The names that were given, with the positions of their nodes and where they were given.
    names: HashMap<String, (usize, Place)>,
    text: usize,
}

impl Builder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a node.
    pub fn make(
        &self,
        kind: &'static str,
        fields: Vec<(ImmutableString, Dynamic)>,
        origin: Origin,
    ) -> Result<Handle, Box<EvalAltResult>> {
        let mut inner = self.inner();
        inner.text += fields.iter().map(|(name, value)| name.len() + text_of(value)).sum::<usize>();
        if inner.nodes.len() >= NODES || inner.text > TEXT {
            let message = format!("a script makes at most {NODES} nodes with {} MiB of fields", TEXT >> 20);
            return Err(thrown(Diagnostic::error(message).at(origin.call)));
        }
        let index = inner.nodes.len();
        inner.nodes.push(MadeNode { kind, name: None, fields, origin });
        Ok(Handle { index })
    }

    /// Gives a node a name that no other has.
    pub fn name(&self, handle: &Handle, name: &str, place: Place) -> Result<(), Box<EvalAltResult>> {
        let mut inner = self.inner();
        if let Some((named, first)) = inner.names.get(name) {
            if *named == handle.index {
                return Ok(());
            }
            let problem = Diagnostic::error(format!("two nodes are named `{name}`")).at(place.clone());
            let is_again = *first == place;
            let problem = if is_again {
                problem.label("names one node after the other")
            } else {
                problem.label("the second").related(first.clone(), "the first")
            };
            let hint = if is_again {
                "put what differs into the name, as in `${scale}`"
            } else {
                "give one of them another name"
            };
            return Err(thrown(problem.hint(hint)));
        }
        let old = inner.nodes[handle.index].name.replace((name.to_owned(), place.clone()));
        if let Some((old, _)) = old {
            inner.names.remove(&old);
        }
        inner.names.insert(name.to_owned(), (handle.index, place));
        Ok(())
    }

    /// Everything that was made, as a graph file.
    pub fn expanded(&self, registry: &Registry, overrides: &[Override]) -> Result<Expanded, Vec<Diagnostic>> {
        let nodes = std::mem::take(&mut self.inner().nodes);
        let names = names(&nodes);
        Expanded::new(nodes, names, registry, overrides)
    }
}

/// The name of each node: the one that it was given, or else its kind with a number.
fn names(nodes: &[MadeNode]) -> Vec<String> {
    let given: HashSet<&str> =
        nodes.iter().filter_map(|node| node.name.as_ref()).map(|(name, _)| name.as_str()).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut next = |kind: &'static str| loop {
        let count = counts.entry(kind).or_default();
        *count += 1;
        let name = format!("{kind}_{count}");
        if !given.contains(name.as_str()) {
            return name;
        }
    };
    let name = |node: &MadeNode| node.name.as_ref().map(|(name, _)| name.clone());
    nodes.iter().map(|node| name(node).unwrap_or_else(|| next(node.kind))).collect()
}

/// About how many bytes a value takes when it is written.
fn text_of(value: &Dynamic) -> usize {
    /// A number, a name or a bracket.
    const SHORT: usize = 8;
    if let Ok(text) = value.as_immutable_string_ref() {
        return text.len();
    }
    if let Ok(items) = value.as_array_ref() {
        return items.iter().map(text_of).sum::<usize>() + SHORT;
    }
    if let Ok(fields) = value.as_map_ref() {
        return fields.iter().map(|(name, value)| name.len() + text_of(value)).sum::<usize>() + SHORT;
    }
    SHORT
}

impl Origin {
    /// Where a function of ours was called.
    pub fn of(context: &NativeCallContext<'_>, documents: &Documents) -> Self {
        let call = documents.called(context);
        let frames = context.debugger().map(rhai::debugger::Debugger::call_stack).unwrap_or_default();
        // The last frame is the call itself.
        let callers = &frames[..frames.len().saturating_sub(1)];
        // A frame knows the text of the function that is called, and a position in that of its caller.
        let outermost = documents.evaluated();
        let sources = std::iter::once(Some(outermost.name.as_str()))
            .chain(callers.iter().map(|frame| frame.source.as_deref()));
        let functions = callers.iter().zip(sources).map(|(frame, caller)| {
            let place = documents.place(caller, frame.pos);
            format!("in `{}`, called at {place}", frame.fn_name)
        });
        Self { call, functions: functions.collect() }
    }
}
