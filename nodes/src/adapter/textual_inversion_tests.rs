//! What is refused, and what a model with new words loads.

use std::collections::HashMap;

use super::*;
use crate::sdxl::{Compute, Part};

/// A deterministic `[n, d]`, of the size that rows of a table have.
fn vectors(n: usize, d: usize, salt: usize) -> Tensor {
    let value = |i: usize| ((i * 37 + salt * 11) % 101) as f32 / 50.0 - 1.0;
    Tensor::from_vec((0..n * d).map(value).collect(), (n, d), &Device::Cpu).unwrap()
}

fn mini() -> Checkpoint {
    Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini-sdxl")).unwrap()
}

fn word(checkpoint: &Checkpoint, token: &str, n: usize) -> TextualInversion {
    let [first, second] = checkpoint.text_configs();
    let (first, second) = (vectors(n, first.hidden_size, 1), vectors(n, second.hidden_size, 2));
    TextualInversion::new(token, &first, &second).unwrap()
}

fn taught(checkpoint: &Checkpoint, words: &[&TextualInversion]) -> Result<(Tokenizers, TextEncoders)> {
    let compute = Compute::cpu();
    let sources = [Part::TextEncoder, Part::TextEncoder2].map(|part| checkpoint.source(part, &compute));
    load(checkpoint, [&sources[0], &sources[1]], words)
}

/// What a file with these tensors is refused with, without the file's name and extension.
fn refused(name: &str, tensors: &[(&str, Tensor)]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("{name}.safetensors"));
    let tensors: HashMap<String, Tensor> =
        tensors.iter().map(|(key, tensor)| ((*key).to_owned(), tensor.clone())).collect();
    candle_core::safetensors::save(&tensors, &file).unwrap();
    let error = TextualInversion::open(&file, None).unwrap_err();
    let hint = Problem::hint_of(&error).unwrap_or_default().to_owned();
    (format!("{error:#}").replace(&file.display().to_string(), name), hint)
}

/// Of the second encoder.
fn table_shape(checkpoint: &Checkpoint) -> [usize; 2] {
    let config = &checkpoint.text_configs()[1];
    [config.vocab_size, config.hidden_size]
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_file_that_is_something_else_is_called_by_its_name() {
    let one = |d| vectors(1, d, 0);
    let cases: [(&[(&str, Tensor)], &str); 7] = [
        (
            &[("emb_params", one(768))],
            "is a textual inversion for SD 1.x (such as SD 1.5): it has one embedding",
        ),
        (&[("emb_params", one(1024))], "is a textual inversion for SD 2.x"),
        (&[("clip_l", one(768))], "has `clip_l` but no `clip_g`"),
        (&[("clip_g", one(1280))], "has `clip_g` but no `clip_l`"),
        (
            &[("clip_l", one(768)), ("clip_g", one(1280)), ("t5xxl", one(4096))],
            "is a textual inversion for SD 3",
        ),
        (&[("<v>", one(768))], "is no textual inversion for SDXL: it holds `<v>`"),
        (
            &[("lora_unet_a.alpha", one(1)), ("lora_unet_b.alpha", one(1))],
            "is no textual inversion for SDXL: it holds `lora_unet_a.alpha`, `lora_unet_b.alpha`",
        ),
    ];
    for (tensors, says) in cases {
        let (said, hint) = refused("toy", tensors);
        assert!(said.starts_with(&format!("`toy` {says}")), "{said}");
        assert!(hint.contains("clip_g"), "{hint}");
    }
}

#[test]
fn vectors_that_are_no_words_are_refused() {
    let (l, g) = (|n| vectors(n, 4, 0), |n| vectors(n, 6, 0));
    let empty = |d| Tensor::zeros((0, d), DType::F32, &Device::Cpu).unwrap();
    let infinite = Tensor::new(&[[1f32, f32::INFINITY, 0.0, 0.0]], &Device::Cpu).unwrap();
    let nan = Tensor::new(&[[1f32, f32::NAN, 0.0, 0.0]], &Device::Cpu).unwrap();
    let deep = vectors(2, 4, 0).unsqueeze(0).unwrap();
    for (first, second, says) in [
        (l(2), g(3), "`toy` is damaged: `clip_l` has 2 vectors and `clip_g` 3"),
        (empty(4), empty(6), "`toy` is damaged: `clip_l` is [0, 4], expected vectors as rows"),
        (deep, g(2), "`toy` is damaged: `clip_l` is [1, 2, 4]"),
        (infinite.clone(), g(1), "`clip_l` in `toy` holds a NaN or an infinity"),
        (nan.clone(), g(1), "`clip_l` in `toy` holds a NaN or an infinity"),
    ] {
        let (said, _) = refused("toy", &[("clip_l", first), ("clip_g", second)]);
        assert!(said.starts_with(says), "{said}");
    }
    for spoiled in [infinite, nan] {
        let said = TextualInversion::new("<v>", &spoiled, &g(1)).unwrap_err().to_string();
        assert_eq!(said, "`clip_l` of the new word `<v>` holds a NaN or an infinity");
    }
}

#[test]
fn a_token_that_no_prompt_can_say_is_refused() {
    let long = "v".repeat(81);
    for (token, says) in [
        ("", "is empty"),
        (" v", "begins or ends with a space"),
        ("v\n", "begins or ends with a space"),
        ("a\u{7}b", "holds a control character"),
        ("[V]", "has brackets"),
        ("toy (1)", "has brackets"),
        (long.as_str(), "has 81 characters, expected at most 80"),
    ] {
        let said = TextualInversion::new(token, &vectors(1, 4, 0), &vectors(1, 6, 0)).unwrap_err();
        assert!(said.to_string().contains(says), "{said}");
    }
    let (said, hint) = refused("toy (1)", &[("clip_l", vectors(1, 4, 0)), ("clip_g", vectors(1, 6, 0))]);
    assert!(said.starts_with("`toy (1)`: the token \"toy (1)\" of a new word has brackets"), "{said}");
    assert!(hint.contains("<toy>"), "{hint}");
}

#[test]
fn a_word_is_called_by_the_node_or_by_its_metadata_or_by_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my-toy.safetensors");
    let inversion = TextualInversion::new("<v>", &vectors(2, 4, 0), &vectors(2, 6, 0)).unwrap();
    let save = |metadata: Option<BTreeMap<String, String>>| {
        let metadata = metadata.map(|m| m.into_iter().collect());
        safetensors::serialize_to_file(inversion.tensors(), metadata, &file).unwrap();
    };
    let token = |given| TextualInversion::open(&file, given).unwrap().token().to_owned();
    save(None);
    assert_eq!((token(None), token(Some("<toy>"))), ("my-toy".into(), "<toy>".into()));
    save(Some(inversion.metadata()));
    assert_eq!((token(None), token(Some("<toy>"))), ("<v>".into(), "<toy>".into()));
    save(Some(BTreeMap::from([(TRIGGER.to_owned(), "a photo of a toy".to_owned())])));
    assert_eq!(token(None), "my-toy");

    let read = TextualInversion::open(&file, None).unwrap();
    assert_eq!((read.vectors(), read.widths()), (2, [4, 6]));
    for (saved, read) in inversion.tensors().values().zip(read.tensors().values()) {
        assert_eq!(numbers(saved), numbers(read));
    }
}

#[test]
fn a_single_vector_may_stand_alone_and_half_precision_is_widened() {
    let (first, second) = (vectors(1, 4, 0).squeeze(0).unwrap(), vectors(1, 6, 0).to_dtype(DType::F16));
    let inversion = TextualInversion::new("<v>", &first, &second.unwrap()).unwrap();
    assert_eq!((inversion.vectors(), inversion.widths()), (1, [4, 6]));
    assert!(inversion.tensors().values().all(|tensor| tensor.dtype() == DType::F32));
}

#[test]
fn vectors_that_do_not_fit_the_model_are_refused_with_both_widths() {
    let [first, second] = mini().text_configs().clone().map(|config| config.hidden_size);
    let other = TextualInversion::new("<v>", &vectors(1, 768, 0), &vectors(1, 1280, 0)).unwrap();
    let said = taught(&mini(), &[&other]).unwrap_err().to_string();
    let expected = format!(
        "the new word `<v>` has vectors of 768 and 1280 features, \
         but the model's text encoders take {first} and {second}"
    );
    assert_eq!(said, expected);
}

#[test]
fn two_words_with_one_token_are_refused_and_one_that_the_vocabulary_has() {
    let model = mini();
    let (v, also_v, panda) = (word(&model, "<v>", 2), word(&model, "<v>", 1), word(&model, "panda", 1));
    let said = |words: &[&TextualInversion]| taught(&model, words).unwrap_err();
    assert!(said(&[&v, &also_v]).to_string().contains("already a token of another new word"));
    let known = said(&[&panda]);
    assert!(known.to_string().contains("already a token in the model's vocabulary"), "{known}");
    assert!(Problem::hint_of(&known).unwrap().contains("`<panda-1>`"));
}

#[test]
fn prompts_without_the_word_mean_exactly_what_they_meant() {
    let model = mini();
    let plain = (model.tokenizers().unwrap(), model.load_text_encoders(&Compute::cpu()).unwrap());
    let none = taught(&model, &[]).unwrap();
    let two = taught(&model, &[&word(&model, "<v>", 2), &word(&model, "<w>", 3)]).unwrap();
    for prompt in ["a photo of a panda on a beach!!!", ""] {
        let [expected, without, with] = [&plain, &none, &two].map(|(tokenizers, encoders)| {
            let (ids, ids_2) = tokenizers.encode(&[prompt]).unwrap();
            encoders.forward(&ids, &ids_2).unwrap()
        });
        for found in [without, with] {
            assert_eq!(numbers(&found.prompt_embeds), numbers(&expected.prompt_embeds));
            assert_eq!(numbers(&found.pooled), numbers(&expected.pooled));
        }
    }
}

#[test]
fn every_id_reads_the_row_of_its_own_vector() {
    let model = mini();
    let (v, w) = (word(&model, "<v>", 2), word(&model, "<w>", 1));
    let (tokenizers, encoders) = taught(&model, &[&v, &w]).unwrap();
    // What the encoder adds to a row, from the difference at a token whose row is known.
    let positions = {
        let plain = model.load_text_encoders(&Compute::cpu()).unwrap().second;
        let states = plain.forward(&[vec![0; 4]]).unwrap().hidden_states[0].squeeze(0).unwrap();
        let table = model.source(Part::TextEncoder2, &Compute::cpu()).tensor(TABLE, &table_shape(&model));
        states.broadcast_sub(&table.unwrap().narrow(0, 0, 1).unwrap()).unwrap()
    };
    let ids = tokenizers.second.encode("<w> <v>").unwrap()[..4].to_vec();
    let states = encoders.second.forward(&[ids]).unwrap();
    let found = (states.hidden_states[0].squeeze(0).unwrap() - positions).unwrap();
    let expected = Tensor::cat(&[&w.second, &v.second], 0).unwrap();
    let off = (found.narrow(0, 1, 3).unwrap() - expected).unwrap().abs().unwrap().max_all().unwrap();
    assert!(off.to_scalar::<f32>().unwrap() < 1e-5);
}

#[test]
fn rows_take_the_type_of_the_run_and_float16_must_hold_them() {
    let model = mini();
    let compute = Compute { device: Device::Cpu, dtype: DType::F16 };
    let source = model.source(Part::TextEncoder, &compute);
    let config = &model.text_configs()[0];
    let (n, d) = (config.vocab_size, config.hidden_size);
    let table = |rows: &Tensor, start: usize| {
        let embedded = Embedded::new(&source, config, start, &[rows])?;
        embedded.tensor(TABLE, &[embedded.config().vocab_size, d])
    };
    let rows = vectors(2, d, 3);
    let found = table(&rows, n).unwrap();
    assert_eq!((found.dims(), found.dtype()), ([n + 2, d].as_slice(), DType::F16));
    assert_eq!(table(&rows, n - 5).unwrap().dims(), [n - 3, d]);
    let large = table(&(rows.clone() * 1e6).unwrap(), n).unwrap_err().to_string();
    assert!(large.ends_with("too large for f16"), "{large}");
    let short = table(&rows, n + 1).unwrap_err().to_string();
    assert_eq!(
        short,
        format!("the tokenizer has {} tokens, but the text encoder has {n} rows for them", n + 1)
    );
}
