//! Textual inversion: a new word for prompts (Gal et al. 2022, arXiv 2208.01618).
//!
//! No weight of a model changes. A word brings vectors of its own for each text encoder, which stand behind the rows of
//! its table of tokens; the tokenizers learn the word's ids ([`Tokenizers::with_words`]).
//!
//! ```text
//! table' = [table; first]    [vocabulary + n, d1], and so for the second encoder
//! ids    = vocabulary .. vocabulary + n    for `<v>`, which is `<v> <v>_1 ..` in diffusers
//! ```
//!
//! Files are those of kohya's scripts, AUTOMATIC1111's web UI and ComfyUI: `clip_l` `[n, d1]` and `clip_g` `[n, d2]`.
//!
//! What the second encoder pools depends on its configuration
//! ([`pooled_position`](crate::sdxl::text_encoder::pooled_position)). SDXL's own says `eos_token_id: 2`, for which
//! transformers pools at the largest id; that is the end of the text until a new word with larger ids stands in it, and
//! then the word's last vector. Flow follows, so that its numbers are those of diffusers. AUTOMATIC1111's web UI and
//! ComfyUI pool at the end of the text; a folder whose `text_encoder_2/config.json` says `eos_token_id: 49407` does so
//! here too.
//!
//! Invariant: a prompt without a new word means exactly what it meant.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use flow_engine::{Problem, Result};
use half::f16;

use crate::sdxl::config::TextConfig;
use crate::sdxl::files::WeightFiles;
use crate::sdxl::{Checkpoint, Source, TextEncoder, TextEncoders, Tokenizers, Weights};

/// The vectors of the first and of the second text encoder.
const KEYS: [&str; 2] = ["clip_l", "clip_g"];
/// Where a file may say its own token (Stability AI's ModelSpec).
const TRIGGER: &str = "modelspec.trigger_phrase";
/// The longest token, in characters.
const LONGEST: usize = 80;
/// A text encoder's table of tokens.
const TABLE: &str = "text_model.embeddings.token_embedding.weight";

/// A new word for prompts.
#[derive(Debug, Clone)]
pub struct TextualInversion {
    token: String,
    /// `[n, d1]`, in float32 on the CPU.
    first: Tensor,
    /// `[n, d2]`, in float32 on the CPU.
    second: Tensor,
}

impl TextualInversion {
    /// A word from its vectors, `[n, d1]` and `[n, d2]`; one vector may be `[d]`.
    ///
    /// # Errors
    /// A token that no prompt can say, no vectors, unequally many for the two encoders, a NaN or an infinity.
    pub fn new(token: &str, first: &Tensor, second: &Tensor) -> Result<Self> {
        check_token(token)?;
        let [rows, _] = matched([first.dims(), second.dims()])?;
        let vectors = |name: &str, tensor: &Tensor| -> Result<Tensor> {
            let tensor = tensor.reshape((rows[0], ()))?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
            if tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_finite()) {
                return Ok(tensor);
            }
            let message = format!("`{name}` of the new word `{token}` holds a NaN or an infinity");
            Err(Problem::new(message).hint("its training diverged").into())
        };
        Ok(Self {
            token: token.to_owned(),
            first: vectors(KEYS[0], first)?,
            second: vectors(KEYS[1], second)?,
        })
    }

    /// Reads a file. Its word is `token`, or else what the file says of itself, or else the file's name without
    /// extension, as in AUTOMATIC1111's web UI and ComfyUI.
    ///
    /// # Errors
    /// A file that is damaged or is no textual inversion of SDXL; what [`Self::new`] refuses.
    pub fn open(file: &Path, token: Option<&str>) -> Result<Self> {
        let files = WeightFiles::open_file(file)?;
        Self::shapes(&files)?;
        let token = match token {
            Some(token) => token.to_owned(),
            None => token_of(file)?,
        };
        let problem = |cause: anyhow::Error| -> anyhow::Error {
            let hint = Problem::hint_of(&cause).map(ToOwned::to_owned);
            let problem = Problem::new(format!("`{}`: {cause:#}", file.display()));
            hint.into_iter().fold(problem, Problem::hint).into()
        };
        Self::new(&token, &files.read(KEYS[0])?, &files.read(KEYS[1])?).map_err(problem)
    }

    /// The shapes of both encoders' vectors, from a file's header alone.
    ///
    /// # Errors
    /// What is no textual inversion of SDXL, by what it is.
    pub fn shapes(files: &WeightFiles) -> Result<[[usize; 2]; 2], Problem> {
        let names: Vec<&str> = files.shapes().map(|(name, _)| name).collect();
        let file = files.path().display();
        if let [Some(first), Some(second)] = KEYS.map(|key| files.shape(key))
            && names.len() == KEYS.len()
        {
            return matched([first, second])
                .map_err(|problem| Problem::new(format!("`{file}` is damaged: {problem}")));
        }
        Err(foreign(&file.to_string(), files, &names))
    }

    /// What stands for it in a prompt.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// How many vectors it has for each encoder.
    pub fn vectors(&self) -> usize {
        self.first.dims()[0]
    }

    /// Features of a vector of the first and of the second encoder.
    pub fn widths(&self) -> [usize; 2] {
        [&self.first, &self.second].map(|vectors| vectors.dims()[1])
    }

    /// The tensors of its file.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        KEYS.map(str::to_owned).into_iter().zip([self.first.clone(), self.second.clone()]).collect()
    }

    /// What its file says of itself, so that it keeps its token under any name.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(TRIGGER.to_owned(), self.token.clone())])
    }

    /// Whether a model's text encoders can read it.
    ///
    /// # Errors
    /// Vectors of another width than the encoders'.
    pub fn fits(&self, encoders: &[TextConfig; 2]) -> Result<(), Problem> {
        let (has, wanted) = (self.widths(), [0, 1].map(|i: usize| encoders[i].hidden_size));
        if has == wanted {
            return Ok(());
        }
        let message = format!(
            "the new word `{}` has vectors of {} and {} features, but the model's text encoders take {} and {}",
            self.token, has[0], has[1], wanted[0], wanted[1]
        );
        Err(Problem::new(message).hint("it was trained for a model of another family or size"))
    }
}

/// Loads what reads prompts, with new words: `sources` are the weights of the two text encoders, in the order of
/// [`Part`](crate::sdxl::Part), whatever else is folded into them.
///
/// # Errors
/// Words that do not fit the model, [that its tokenizers cannot learn](Tokenizers::with_words), or two with one token.
pub fn load(
    checkpoint: &Checkpoint,
    sources: [&dyn Source; 2],
    inversions: &[&TextualInversion],
) -> Result<(Tokenizers, TextEncoders)> {
    let (configs, plain) = (checkpoint.text_configs(), checkpoint.tokenizers()?);
    inversions.iter().try_for_each(|inversion| inversion.fits(configs))?;
    let sizes = [plain.first.size(), plain.second.size()];
    let words: Vec<_> = inversions.iter().map(|inversion| (inversion.token(), inversion.vectors())).collect();
    let tokenizers = plain.with_words(&words)?;
    let encoder = |i: usize, rows: fn(&TextualInversion) -> &Tensor| {
        let projects = i == 1;
        if inversions.is_empty() {
            return TextEncoder::new(&configs[i], projects, &Weights::new(sources[i]));
        }
        let rows: Vec<&Tensor> = inversions.iter().map(|inversion| rows(inversion)).collect();
        let embedded = Embedded::new(sources[i], &configs[i], sizes[i], &rows)?;
        TextEncoder::new(embedded.config(), projects, &Weights::new(&embedded))
    };
    let (first, second) =
        (encoder(0, |inversion| &inversion.first)?, encoder(1, |inversion| &inversion.second)?);
    Ok((tokenizers, TextEncoders { first, second }))
}

/// A text encoder's weights, with new rows in its table of tokens.
pub struct Embedded<'a> {
    source: &'a dyn Source,
    /// `[n, d]`, for the ids from `start`.
    rows: Tensor,
    start: usize,
    vocab_size: usize,
    config: TextConfig,
}

impl<'a> Embedded<'a> {
    /// `rows` `[n, d]` each, one after the other, for the ids from `start`, the size of the tokenizer without them. Rows
    /// of a longer table that no id reaches are left out, as diffusers leaves them out.
    ///
    /// # Errors
    /// A table that is shorter than the tokenizer's vocabulary.
    pub fn new(source: &'a dyn Source, config: &TextConfig, start: usize, rows: &[&Tensor]) -> Result<Self> {
        let vocab_size = config.vocab_size;
        if start > vocab_size {
            let message = format!(
                "the tokenizer has {start} tokens, but the text encoder has {vocab_size} rows for them"
            );
            return Err(Problem::new(message)
                .hint("tokenizer and text encoder come from different models")
                .into());
        }
        let rows = Tensor::cat(rows, 0)?;
        let config = TextConfig { vocab_size: start + rows.dim(0)?, ..config.clone() };
        Ok(Self { source, rows, start, vocab_size, config })
    }

    /// The encoder's settings, with its new size.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }
}

impl Source for Embedded<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if name != TABLE {
            return self.source.tensor(name, shape);
        }
        let table = self.source.tensor(name, &[self.vocab_size, shape[1]])?; // [vocabulary, d]
        if table.dtype() == DType::F16 {
            let largest = self.rows.abs()?.max_all()?.to_scalar::<f32>()?;
            if largest > f16::MAX.to_f32() {
                let message = format!("a new word holds {largest}, too large for f16");
                return Err(Problem::new(message).hint("run it in bf16 or f32").into());
            }
        }
        let rows = self.rows.to_dtype(table.dtype())?.to_device(table.device())?;
        Ok(Tensor::cat(&[&table.narrow(0, 0, self.start)?, &rows], 0)?)
    }
}

/// Equally many vectors for both encoders, `[n, d]`.
fn matched(shapes: [&[usize]; 2]) -> Result<[[usize; 2]; 2], Problem> {
    let vectors = |i: usize| match *shapes[i] {
        [d] if d > 0 => Ok([1, d]),
        [n, d] if n > 0 && d > 0 => Ok([n, d]),
        _ => Err(Problem::new(format!(
            "`{}` is {:?}, expected vectors as rows, one at least",
            KEYS[i], shapes[i]
        ))),
    };
    let shapes = [vectors(0)?, vectors(1)?];
    if shapes[0][0] == shapes[1][0] {
        return Ok(shapes);
    }
    let ([first, second], [l, g]) = (KEYS, shapes.map(|[n, _]| n));
    Err(Problem::new(format!("`{first}` has {l} vectors and `{second}` {g}, expected equally many")))
}

/// What a file is that has not exactly the vectors of SDXL's encoders.
fn foreign(file: &str, files: &WeightFiles, names: &[&str]) -> Problem {
    let sdxl = "get the textual inversion for SDXL, with `clip_l` and `clip_g` in one file";
    let width = |name: &str| files.shape(name).and_then(|shape| shape.last().copied());
    let has = |name: &str| names.contains(&name);
    if has("emb_params") {
        let family = if width("emb_params") == Some(1024) { "SD 2.x" } else { "SD 1.x (such as SD 1.5)" };
        let message =
            format!("`{file}` is a textual inversion for {family}: it has one embedding, `emb_params`");
        return Problem::new(message).hint(sdxl);
    }
    if has("t5xxl") {
        return Problem::new(format!("`{file}` is a textual inversion for SD 3, with a third encoder"))
            .hint(sdxl);
    }
    for (there, absent) in [(KEYS[0], KEYS[1]), (KEYS[1], KEYS[0])] {
        if names == [there] {
            let message =
                format!("`{file}` has `{there}` but no `{absent}`: a word for one text encoder only");
            return Problem::new(message).hint(sdxl);
        }
    }
    let shown: Vec<String> = names.iter().take(8).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > shown.len() { " and more" } else { "" };
    let found = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
    let message = format!("`{file}` is no textual inversion for SDXL: it holds {found}{more}");
    match names {
        [name] => Problem::new(message).hint(format!(
            "diffusers writes one file for each encoder: save both in one, this one's `{name}` as `clip_l` or `clip_g`"
        )),
        _ => Problem::new(message).hint("such a file holds `clip_l` and `clip_g`, and nothing else"),
    }
}

/// The token that a file names, if it names one word, or the file's name.
fn token_of(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file)
        .map_err(|cause| Problem::new(format!("cannot read `{}`: {cause}", file.display())))?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)?;
    let said = header.metadata().as_ref().and_then(|metadata| metadata.get(TRIGGER));
    let word = said.filter(|phrase| !phrase.is_empty() && !phrase.contains([' ', ',']));
    Ok(word.cloned().unwrap_or_else(|| file.file_stem().unwrap_or_default().to_string_lossy().into_owned()))
}

/// Whether a prompt can say it.
fn check_token(token: &str) -> Result<(), Problem> {
    let length = token.chars().count();
    let wrong = match token {
        "" => "is empty".to_owned(),
        _ if token.trim() != token => "begins or ends with a space".to_owned(),
        _ if length > LONGEST => format!("has {length} characters, expected at most {LONGEST}"),
        _ if token.contains(char::is_control) => "holds a control character".to_owned(),
        _ if token.contains(['(', ')', '[', ']']) => "has brackets, which weigh words in a prompt".to_owned(),
        _ => return Ok(()),
    };
    let shown: String = token.chars().take(LONGEST).collect();
    Err(Problem::new(format!("the token {shown:?} of a new word {wrong}"))
        .hint("name another, such as `<toy>`; without one it is the file's name"))
}

#[cfg(test)]
mod tests {
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
}
