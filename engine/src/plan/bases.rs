//! What keys are made from, but for inputs: per node its parts and their digest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::digests::FileDigests;
use crate::{Digest, Event, Events, Graph, GraphNode, KeyParts, NotYet, Result, Session, Stop};

/// The bases of a graph's nodes, in run order.
#[derive(Default)]
pub(crate) struct Bases {
    nodes: Vec<Base>,
}

#[derive(Clone)]
enum Base {
    Known(Arc<KeyParts>, Digest),
    /// A large file has to be read for it.
    Unread,
    /// Its files cannot be read, or cannot be read yet.
    None,
}

impl Bases {
    /// What is known without reading large files.
    pub fn quick(graph: &Graph<'_>, session: &Session) -> Self {
        let base = |node: &GraphNode<'_>| match key_parts(node, session, &FileDigests::quick) {
            Ok(Some(parts)) => Base::known(parts),
            Ok(None) => Base::Unread,
            Err(_) => Base::None,
        };
        // Large graphs have thousands of nodes.
        let nodes: Vec<_> = graph.nodes().collect();
        Self { nodes: nodes.into_par_iter().map(base).collect() }
    }

    /// All that can be known. Where a node's files cannot be read it has no key: it will fail on the same files, at its
    /// turn and in its own words, or else the warning was the last of it.
    pub fn completed(&self, graph: &Graph<'_>, session: &Session, events: &Events, stop: &Stop) -> Self {
        let read = |files: &FileDigests, path: &_| files.of(path, events, stop).map(Some);
        let base = |(at, node): (usize, &GraphNode<'_>)| match self.nodes.get(at) {
            Some(known @ Base::Known(..)) => known.clone(),
            _ if stop.asked() => Base::None,
            _ => match key_parts(node, session, &read) {
                Ok(parts) => parts.map_or(Base::None, Base::known),
                Err(error) => {
                    if error.downcast_ref::<NotYet>().is_none() {
                        let message = format!("it has no key: {error:#}");
                        events.emit(Event::Warning {
                            node: Some(node.name().to_owned()),
                            message,
                            hint: None,
                        });
                    }
                    Base::None
                }
            },
        };
        Self { nodes: graph.nodes().enumerate().map(base).collect() }
    }

    /// The base of a node.
    pub fn get(&self, at: usize) -> Option<(Arc<KeyParts>, Digest)> {
        match self.nodes.get(at)? {
            Base::Known(parts, digest) => Some((Arc::clone(parts), *digest)),
            Base::Unread | Base::None => None,
        }
    }
}

impl Base {
    fn known(parts: KeyParts) -> Self {
        let digest = parts.base();
        Self::Known(Arc::new(parts), digest)
    }
}

/// Everything that decides a node's result but for its inputs; none if a file's digest is not told.
fn key_parts(
    node: &GraphNode<'_>,
    session: &Session,
    digest: &dyn Fn(&FileDigests, &Path) -> Result<Option<Digest>>,
) -> Result<Option<KeyParts>> {
    let node_type = node.source.node_type;
    let numerics = session.registry.numerics;
    let mut parts = KeyParts::new(
        node_type.kind,
        node_type.version,
        numerics,
        Arc::clone(&node.parameters),
        session.settings,
    );
    for file in node.source.node.files(&session.project)? {
        let Some(digest) = digest(&session.files, &file)? else { return Ok(None) };
        parts.files.insert(name_of(&file, session), digest);
    }
    Ok(Some(parts))
}

/// The digests of a node's files as they are now. One that was saved moments before the run is read once more.
pub(crate) fn files_now(node: &GraphNode<'_>, session: &Session) -> Option<BTreeMap<String, Digest>> {
    let files = node.source.node.files(&session.project).ok()?;
    let named = |file: &PathBuf| {
        let digest = session.files.of(file, &Events::silent(), &Stop::default()).ok()?;
        Some((name_of(file, session), digest))
    };
    files.iter().map(named).collect()
}

/// A file's name in keys: from the project, where it lies in it. Two files never have the same.
fn name_of(file: &Path, session: &Session) -> String {
    let file = file.strip_prefix(session.project.root()).unwrap_or(file);
    // What is no text is written with escapes.
    file.to_str().map_or_else(|| format!("{file:?}"), ToOwned::to_owned)
}
