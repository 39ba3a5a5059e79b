//! The typed nodes of Flow and what they are made of: SDXL on candle, samplers, pictures.
//!
//! - [`ops`] is the arithmetic, [`sdxl`] the networks and their files, [`sample`] the walk from noise to a picture.
//!
//! This floor knows tensors and never screens.

pub mod ops;
pub mod sample;
pub mod sdxl;
