//! What a person or a program sees: diagnostics with carets, and the readers of a run's events.

pub mod ask;
pub mod diagnostics;
pub mod inspection;
pub mod ndjson;
pub mod out;
pub mod plain;
pub mod plan;
pub mod sizes;
pub mod table;
