//! One file per verb.

pub mod check;
pub mod completions;
pub mod dag;
pub mod inspect;
pub mod nodes;
pub mod run;
