//! The two text encoders.

use candle_core::{DType, Tensor};
use flow_engine::Result;
use flow_nodes::sdxl::text_encoder::{TextOutput, pooled_position};
use flow_nodes::sdxl::{Compute, Part, Source, TextEncoder, Weights};

use super::support::{Golden, close, json, tiny};

/// float32 against float64 measured 6e-6 in PyTorch; another order of summation may do worse.
const HIDDEN: f64 = 5e-5;
/// The same, measured 2e-6.
const POOLED: f64 = 2e-5;

fn rows(ids: &Tensor) -> Vec<Vec<u32>> {
    ids.to_dtype(DType::U32).unwrap().to_vec2().unwrap()
}

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

/// Weights of a text encoder whose vocabulary ends in new tokens, as textual inversion adds them.
struct WithNewTokens<'a> {
    old: &'a dyn Source,
    /// `[new, d]`.
    new: &'a Tensor,
}

impl Source for WithNewTokens<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if !name.ends_with("token_embedding.weight") {
            return self.old.tensor(name, shape);
        }
        let table = self.old.tensor(name, &[shape[0] - self.new.dim(0)?, shape[1]])?;
        Ok(Tensor::cat(&[&table, self.new], 0)?)
    }
}

/// The end token has the largest id, until tokens are added behind it: the old rule then pools at one of these.
#[test]
fn golden_poolings_of_both_rules_for_the_end_of_a_text_with_new_tokens() {
    let (Some(golden), Some(tokens), Some(tiny)) = (
        Golden::open("adapters/textual_inversion.expected.safetensors"),
        Golden::open("adapters/textual_inversion.safetensors"),
        tiny(),
    ) else {
        return;
    };
    let (ids, ids_2) = (rows(golden.get("input_ids")), rows(golden.get("input_ids_2")));
    let [first, second] = tiny.checkpoint.text_configs().clone();
    let end = first.vocab_size as u32 - 1;
    let compute = Compute::cpu();
    let encode = |part: Part, eos_token_id: u32| {
        let (config, new) = match part {
            Part::TextEncoder => (&first, tokens.get("clip_l")),
            _ => (&second, tokens.get("clip_g")),
        };
        let vocab_size = config.vocab_size + new.dim(0).unwrap();
        let config = flow_nodes::sdxl::config::TextConfig { vocab_size, eos_token_id, ..config.clone() };
        let old = tiny.checkpoint.source(part, &compute);
        let source = WithNewTokens { old: &old, new: &new.to_dtype(DType::F32).unwrap() };
        let projects = part == Part::TextEncoder2;
        let encoder = TextEncoder::new(&config, projects, &Weights::new(&source)).unwrap();
        encoder.forward(if projects { &ids_2 } else { &ids }).unwrap()
    };

    const OLD_RULE: u32 = 2;
    let (first, second) = (encode(Part::TextEncoder, OLD_RULE), encode(Part::TextEncoder2, OLD_RULE));
    let embeds = Tensor::cat(&[first.penultimate().unwrap(), second.penultimate().unwrap()], 2).unwrap();
    close("prompt_embeds", &embeds, golden.get("prompt_embeds"), HIDDEN);
    close("pooled.argmax", &second.projected.unwrap(), golden.get("pooled.argmax"), POOLED);
    let second = encode(Part::TextEncoder2, end);
    close("pooled.first_eos", &second.projected.unwrap(), golden.get("pooled.first_eos"), POOLED);

    for (row, has_new_tokens) in ids_2.iter().zip([true, true, false]) {
        let (largest, at_end) = (pooled_position(row, OLD_RULE), pooled_position(row, end));
        assert_eq!(row[at_end], end);
        assert_eq!(largest == at_end, !has_new_tokens);
        assert_eq!(row[largest] > end, has_new_tokens);
    }
}
