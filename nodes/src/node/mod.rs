//! One file per kind of node; each reads like the signature of what it does.

pub mod ddim_sample;
pub mod encode_prompt;
pub mod grid;
pub mod load_images;
pub mod load_sdxl;
mod sampler;
pub mod save_images;
