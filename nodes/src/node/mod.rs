//! One file per kind of node.

pub mod grid;
pub mod load_images;
pub mod save_images;
