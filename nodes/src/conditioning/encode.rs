//! From words to features: chunks of tokens, each encoded on its own.
//!
//! A text encoder reads a fixed number of tokens, 77 in SDXL. A longer prompt is cut into chunks of two less; each gets
//! its own start, end and padding, and the features stand side by side along the tokens. The shorter of prompt and
//! negative prompt, and of the two tokenizers' cuts, is filled up with chunks of the empty text. The pooled vector is
//! the first chunk's. All this is the habit of AUTOMATIC1111's web UI and of ComfyUI; diffusers only cuts off.
//!
//! A token of weight `w` gets `empty + w (z - empty)`, where `z` are its features and `empty` those of the empty text in
//! the same place: ComfyUI's rule (`ClipTokenWeightEncoder`, `comfy/sd1_clip.py`). Weight 0 is as if nothing were said
//! there. The web UI instead multiplies `z` by `w` and rescales all features to their old mean, but the mean of SDXL's
//! features is too near 0 to divide by; its own settings say that SDXL is better off without. The pooled vector is
//! always that of the text without weights.

use candle_core::{DType, Tensor};
use flow_engine::{Problem, Result};

use super::Request;
use super::emphasis::{self, Span};
use crate::model::TextPart;
use crate::sdxl::text_encoder::TextOutput;
use crate::sdxl::{TextEmbeds, TextEncoder, Tokenizer, Word};

/// The features of some prompts, each of batch 1, all with as many tokens as the longest has.
///
/// # Errors
/// Brackets that do not close.
pub fn together(text: &TextPart, prompts: &[String]) -> Result<Vec<TextEmbeds>> {
    let chunked = prompts.iter().map(|prompt| Chunked::new(text, &emphasis::parse(prompt)?));
    let chunked = chunked.collect::<Result<Vec<_>>>()?;
    let count = chunked.iter().map(Chunked::count).max().unwrap_or(1);
    chunked.iter().map(|chunked| chunked.encode(text, count, 0)).collect()
}

/// The features of a request's prompt and of its negative one, with equally many tokens; without a negative prompt,
/// `zeros` tells whether zeros stand for it, or else the empty text. What a person should know of it goes to `warnings`.
pub(super) fn both(
    text: &TextPart,
    request: &Request<'_>,
    zeros: bool,
    warnings: &mut Vec<Warning>,
) -> Result<(TextEmbeds, TextEmbeds)> {
    let mut read = |field: &str, prompt: &str| -> Result<Chunked> {
        let mut chunked = Chunked::new(text, &emphasis::parse(prompt)?)?;
        if let Some(cut) = request.truncate.then(|| chunked.truncate()).flatten() {
            let message = format!("`{field}` is too long, and its end is cut off: `{}`", cut.trim());
            warnings.push(Warning { message, hint: "without `truncate` all of it is read, in chunks" });
        }
        Ok(chunked)
    };
    let encode = |chunked: &Chunked, count: usize| chunked.encode(text, count, request.clip_skip);
    let positive = read("prompt", request.prompt)?;
    if request.negative_prompt.is_none() && zeros {
        let positive = encode(&positive, positive.count())?;
        let negative = positive.zeros_like()?;
        return Ok((positive, negative));
    }
    let negative = read("negative_prompt", request.negative_prompt.unwrap_or_default())?;
    let count = positive.count().max(negative.count());
    Ok((encode(&positive, count)?, encode(&negative, count)?))
}

/// Something that a person should know of an encoded prompt.
#[derive(Debug, Clone)]
pub(super) struct Warning {
    pub(super) message: String,
    pub(super) hint: &'static str,
}

/// A prompt as both encoders will read it.
#[derive(Debug)]
pub(super) struct Chunked {
    /// Its words, without brackets.
    text: String,
    /// Each encoder's chunks, one at least.
    pub(super) chunks: [Vec<Chunk>; 2],
}

/// What an encoder reads at once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chunk {
    /// Start, words, end, padding.
    ids: Vec<u32>,
    /// How much each counts; all but words count 1.
    weights: Vec<f32>,
    /// Where in the text its words start, in bytes.
    start: usize,
}

impl Chunk {
    /// Whether any word counts more or less than plain text.
    fn is_weighed(&self) -> bool {
        self.weights.iter().any(|weight| *weight != 1.0)
    }
}

impl Chunked {
    pub(super) fn new(part: &TextPart, spans: &[Span]) -> Result<Self> {
        let tokenizers = [&part.tokenizers.first, &part.tokenizers.second];
        let [first, second] = tokenizers.map(|tokenizer| chunks(tokenizer, spans));
        let text = spans.iter().map(|span| span.text.as_str()).collect();
        Ok(Self { text, chunks: [first?, second?] })
    }

    pub(super) fn count(&self) -> usize {
        self.chunks.iter().map(Vec::len).max().unwrap_or_default()
    }

    /// Keeps the first chunks, and gives the text from where the first encoder to lose something loses it.
    fn truncate(&mut self) -> Option<&str> {
        let cut = self.chunks.iter().filter_map(|chunks| Some(chunks.get(1)?.start)).min();
        self.chunks.iter_mut().for_each(|chunks| chunks.truncate(1));
        cut.map(|start| &self.text[self.text.floor_char_boundary(start)..])
    }

    /// The features of `count` chunks, batch 1.
    pub(super) fn encode(&self, part: &TextPart, count: usize, clip_skip: usize) -> Result<TextEmbeds> {
        let sides = [
            Side { tokenizer: &part.tokenizers.first, encoder: &part.encoders.first, clip_skip },
            Side { tokenizer: &part.tokenizers.second, encoder: &part.encoders.second, clip_skip },
        ];
        let [(first, _), (second, pooled)] =
            [sides[0].encode(&self.chunks[0], count)?, sides[1].encode(&self.chunks[1], count)?];
        let pooled = pooled.projected.unwrap_or(pooled.pooled);
        Ok(TextEmbeds { prompt_embeds: Tensor::cat(&[first, second], 2)?, pooled })
    }
}

/// The chunks of one tokenizer.
///
/// Spans are cut into tokens one by one, so that a bracket also ends a word. The vectors of a new word stay together.
fn chunks(tokenizer: &Tokenizer, spans: &[Span]) -> Result<Vec<Chunk>> {
    let (mut words, mut offset) = (Vec::new(), 0);
    for Span { text, weight } in spans {
        let here = tokenizer.words(text)?.into_iter();
        words.extend(here.map(|word| (Word { start: offset + word.start, ..word }, *weight)));
        offset += text.len();
    }
    let room = tokenizer.room();
    if words.is_empty() {
        return Ok(vec![chunk(tokenizer, &[])]);
    }
    if room == 0 {
        return Err(
            Problem::new("the tokenizer leaves no room for words: its `model_max_length` is 2").into()
        );
    }
    let mut chunks: Vec<Vec<_>> = vec![Vec::new()];
    for word in words.chunk_by(|_, (next, _)| next.continues) {
        match chunks.last_mut().filter(|chunk| chunk.len() + word.len() <= room) {
            Some(chunk) => chunk.extend_from_slice(word),
            None => chunks.push(word.to_vec()),
        }
    }
    Ok(chunks.iter().map(|words| chunk(tokenizer, words)).collect())
}

fn chunk(tokenizer: &Tokenizer, words: &[(Word, f32)]) -> Chunk {
    let ids = tokenizer.framed(words.iter().map(|(word, _)| word.id));
    let mut weights = vec![1.0; ids.len()];
    weights.iter_mut().skip(1).zip(words).for_each(|(weight, (_, of_word))| *weight = *of_word);
    Chunk { ids, weights, start: words.first().map_or(0, |(word, _)| word.start) }
}

/// One text encoder and how it is read.
struct Side<'a> {
    tokenizer: &'a Tokenizer,
    encoder: &'a TextEncoder,
    clip_skip: usize,
}

impl Side<'_> {
    /// Features `[1, count * tokens, d]` of chunks filled up to `count`, and all that the encoder says of the first.
    fn encode(&self, chunks: &[Chunk], count: usize) -> Result<(Tensor, TextOutput)> {
        let is_wanted = chunks.len() < count || chunks.iter().any(Chunk::is_weighed);
        let empty = is_wanted.then(|| self.empty()).transpose()?;
        let first = self.read(&chunks[0])?;
        let mut features = vec![self.features(&chunks[0], &first, empty.as_ref())?];
        for chunk in &chunks[1..] {
            features.push(self.features(chunk, &self.read(chunk)?, empty.as_ref())?);
        }
        if let Some(empty) = empty.filter(|_| features.len() < count) {
            features.resize(count, empty);
        }
        match features.as_slice() {
            [only] => Ok((only.clone(), first)),
            features => Ok((Tensor::cat(features, 1)?, first)),
        }
    }

    fn read(&self, chunk: &Chunk) -> Result<TextOutput> {
        self.encoder.forward(std::slice::from_ref(&chunk.ids))
    }

    /// The features of the empty text, `[1, tokens, d]`.
    fn empty(&self) -> Result<Tensor> {
        Ok(self.read(&chunk(self.tokenizer, &[]))?.skipping(self.clip_skip)?.clone())
    }

    /// The features of a chunk with its weights, `[1, tokens, d]`; without weights, as the encoder gives them.
    fn features(&self, chunk: &Chunk, output: &TextOutput, empty: Option<&Tensor>) -> Result<Tensor> {
        let features = output.skipping(self.clip_skip)?;
        match empty.filter(|_| chunk.is_weighed()) {
            Some(empty) => weighted(features, empty, &chunk.weights),
            None => Ok(features.clone()),
        }
    }
}

/// `z + (w - 1)(z - empty)`, which leaves what counts 1 as it is: `z` and `empty` `[1, tokens, d]`, a weight per token.
fn weighted(z: &Tensor, empty: &Tensor, weights: &[f32]) -> Result<Tensor> {
    let wide = |x: &Tensor| x.to_dtype(DType::F32);
    let more: Vec<f32> = weights.iter().map(|weight| weight - 1.0).collect();
    let more = Tensor::from_vec(more, (1, weights.len(), 1), z.device())?;
    let change = (wide(z)? - wide(empty)?)?.broadcast_mul(&more)?;
    Ok((wide(z)? + change)?.to_dtype(z.dtype())?)
}
