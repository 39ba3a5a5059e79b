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

use crate::ops::Weight;
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
        Self::of_files(&files, &token)
    }

    /// The word `token` with the vectors of a file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_files(files: &WeightFiles, token: &str) -> Result<Self> {
        Self::shapes(files)?;
        let problem = |cause: anyhow::Error| -> anyhow::Error {
            let hint = Problem::hint_of(&cause).map(ToOwned::to_owned);
            let problem = Problem::new(format!("`{}`: {cause:#}", files.path().display()));
            hint.into_iter().fold(problem, Problem::hint).into()
        };
        Self::new(token, &files.read(KEYS[0])?, &files.read(KEYS[1])?).map_err(problem)
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

    fn weight(&self, name: &str, shape: &[usize]) -> Result<Weight> {
        self.source.weight(name, shape)
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
#[path = "textual_inversion_tests.rs"]
mod tests;
