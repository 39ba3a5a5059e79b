//! Two graphs, or two runs, compared by meaning: names, order, comments and spelling do not count, files do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::{Digest, Events, GraphNode, KeyParts, Lock, Ready, Session, Stop, differences};

/// How two graphs differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Nodes that only the second has.
    pub added: Vec<String>,
    /// Nodes that only the first has.
    pub removed: Vec<String>,
    /// Nodes of the same meaning under another name: from, to.
    pub renamed: Vec<(String, String)>,
    /// Nodes that were changed themselves, and how.
    pub changed: Vec<(String, Vec<String>)>,
    /// Nodes that give another result only because a node above them does.
    pub affected: Vec<String>,
}

impl Comparison {
    /// Whether the two mean the same, under the same names or others.
    pub fn is_same_meaning(&self) -> bool {
        let Self { added, removed, renamed: _, changed, affected } = self;
        added.is_empty() && removed.is_empty() && changed.is_empty() && affected.is_empty()
    }
}

/// A graph as a comparison sees it.
pub struct Meaning {
    nodes: BTreeMap<String, Node>,
}

struct Node {
    parts: Option<Arc<KeyParts>>,
    /// Per input, the name of the upstream node.
    inputs: BTreeMap<String, String>,
    recipe: Option<Digest>,
}

impl Meaning {
    /// What a graph means, with the files as they are, or as a lock has them.
    pub fn of(ready: &Ready<'_>, session: &Session, lock: Option<&Lock>) -> Self {
        let bases = ready.bases.completed(&ready.graph, session, &Events::silent(), &Stop::default());
        let mut recipes: HashMap<&str, Digest> = HashMap::new();
        let mut nodes = BTreeMap::new();
        for (at, node) in ready.graph.nodes().enumerate() {
            let parts = match lock {
                Some(lock) => Some(Arc::new(locked_parts(node, session, lock, bases.get(at)))),
                // Files that cannot be read are in no key, and parameters still are.
                None => {
                    Some(bases.get(at).map_or_else(|| Arc::new(parts_of(node, session)), |(parts, _)| parts))
                }
            };
            let inputs = node.inputs_as(|name| recipes.get(name).copied());
            let recipe =
                parts.as_ref().zip(inputs).map(|(parts, inputs)| KeyParts::key_over(parts.base(), &inputs));
            recipes.extend(recipe.map(|recipe| (node.name(), recipe)));
            nodes.insert(node.name().to_owned(), Node { parts, inputs: node.inputs.clone(), recipe });
        }
        Self { nodes }
    }

    /// How another differs from this one.
    pub fn compared_to(&self, after: &Self) -> Comparison {
        let mut found = Comparison::default();
        let removed = self.nodes.keys().filter(|name| !after.nodes.contains_key(*name));
        let mut by_recipe: HashMap<Digest, &String> =
            removed.clone().filter_map(|name| Some((self.nodes[name].recipe?, name))).collect();
        for name in after.nodes.keys().filter(|name| !self.nodes.contains_key(*name)) {
            match after.nodes[name].recipe.and_then(|recipe| by_recipe.remove(&recipe)) {
                Some(before) => found.renamed.push((before.clone(), name.clone())),
                None => found.added.push(name.clone()),
            }
        }
        let renamed: HashSet<&String> = found.renamed.iter().map(|(before, _)| before).collect();
        found.removed = removed.filter(|name| !renamed.contains(name)).cloned().collect();
        let names: HashMap<&String, &String> =
            found.renamed.iter().map(|(before, after)| (before, after)).collect();
        let (mut changed, mut affected) = (Vec::new(), Vec::new());
        for (name, before) in &self.nodes {
            let Some(after) = after.nodes.get(name) else { continue };
            let changes = changes(before, after, &names);
            if !changes.is_empty() {
                changed.push((name.clone(), changes));
            } else if before.recipe != after.recipe {
                affected.push(name.clone());
            }
        }
        Comparison { changed, affected, ..found }
    }
}

/// How a node itself was changed; an upstream that only has another name is no change.
fn changes(before: &Node, after: &Node, renamed: &HashMap<&String, &String>) -> Vec<String> {
    let mut found = match (&before.parts, &after.parts) {
        (Some(before), Some(after)) => differences(before, after, &|_| None),
        _ => Vec::new(),
    };
    for (input, from) in &before.inputs {
        let from_now = renamed.get(from).copied().unwrap_or(from);
        match after.inputs.get(input) {
            Some(now) if now == from_now => {}
            Some(now) => found.push(format!("`{input}` comes from `{now}`, came from `{from}`")),
            None => found.push(format!("`{input}` has no wire any more, came from `{from}`")),
        }
    }
    let new = after.inputs.iter().filter(|(input, _)| !before.inputs.contains_key(*input));
    found.extend(new.map(|(input, from)| format!("`{input}` comes from `{from}`, had no wire")));
    found
}

/// What a node's key was made from when the lock was written.
fn locked_parts(
    node: &GraphNode<'_>,
    session: &Session,
    lock: &Lock,
    now: Option<(Arc<KeyParts>, Digest)>,
) -> KeyParts {
    let node_type = node.source.node_type;
    let version = lock.nodes.get(node.name()).map_or(node_type.version, |locked| locked.version);
    let parameters = Arc::clone(&node.parameters);
    let mut parts = KeyParts::new(node_type.kind, version, lock.numerics, parameters, session.settings);
    parts.dtype.clone_from(&lock.dtype);
    parts.device_class.clone_from(&lock.device_class);
    // Which files a node reads may depend on what is there; those of today that the lock does not have are left out. Of a
    // node whose files are gone, those are meant that its `path` names.
    let is_read = |path: &String| match &now {
        Some((now, _)) => now.files.contains_key(path),
        None => node.parameters["path"].as_str().is_some_and(|named| Path::new(path).starts_with(named)),
    };
    parts.files = lock
        .files
        .iter()
        .filter(|(path, _)| is_read(path))
        .map(|(path, digest)| (path.clone(), *digest))
        .collect();
    parts
}

/// What decides a node's result but for files.
fn parts_of(node: &GraphNode<'_>, session: &Session) -> KeyParts {
    let (node_type, parameters) = (node.source.node_type, Arc::clone(&node.parameters));
    KeyParts::new(node_type.kind, node_type.version, session.registry.numerics, parameters, session.settings)
}
