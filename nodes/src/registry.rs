//! Every kind of node, in one list.

use flow_engine::{NodeType, Registry};

use crate::node::adapter_report::AdapterReport;
use crate::node::apply_adapter::ApplyAdapter;
use crate::node::apply_lora::ApplyLoRA;
use crate::node::apply_para::ApplyPaRa;
use crate::node::compare::Compare;
use crate::node::convert::Convert;
use crate::node::ddim_invert::DDIMInvert;
use crate::node::ddim_sample::DDIMSample;
use crate::node::dpmpp_sample::DpmppSample;
use crate::node::encode_prompt::EncodePrompt;
use crate::node::euler_ancestral_sample::EulerAncestralSample;
use crate::node::euler_sample::EulerSample;
use crate::node::evaluate::Evaluate;
use crate::node::grid::Grid;
use crate::node::load_adapter::LoadAdapter;
use crate::node::load_images::LoadImages;
use crate::node::load_sdxl::LoadSDXL;
use crate::node::loss_curves::LossCurves;
use crate::node::merge::Merge;
use crate::node::order_report::OrderReport;
use crate::node::plot::Plot;
use crate::node::rank_report::RankReport;
use crate::node::report::Report;
use crate::node::save_adapter::SaveAdapter;
use crate::node::save_images::SaveImages;
use crate::node::save_model::SaveModel;
use crate::node::save_report::SaveReport;
use crate::node::train::Train;

/// Raised whenever a change anywhere in this crate moves any result: it is part of every key.
pub(crate) const NUMERICS: u32 = 3;

/// Every kind that a graph can name, in the order in which the reference lists them.
pub fn registry() -> Registry {
    let types = vec![
        // models and prompts
        NodeType::of::<LoadSDXL>(),
        NodeType::of::<EncodePrompt>(),
        // adapters
        NodeType::of::<LoadAdapter>(),
        NodeType::of::<ApplyPaRa>(),
        NodeType::of::<ApplyLoRA>(),
        NodeType::of::<ApplyAdapter>(),
        NodeType::of::<Merge>(),
        NodeType::of::<Convert>(),
        NodeType::of::<OrderReport>(),
        NodeType::of::<RankReport>(),
        NodeType::of::<AdapterReport>(),
        NodeType::of::<SaveAdapter>(),
        NodeType::of::<SaveModel>(),
        // training
        NodeType::of::<Train>(),
        NodeType::of::<LossCurves>(),
        // sampling
        NodeType::of::<DDIMSample>(),
        NodeType::of::<EulerSample>(),
        NodeType::of::<EulerAncestralSample>(),
        NodeType::of::<DpmppSample>(),
        NodeType::of::<DDIMInvert>(),
        // pictures
        NodeType::of::<LoadImages>(),
        NodeType::of::<Grid>(),
        NodeType::of::<SaveImages>(),
        // measures and reports
        NodeType::of::<Evaluate>(),
        NodeType::of::<Compare>(),
        NodeType::of::<Plot>(),
        NodeType::of::<Report>(),
        NodeType::of::<SaveReport>(),
    ];
    Registry::new(NUMERICS, types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_every_field_has_its_manual() {
        for node_type in registry().types() {
            assert!(!node_type.doc().is_empty(), "{}", node_type.kind);
            for field in node_type.fields() {
                assert!(!field.doc.is_empty(), "{}.{}", node_type.kind, field.name);
                assert_ne!(field.type_name, "value", "{}.{}", node_type.kind, field.name);
            }
        }
    }

    #[test]
    fn every_kind_has_the_name_of_its_struct() {
        // The graph that a picture carries is written with the names of the structs.
        for node_type in registry().types() {
            assert_eq!(node_type.schema["title"], node_type.kind);
        }
    }
}
