//! Adapters: functions on the weights of a denoiser's layers, and which layers those are.
//!
//! [`shape`] is a layer seen from outside, [`layers`] says which of them an adapter works on, [`bound`] with how many
//! ranks, and [`sizes`] what its file then takes; [`table3`] is what the paper prints of that, and [`size_report`] both.

pub mod bound;
pub mod layers;
pub mod shape;
pub mod size_report;
pub mod sizes;
pub mod table3;
#[cfg(test)]
mod testing;
