//! From noise to latents: how much noise there is when, and how to walk it back.
//!
//! [`schedule`] says how much noise a timestep has and its timesteps where the steps lie; a [`level`] is how much of
//! latents is noise. [`guidance`] turns the network into "noisy in, clean out"; [`walk()`] goes from step to step. A
//! sampler is one small file on top: [`ddim`], [`euler`], [`euler_ancestral`], [`dpmpp`]. [`noise`] is where randomness
//! comes from.
//!
//! All arithmetic on latents is in float32, whatever the network runs in. Nothing here knows text, pixels or files.

pub mod ddim;
pub mod dpmpp;
pub mod euler;
pub mod euler_ancestral;
pub mod guidance;
pub mod level;
pub mod noise;
pub mod schedule;
mod spacing;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod walk;

pub use ddim::Ddim;
pub use dpmpp::Dpmpp;
pub use euler::Euler;
pub use euler_ancestral::EulerAncestral;
pub use guidance::Denoiser;
pub use level::{Estimate, Level};
pub use noise::Generator;
pub use schedule::NoiseSchedule;
pub use walk::{Draw, OnStep, Sampler, Step, start_of, walk};
