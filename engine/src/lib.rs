//! Graphs, keys and running: everything Flow knows that is neither a tensor nor a screen.
//!
//! From a saved file to a result, in this order:
//!
//! 1. [`source`] reads a file into typed nodes, each with its place.
//! 2. [`graph`] checks that they fit together: a petgraph DAG, or every mistake at once.
//! 3. [`Graph::checked`] lets the nodes look at their parameters and at the headers of their files.
//! 4. [`key`] names each result by what decides it, and [`store`] has the results.
//! 5. [`plan`] tells what has to run, and why.
//! 6. [`run`] runs ready nodes in parallel, and tells an [`event`] stream what happens.
//!
//! What each must never know: a source knows no wires, a graph knows no scheduler, a node knows
//! no graph, and nothing here prints.

mod check;
mod compare;
pub mod context;
pub mod control;
pub mod diagnostic;
mod digests;
pub mod event;
pub mod file;
mod flight;
pub mod graph;
pub mod key;
#[cfg(test)]
mod kit;
mod lock;
pub mod node;
pub mod plan;
mod problem;
pub mod registry;
pub mod reload;
pub mod run;
pub mod runs;
mod schema;
pub mod settings;
pub mod source;
pub mod store;
pub mod watch;
mod why;

pub use check::Ready;
pub use compare::{Comparison, Meaning};
pub use context::{Check, Cx, Session, Shared, Stop};
pub use control::{Control, Wish};
pub use diagnostic::{Diagnostic, DiagnosticReport, Document, Place, Severity};
pub use digests::FileDigests;
pub use event::{Event, Events, Reader, Record, Status};
pub use graph::{Graph, GraphNode};
pub use key::{Digest, KeyParts};
pub use lock::{Lock, LockedNode};
pub use node::{Estimate, In, Nature, Node, Output, StoredFile, Value};
pub use plan::{Before, Made, Plan, PlannedNode, State, Wanted, Written};
pub use problem::{Cancelled, NotYet, Problem, Result};
pub use registry::{Choice, Field, NodeType, Registry};
pub use reload::{Change, Live};
pub use run::{Options, Outcome, Run};

pub use settings::{Device, Dtype, Project, Settings};
pub use source::{
    Broken, Override, ScriptFolders, Source, expand_script, format, json_schema, read_ron, read_script,
    script_definitions,
};
pub use store::Store;
pub use watch::{Sighting, Watch};
pub use why::differences;
