//! What nodes with one prompt share.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use flow_engine::{Document, Dtype, Event, Events, Project, Ready, Run, Session, Settings, read_ron};

use crate::registry;
use crate::sdxl::write::bytes;

const UNET: &str = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q";
const TEXT: &str = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj";

/// A LoRA of rank 1 on the query of a layer, `[d, d]`.
fn lora(layers: &[(&str, usize)]) -> Vec<u8> {
    let mut tensors = BTreeMap::new();
    for &(layer, d) in layers {
        let ones = |shape: (usize, usize)| {
            (Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap() * 0.01).unwrap()
        };
        tensors.insert(format!("{layer}.lora_down.weight"), ones((1, d)));
        tensors.insert(format!("{layer}.lora_up.weight"), ones((d, 1)));
    }
    bytes(&tensors, &BTreeMap::new()).unwrap()
}

/// What was told of a graph of the embedded model `base`, an adapter `lora` and some nodes.
fn told(adapter: &[u8], nodes: &str) -> Vec<Event> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bear.safetensors");
    std::fs::write(&file, adapter).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let settings = Settings { device: flow_engine::Device::Cpu, dtype: Dtype::F32 };
    let session = Session::new(registry(), settings, Project::at(root));
    let text = format!(
        r#"Graph(nodes: {{ "base": LoadSDXL(path: "models/mini-sdxl"), "lora": LoadAdapter(path: {file:?}), {nodes} }})"#
    );
    let graph = Ready::checked(read_ron(Document::new("graph.ron", text), &[], &session.registry), &session);
    let graph = graph.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let (events, receiver) = Events::channel();
    let outcome = Run { events, ..Run::new(&graph, &session) }.execute();
    drop(outcome);
    let events: Vec<_> = receiver.iter().map(|record| record.event).collect();
    let failed = events.iter().find(|event| matches!(event, Event::NodeFailed { .. }));
    assert!(failed.is_none(), "{failed:?}");
    events
}

/// What was kept, in order of name.
fn kept(events: &[Event]) -> Vec<&str> {
    let kept = events.iter().filter_map(|event| match event {
        Event::Kept { what, bytes, .. } => {
            assert!(*bytes > 0, "{what}");
            Some(what.as_str())
        }
        _ => None,
    });
    let mut kept: Vec<_> = kept.collect();
    kept.sort_unstable();
    kept
}

/// Samplers on four scales of a LoRA, given as fields of ApplyLoRA.
fn sweep(scales: [&str; 4]) -> String {
    let nodes = scales.iter().enumerate().map(|(i, scale)| {
        format!(
            r#""m{i}": ApplyLoRA(model: "base", lora: "lora", {scale}),
               "p{i}": DDIMSample(model: "m{i}", prompt: "a bear", steps: 1, width: 32, height: 32),"#
        )
    });
    nodes.collect()
}

#[test]
fn a_sweep_over_scales_of_the_denoiser_encodes_its_prompt_once() {
    let events = told(&lora(&[(UNET, 64)]), &sweep(["scale: 0.25", "scale: 0.5", "scale: 0.75", "scale: 1"]));
    let expected = [
        "prompt \"a bear\" of mini-sdxl (f32)",
        "text encoders of mini-sdxl (f32)",
        "unet of mini-sdxl + bear (f32)",
        "unet of mini-sdxl + bear at 0.25 (f32)",
        "unet of mini-sdxl + bear at 0.5 (f32)",
        "unet of mini-sdxl + bear at 0.75 (f32)",
        "vae of mini-sdxl (f32)",
    ];
    assert_eq!(kept(&events), expected);
    assert!(!events.iter().any(|event| matches!(event, Event::Evicted { .. })));
}

#[test]
fn a_prompt_is_encoded_once_for_every_scale_of_the_text_encoders() {
    let fields = [
        "scale: 0.5, text_encoder_scale: 1",
        "scale: 1, text_encoder_scale: 1",
        "scale: 0.5, text_encoder_scale: 0.5",
        "scale: 1, text_encoder_scale: 0.5",
    ];
    let events = told(&lora(&[(UNET, 64), (TEXT, 64)]), &sweep(fields));
    let expected = [
        "prompt \"a bear\" of mini-sdxl (f32)",
        "prompt \"a bear\" of mini-sdxl (f32)",
        "text encoders of mini-sdxl + bear (f32)",
        "text encoders of mini-sdxl + bear at 0.5 (f32)",
        "unet of mini-sdxl + bear (f32)",
        "unet of mini-sdxl + bear at 0.5 (f32)",
        "vae of mini-sdxl (f32)",
    ];
    assert_eq!(kept(&events), expected);
}

#[test]
fn what_is_cut_off_is_told_to_everyone_and_encoded_once() {
    let prompt = "a bear and a panda ".repeat(30);
    let node =
        |name: &str| format!(r#""{name}": EncodePrompt(model: "base", prompt: {prompt:?}, truncate: true),"#);
    let events = told(&lora(&[(UNET, 64)]), &(node("a") + node("b").as_str()));
    assert_eq!(kept(&events).len(), 2, "{:?}", kept(&events));
    assert!(kept(&events)[0].contains('…'));
    let warned = events.iter().filter_map(|event| match event {
        Event::Warning { node, message, .. } => {
            Some((node.as_deref(), message.contains("its end is cut off")))
        }
        _ => None,
    });
    let mut warned: Vec<_> = warned.collect();
    warned.sort_unstable();
    assert_eq!(warned, [(Some("a"), true), (Some("b"), true)]);
}
