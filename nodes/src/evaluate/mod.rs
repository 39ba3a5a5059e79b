//! The paper's measures, and how sure they are (PaRa, arXiv 2406.05641, section 4).
//!
//! - [`ssim`]: how alike the pictures of a set are; the paper calls a low mean diversity.
//! - [`clip`]: how near a picture is to its prompt and to the training pictures.
//! - [`lpips`]: how near it is to the training pictures as people see it.
//! - [`measure`] lists the measures, [`scores`] is what they give of a set, [`comparison`] puts methods side by side.
//! - [`statistics`]: means over runs, intervals, paired differences.
//!
//! Nothing here knows graphs, models that draw, or screens.

pub mod clip;
pub mod comparison;
pub mod lpips;
pub mod measure;
pub mod scores;
pub mod ssim;
pub mod statistics;
mod weights;
