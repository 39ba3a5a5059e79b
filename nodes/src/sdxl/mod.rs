//! SDXL: its folder or file on disk, its text encoders, its denoiser and its autoencoder.
//!
//! A [`Checkpoint`] is opened from headers alone and gives the four networks when they are wanted. Every size comes
//! from configuration files: SDXL base 1.0 and a model of a megabyte are the same code.
//!
//! Letters of shapes: `b` batch, `c` channels, `h w` pixels, `d` features, `r` rank; tokens and heads are written out.
//!
//! Nothing here knows samplers, schedules or graphs.

pub mod base_config;
pub mod checkpoint;
pub(crate) mod clip_block;
pub mod config;
pub mod cost;
mod damage;
pub mod detect;
pub mod files;
mod folder;
mod mapped;
mod numbers;
pub mod opened;
pub mod original;
mod part;
mod resnet;
pub mod save;
mod settings;
mod single_file;
#[cfg(test)]
pub(crate) mod testing;
pub mod text_encoder;
pub mod tokenizer;
mod trace;
pub mod unet;
pub mod vae;
mod vae_choice;
pub mod weights;
mod widen;
pub mod write;

pub use checkpoint::{Checkpoint, FromFiles, OpenOptions};
pub use opened::Opened;
pub use part::Part;
pub use text_encoder::{TextEmbeds, TextEncoder, TextEncoders};
pub use tokenizer::{Tokenizer, Tokenizers, Word};
pub use trace::Trace;
pub use unet::{FixedText, UNet};
pub use vae::Vae;
pub use weights::{Compute, Source, Weights};
