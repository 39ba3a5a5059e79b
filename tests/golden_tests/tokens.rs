//! Text to ids. Ids are exact.

use std::path::Path;

use flow_nodes::sdxl::Tokenizer;
use serde_json::{Value, json};

use super::support::{file, json, repository};

fn ids(case: &Value, key: &str) -> Vec<u32> {
    serde_json::from_value(case[key].clone()).unwrap()
}

fn cases(set: &Value) -> &Vec<Value> {
    let cases = set["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    cases
}

/// A tokenizer's folder without its `tokenizer.json`.
fn classic(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

fn tiny_ids_agree(open: impl Fn(&Path) -> Tokenizer) {
    let (Some(set), Some(model)) = (json("tokens/tiny_tokens.json"), file("tiny-sdxl")) else { return };
    for (folder, key) in [("tokenizer", "ids"), ("tokenizer_2", "ids_2")] {
        let tokenizer = open(&model.join(folder));
        for case in cases(&set) {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), ids(case, key), "{folder}: {text:?}");
        }
    }
}

#[test]
fn golden_ids_of_the_tiny_vocabulary_come_from_tokenizer_json() {
    tiny_ids_agree(|folder| Tokenizer::open(folder).unwrap());
}

#[test]
fn golden_ids_of_the_tiny_vocabulary_come_from_vocab_and_merges() {
    tiny_ids_agree(|folder| Tokenizer::open(classic(folder).path()).unwrap());
}

#[test]
fn golden_ids_of_the_real_vocabulary() {
    let Some(set) = json("tokens/clip_tokens.json") else { return };
    let length = cases(&set)[0]["ids_2_padded"].as_array().unwrap().len();
    let open = |pad: &str| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["vocab.json", "merges.txt"] {
            std::fs::copy(repository().join("models/clip-vocab").join(name), folder.path().join(name))
                .unwrap();
        }
        let config = json!({ "model_max_length": length, "pad_token": pad });
        std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        Tokenizer::open(folder.path()).unwrap()
    };
    // how SDXL's two tokenizers pad
    let (first, second) = (open("<|endoftext|>"), open("!"));
    for case in cases(&set) {
        let text = case["text"].as_str().unwrap();
        assert_eq!(first.encode_unpadded(text).unwrap(), ids(case, "ids"), "{text:?}");
        assert_eq!(second.encode(text).unwrap(), ids(case, "ids_2_padded"), "{text:?}");
    }
}
