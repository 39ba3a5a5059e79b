//! Adapters: functions on the weights of a denoiser's layers, and which layers those are.

pub mod bound;
pub mod layers;
pub mod shape;
#[cfg(test)]
mod testing;
