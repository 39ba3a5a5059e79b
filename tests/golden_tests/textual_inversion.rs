//! A new word of two vectors, from its file to what the denoiser makes of it.

use candle_core::Tensor;
use flow_nodes::adapter::textual_inversion::{Embedded, TextualInversion, load};
use flow_nodes::sdxl::config::TextConfig;
use flow_nodes::sdxl::text_encoder::pooled_position;
use flow_nodes::sdxl::{Compute, Part, TextEmbeds, TextEncoder, TextEncoders, Tokenizers, Weights};

use super::support::{Golden, Tiny, close, file, rows, tiny};
use super::text::{HIDDEN, POOLED};
use super::unet::EPS;

/// What the configurations of SDXL's text encoders say: the end of a text is where the id is largest.
const OLD_RULE: u32 = 2;

/// What the golden prompts call the word.
const TOKEN: &str = "<v>";

/// The word that the golden prompts say.
fn word() -> Option<TextualInversion> {
    let file = file("adapters/textual_inversion.safetensors")?;
    Some(TextualInversion::open(&file, Some(TOKEN)).unwrap())
}

fn expected() -> Option<Golden> {
    Golden::open("adapters/textual_inversion.expected.safetensors")
}

fn taught(tiny: &Tiny, word: &TextualInversion) -> (Tokenizers, TextEncoders) {
    let compute = Compute::cpu();
    let sources = [Part::TextEncoder, Part::TextEncoder2].map(|part| tiny.checkpoint.source(part, &compute));
    load(&tiny.checkpoint, [&sources[0], &sources[1]], &[word]).unwrap()
}

fn prompts(golden: &Golden, key: &str) -> Vec<String> {
    serde_json::from_str(golden.meta(key)).unwrap()
}

/// What the second encoder pools where its configuration names another end of a text.
fn pooled(tiny: &Tiny, word: &TextualInversion, ids: &[Vec<u32>], eos_token_id: u32) -> Tensor {
    let config = TextConfig { eos_token_id, ..tiny.checkpoint.text_configs()[1].clone() };
    let compute = Compute::cpu();
    let source = tiny.checkpoint.source(Part::TextEncoder2, &compute);
    let (tensors, start) = (word.tensors(), tiny.tokenizers.second.size());
    let embedded = Embedded::new(&source, &config, start, &[&tensors["clip_g"]]).unwrap();
    let encoder = TextEncoder::new(embedded.config(), true, &Weights::new(&embedded)).unwrap();
    encoder.forward(ids).unwrap().projected.unwrap()
}

/// The token that ends every text.
fn end(tiny: &Tiny) -> u32 {
    *tiny.tokenizers.second.encode_unpadded("").unwrap().last().unwrap()
}

#[test]
fn golden_ids_of_prompts_with_a_new_word_short_and_written_out() {
    let (Some(golden), Some(word), Some(tiny)) = (expected(), word(), tiny()) else { return };
    let (tokenizers, _) = taught(tiny, &word);
    for key in ["prompts", "expanded"] {
        let (ids, ids_2) = tokenizers.encode(&prompts(&golden, key)).unwrap();
        assert_eq!(ids, rows(golden.get("input_ids")), "{key}");
        assert_eq!(ids_2, rows(golden.get("input_ids_2")), "{key}");
    }
}

/// The end token has the largest id, until new words have larger ones: the old rule then pools at one of these.
#[test]
fn golden_features_of_a_new_word_and_poolings_of_both_rules_for_the_end_of_a_text() {
    let (Some(golden), Some(word), Some(tiny)) = (expected(), word(), tiny()) else { return };
    let (tokenizers, encoders) = taught(tiny, &word);
    let prompts = prompts(&golden, "prompts");
    let (ids, ids_2) = tokenizers.encode(&prompts).unwrap();
    let embeds = encoders.forward(&ids, &ids_2).unwrap();
    close("prompt_embeds", &embeds.prompt_embeds, golden.get("prompt_embeds"), HIDDEN);

    let rules = [("pooled.argmax", OLD_RULE), ("pooled.first_eos", end(tiny))];
    for (key, eos_token_id) in rules {
        close(key, &pooled(tiny, &word, &ids_2, eos_token_id), golden.get(key), POOLED);
    }
    let own_rule = tiny.checkpoint.text_configs()[1].eos_token_id;
    let (key, _) = rules.into_iter().find(|(_, eos_token_id)| *eos_token_id == own_rule).unwrap();
    assert_eq!(key, format!("pooled.{}", golden.meta("transformers_uses")));
    close(&format!("pooled by the model's own rule, {key}"), &embeds.pooled, golden.get(key), POOLED);

    for (prompt, row) in prompts.iter().zip(&ids_2) {
        let has_new_word = prompt.contains(TOKEN);
        let (largest, at_end) = (pooled_position(row, OLD_RULE), pooled_position(row, end(tiny)));
        assert_eq!(row[at_end], end(tiny));
        assert_eq!(largest == at_end, !has_new_word);
        assert_eq!(row[largest] > end(tiny), has_new_word);
    }
}

#[test]
fn golden_predictions_from_prompts_with_a_new_word() {
    let (Some(golden), Some(input), Some(word), Some(tiny)) =
        (expected(), Golden::open("adapters/input.safetensors"), word(), tiny())
    else {
        return;
    };
    let (tokenizers, encoders) = taught(tiny, &word);
    let sample = input.get("sample");
    let asked = &prompts(&golden, "prompts")[..sample.dim(0).unwrap()];
    let (ids, ids_2) = tokenizers.encode(asked).unwrap();
    let prompt_embeds = encoders.forward(&ids, &ids_2).unwrap().prompt_embeds;
    let text = TextEmbeds { prompt_embeds, pooled: pooled(tiny, &word, &ids_2, end(tiny)) };
    let t = input.get("timestep").to_dtype(candle_core::DType::F32).unwrap();
    let found = tiny.unet.forward(sample, &t, &text, input.get("time_ids")).unwrap();
    close("eps.first_eos", &found, golden.get("eps.first_eos"), EPS);
}

#[test]
fn golden_prompts_without_the_new_word_are_encoded_bit_for_bit_as_before() {
    let (Some(golden), Some(word), Some(tiny)) = (expected(), word(), tiny()) else { return };
    let (tokenizers, encoders) = taught(tiny, &word);
    let plain = prompts(&golden, "prompts").into_iter().find(|prompt| !prompt.contains(TOKEN)).unwrap();
    let (ids, ids_2) = tokenizers.encode(&[&plain]).unwrap();
    let (found, expected) = (encoders.forward(&ids, &ids_2).unwrap(), tiny.encode(&[&plain]));
    let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(numbers(&found.prompt_embeds), numbers(&expected.prompt_embeds));
    assert_eq!(numbers(&found.pooled), numbers(&expected.pooled));
}
