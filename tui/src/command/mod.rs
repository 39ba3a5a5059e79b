//! One file per verb.

pub mod check;
pub mod completions;
pub mod dag;
pub mod diff;
pub mod explain;
pub mod inspect;
pub mod lock;
pub mod nodes;
pub mod plan;
pub mod replay;
pub mod run;
pub mod runs;
pub mod store;
