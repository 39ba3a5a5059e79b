//! From noise to latents: how much noise there is when, and how to walk it back.
//!
//! [`schedule`] says how much noise a timestep has and where the steps lie; [`guidance`] turns the network into one
//! guided prediction; a sampler is one small file on top of both ([`ddim`]). [`noise`] is where randomness comes from.
//!
//! All arithmetic on latents is in float32, whatever the network runs in. Nothing here knows text, pixels or files.

pub mod ddim;
pub mod guidance;
pub mod noise;
pub mod schedule;

pub use ddim::Ddim;
pub use guidance::Denoiser;
pub use noise::Generator;
pub use schedule::NoiseSchedule;

/// Called after every step with the number of steps done and the latents so far; an error stops the walk.
pub type OnStep<'a> = dyn FnMut(usize, &candle_core::Tensor) -> flow_engine::Result<()> + 'a;
