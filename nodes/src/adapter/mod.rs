//! What changes a model after its training.

pub mod textual_inversion;
