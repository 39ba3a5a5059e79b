//! x
pub mod node;
pub mod picture;
