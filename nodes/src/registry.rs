//! Every kind of node, in one list.

use flow_engine::{NodeType, Registry};

use crate::node::ddim_sample::DDIMSample;
use crate::node::encode_prompt::EncodePrompt;
use crate::node::grid::Grid;
use crate::node::load_images::LoadImages;
use crate::node::load_sdxl::LoadSDXL;
use crate::node::save_images::SaveImages;

/// Raised whenever a change anywhere in this crate moves any result: it is part of every key.
const NUMERICS: u32 = 1;

/// Every kind that a graph can name, in the order in which the reference lists them.
pub fn registry() -> Registry {
    let types = vec![
        // models and prompts
        NodeType::of::<LoadSDXL>(),
        NodeType::of::<EncodePrompt>(),
        // sampling
        NodeType::of::<DDIMSample>(),
        // pictures
        NodeType::of::<LoadImages>(),
        NodeType::of::<Grid>(),
        NodeType::of::<SaveImages>(),
    ];
    Registry::new(NUMERICS, types)
}
