//! Graphs, keys and running: everything Flow knows that is neither a tensor nor a screen.

mod problem;

pub use problem::{Cancelled, Problem, Result};
