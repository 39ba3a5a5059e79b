//! One file per verb.

pub mod check;
pub mod completions;
pub mod dag;
pub mod dash;
pub mod diff;
pub mod expand;
pub mod explain;
pub mod fmt;
pub mod inspect;
pub mod lock;
pub mod nodes;
pub mod plan;
pub mod replay;
pub mod run;
pub mod runs;
pub mod schema;
pub mod store;
pub mod survey;
