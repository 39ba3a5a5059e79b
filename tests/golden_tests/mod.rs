//! One file per topic.

mod support;

mod adapters;
mod exam;
mod folder;
mod lpips;
mod metrics;
mod mini;
mod noise;
mod para;
mod peft_para;
mod precision;
mod ranks;
mod sampling;
mod saving;
mod scheduler;
mod single;
mod text;
mod textual_inversion;
mod tokens;
mod training;
mod unet;
mod vae;
