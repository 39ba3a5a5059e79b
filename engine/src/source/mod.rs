//! Graphs as people write them, read into typed nodes that remember their place.
//!
//! A source knows kinds and fields. It does not know whether wires fit: that is the
//! [`Graph`](crate::Graph)'s.

mod format;
mod outline;
mod overrides;
mod reference;
mod ron;
mod ron_error;
mod script;
mod splice;

pub use format::{Broken, format};
pub use overrides::Override;
pub use reference::{json_schema, script_definitions};
pub use ron::read_ron;
pub(crate) use ron::{read_node, ron_options};
pub use script::{ScriptFolders, expand_script, read_script};

use std::path::PathBuf;
use std::sync::Arc;

use crate::node::AnyNode;
use crate::{Diagnostic, Document, NodeType, Place};

/// A graph file after reading: its nodes in the order of the file, and every mistake so far.
pub struct Source<'r> {
    /// The file.
    pub document: Arc<Document>,
    /// The nodes that could be read.
    pub nodes: Vec<SourceNode<'r>>,
    /// The nodes that could not, so that a wire from one of them is no second mistake.
    pub broken: Vec<BrokenNode<'r>>,
    /// What is wrong with them.
    pub diagnostics: Vec<Diagnostic>,
    /// What else was read for it: modules of a script, also those that are missing.
    pub files: Vec<PathBuf>,
}

impl Source<'_> {
    /// A file that nothing was read from yet.
    pub(crate) fn empty(document: Arc<Document>) -> Self {
        Self { document, nodes: Vec::new(), broken: Vec::new(), diagnostics: Vec::new(), files: Vec::new() }
    }
}

/// A node as a file wrote it.
pub struct SourceNode<'r> {
    /// The name that the author picked.
    pub name: String,
    /// Its kind.
    pub node_type: &'r NodeType,
    /// Where its kind stands.
    pub place: Place,
    /// Where all of it stands: its kind and its fields.
    pub body: Place,
    /// Where the value of each written field stands.
    pub fields: Vec<(String, Place)>,
    /// The node itself.
    pub node: Box<dyn AnyNode>,
    /// The functions of a script that made it, the outermost first, with the places that called them.
    pub calls: Vec<String>,
}

impl SourceNode<'_> {
    /// Where the value of a field stands; where the node stands, if the field was not written.
    pub fn field_place(&self, field: &str) -> &Place {
        self.fields.iter().find(|(name, _)| name == field).map_or(&self.place, |(_, place)| place)
    }
}

/// A node that could not be read.
pub struct BrokenNode<'r> {
    /// Its name.
    pub name: String,
    /// Its kind, if that is one.
    pub node_type: Option<&'r NodeType>,
}

#[cfg(test)]
mod same_graph_tests;
#[cfg(test)]
mod tests;
