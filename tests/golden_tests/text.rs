//! The two text encoders.

use flow_nodes::sdxl::text_encoder::TextOutput;

use super::support::{Golden, close, json, rows, tiny};

/// float32 against float64 measured 6e-6 in PyTorch; another order of summation may do worse.
pub(crate) const HIDDEN: f64 = 5e-5;
/// The same, measured 2e-6.
pub(crate) const POOLED: f64 = 2e-5;

/// Every layer of the first prompt that the file has, and the penultimate of all.
fn layers_agree(name: &str, golden: &Golden, output: &TextOutput) {
    let mut seen = 0;
    for (key, expected) in &golden.tensors {
        let Some(layer) = key.strip_prefix(&format!("{name}.hidden_states.")) else { continue };
        match layer.strip_suffix(".prompt0") {
            Some(layer) => {
                let layer: usize = layer.parse().unwrap();
                let found = output.hidden_states[layer].narrow(0, 0, 1).unwrap();
                close(key, &found, expected, HIDDEN);
                seen += 1;
            }
            None => close(key, output.penultimate().unwrap(), expected, HIDDEN),
        }
    }
    assert_eq!(seen, output.hidden_states.len(), "every layer of {name} is compared");
    let key = format!("{name}.last_hidden_state.prompt0");
    close(&key, &output.last.narrow(0, 0, 1).unwrap(), golden.get(&key), HIDDEN);
}

#[test]
fn golden_prompts_become_the_ids_that_were_encoded() {
    let (Some(golden), Some(prompts), Some(tiny)) =
        (Golden::open("forward/text.safetensors"), json("forward/text_prompts.json"), tiny())
    else {
        return;
    };
    let prompts: Vec<String> = serde_json::from_value(prompts).unwrap();
    let (ids, ids_2) = tiny.tokenizers.encode(&prompts).unwrap();
    assert_eq!(ids, rows(golden.get("input_ids")));
    assert_eq!(ids_2, rows(golden.get("input_ids_2")));
}

#[test]
fn golden_hidden_states_of_both_text_encoders() {
    let (Some(golden), Some(tiny)) = (Golden::open("forward/text.safetensors"), tiny()) else { return };
    let first = tiny.text.first.forward(&rows(golden.get("input_ids"))).unwrap();
    layers_agree("te1", &golden, &first);
    close("te1.pooler_output", &first.pooled, golden.get("te1.pooler_output"), HIDDEN);

    let second = tiny.text.second.forward(&rows(golden.get("input_ids_2"))).unwrap();
    layers_agree("te2", &golden, &second);
    close("te2.text_embeds", &second.projected.unwrap(), golden.get("te2.text_embeds"), POOLED);
}

#[test]
fn golden_conditioning_puts_both_encoders_side_by_side() {
    let (Some(golden), Some(tiny)) = (Golden::open("forward/text.safetensors"), tiny()) else { return };
    let (ids, ids_2) = (rows(golden.get("input_ids")), rows(golden.get("input_ids_2")));
    let embeds = tiny.text.forward(&ids, &ids_2).unwrap();
    close("prompt_embeds", &embeds.prompt_embeds, golden.get("prompt_embeds"), HIDDEN);
    close("pooled_prompt_embeds", &embeds.pooled, golden.get("pooled_prompt_embeds"), POOLED);
}
