//! Training: from pictures and what they show to an adapter.
//!
//! - [`method`] lists what can be trained; there is one file for each, which says what a layer's parameters are, what
//!   the layer gives with them, and what an adapter's file holds of them.
//! - [`layer`] is such a layer, [`network`] a denoiser with such layers in it.
//! - [`objective`] is the loss, [`optimizer`] the step, [`schedule`] the learning rate over the steps.
//! - [`dataset`] gives each step its pictures; [`trainer`] goes from step to step, [`state`] is what it goes on from,
//!   [`scalars`] what TensorBoard shows of it, [`curve`] what an adapter's file says of it.
//!
//! A step is decided by the seed and its number alone: nothing is drawn from a stream that would have to be kept, so a
//! training that goes on is the training that was not interrupted.
//!
//! Nothing here knows graphs or screens.

pub mod chance;
pub mod curve;
pub mod dataset;
pub mod layer;
pub mod method;
pub mod network;
pub mod objective;
pub mod optimizer;
pub mod scalars;
pub mod schedule;
pub mod state;
pub mod trainer;

mod dream_booth;
mod factors;
mod loha;
mod lokr;
mod lora;
mod oft;
mod para;
mod rank;
mod sv_diff;
mod textual_inversion;
