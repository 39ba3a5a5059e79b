//! Graphs, keys and running: everything Flow knows that is neither a tensor nor a screen.
//!
//! From a saved file to a result, in this order:
//!
//! 1. [`source`] reads a file into typed nodes, each with its place.
//! 2. [`graph`] checks that they fit together: a petgraph DAG, or every mistake at once.
//! 3. [`Graph::checked`] lets the nodes look at their parameters and at the headers of their files.
//! 4. [`key`] names each result by what decides it.
//! 5. [`run`] runs ready nodes in parallel, and tells an [`event`] stream what happens.
//!
//! What each must never know: a source knows no wires, a graph knows no scheduler, a node knows
//! no graph, and nothing here prints.

mod check;
pub mod context;
pub mod diagnostic;
pub mod event;
pub mod graph;
pub mod key;
#[cfg(test)]
mod kit;
pub mod node;
mod problem;
pub mod registry;
pub mod run;
mod schema;
pub mod settings;
pub mod source;

pub use context::{Check, Cx, Session, Shared, Stop};
pub use diagnostic::{Diagnostic, DiagnosticReport, Document, Place, Severity};
pub use event::{Event, Events, Reader, Record, Status};
pub use graph::{Graph, GraphNode};
pub use key::{Digest, FileDigests, KeyParts};
pub use node::{In, Nature, Node, Output, Value};
pub use problem::{Cancelled, NotYet, Problem, Result};
pub use registry::{Field, NodeType, Registry};
pub use run::{Outcome, Run};
pub use settings::{Device, Dtype, Project, Settings};
pub use source::{Override, Source, read_ron};
