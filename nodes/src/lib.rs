//! The typed nodes of Flow and what they are made of: SDXL on candle, samplers, pictures.
//!
//! - [`ops`] is the arithmetic, [`sdxl`] the networks and their files, [`sample`] the walk from
//!   noise to latents, [`picture`] what comes out.
//! - [`adapter`] is what changes their weights.
//! - [`inspect`] says what a file of weights is.
//! - [`train`] makes adapters from pictures.
//! - [`evaluate`] measures pictures.
//! - [`hub`] brings models from the Hugging Face hub, and finds those that are here.
//! - [`model`], [`conditioning`], [`latents`] and [`report`] are values on wires; [`node`] has one file per kind.
//! - [`registry()`] lists the kinds.
//!
//! This floor knows tensors and never screens.

pub mod adapter;
pub mod conditioning;
mod device;
mod estimate;
pub mod evaluate;
mod folder;
pub mod hub;
pub mod inspect;
mod kept;
pub mod latents;
pub mod model;
pub mod node;
#[cfg(test)]
mod numerics_tests;
pub mod ops;
pub mod page;
pub mod picture;
mod registry;
pub mod report;
pub mod sample;
pub mod sdxl;
mod stored;
pub mod train;

pub use device::settle;
pub use registry::registry;
