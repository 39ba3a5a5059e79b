//! One file per kind of node; each reads like the signature of what it does.

pub mod apply_adapter;
pub mod apply_lora;
pub mod apply_para;
pub mod convert;
pub mod ddim_invert;
pub mod ddim_sample;
pub mod dpmpp_sample;
pub mod encode_prompt;
pub mod euler_ancestral_sample;
pub mod euler_sample;
pub mod grid;
pub mod load_adapter;
pub mod load_images;
pub mod load_sdxl;
pub mod loss_curves;
pub mod merge;
pub mod order_report;
mod place;
pub mod rank_report;
pub mod sampler;
pub mod save_adapter;
pub mod save_images;
pub mod save_model;
pub mod save_report;
pub mod train;
