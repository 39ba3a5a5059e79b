//! What a picture is to show: encoded prompts on a wire.
//!
//! A prompt is taken apart into words and weights ([`emphasis`]), the words become chunks of tokens, and the chunks
//! become features ([`encode`]).

pub mod emphasis;
pub mod encode;
#[cfg(test)]
mod kept_tests;
mod stored;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use flow_engine::{Check, Cx, Digest, Problem, Result, Settings, StoredFile, Value};
use serde::{Deserialize, Serialize};

use crate::kept::{Item, Kept, Key, Size};
use crate::model::Model;
use crate::sample::guidance::TimeIds;
use crate::sdxl::TextEmbeds;

/// An encoded prompt and what to stay away from.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// What to show, batch 1.
    pub positive: TextEmbeds,
    /// What not to show, batch 1, with as many tokens.
    pub negative: TextEmbeds,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt, if there was one.
    pub negative_prompt: Option<String>,
    /// What the denoiser is told of sizes.
    pub sizes: Sizes,
    digest: Digest,
}

/// What the denoiser is told about the picture's size, where that is not the size to draw (Podell et al. 2023, arXiv
/// 2307.01952, section 2.2); in pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Height and width of the photo before it was scaled; the picture's own if absent.
    pub original: Option<[usize; 2]>,
    /// Rows and columns cut off above and to the left.
    pub crop: [usize; 2],
    /// Height and width after scaling and cropping; the picture's own if absent.
    pub target: Option<[usize; 2]>,
}

/// What to encode.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// What to show.
    pub prompt: &'a str,
    /// What not to show.
    pub negative_prompt: Option<&'a str>,
    /// Whether what one chunk does not hold is cut off, with a warning.
    pub truncate: bool,
    /// Blocks of the text encoders to skip before the last one.
    pub clip_skip: usize,
    /// What the denoiser is told of sizes.
    pub sizes: Sizes,
}

impl Value for Conditioning {
    const TYPE: &'static str = "Conditioning";

    fn digest(&self) -> Digest {
        self.digest
    }

    fn to_files(&self) -> Result<Option<Vec<StoredFile<'_>>>> {
        stored::to_files(self).map(Some)
    }

    fn from_files(files: Vec<StoredFile<'static>>) -> Result<Self> {
        stored::from_files(files)
    }
}

impl Conditioning {
    /// Encodes a prompt with a model's text encoders, as diffusers' SDXL pipeline does: no negative
    /// prompt is zeros where the model says so, and an empty one is the encoded empty text.
    pub fn encode(model: &Model, prompt: &str, negative_prompt: Option<&str>, cx: &Cx<'_>) -> Result<Self> {
        Request { prompt, negative_prompt, ..Request::default() }.encode(model, cx)
    }

    /// What a denoiser that draws `height` by `width` pixels is told of sizes.
    pub fn time_ids(&self, height: usize, width: usize) -> TimeIds {
        let Sizes { original, crop, target } = self.sizes;
        let size = |size: Option<[usize; 2]>| size.map_or((height, width), <(usize, usize)>::from);
        TimeIds { original: size(original), crop: crop.into(), target: size(target) }
    }

    /// The same on a device, where it may be already.
    ///
    /// # Errors
    /// A device without room.
    pub fn on(self: Arc<Self>, device: &Device) -> Result<Arc<Self>> {
        if self.positive.pooled.device().same_device(device) {
            return Ok(self);
        }
        let (positive, negative) = (self.positive.to_device(device)?, self.negative.to_device(device)?);
        Ok(Arc::new(Self { positive, negative, ..Self::clone(&self) }))
    }

    /// The width of the features, which a model's denoiser must take.
    pub fn width(&self) -> Result<usize> {
        Ok(self.positive.prompt_embeds.dim(2)?)
    }
}

impl Request<'_> {
    /// Encodes it with a model's text encoders; see [`encode`]. It is kept for others who ask the same of encoders with
    /// the same weights, and its warnings are told to each.
    pub fn encode(&self, model: &Model, cx: &Cx<'_>) -> Result<Conditioning> {
        let kept = cx.shared::<Kept>().get_or_make(self.item(model, cx.settings()), cx, || {
            let (text, mut warnings) = (model.text(cx)?, Vec::new());
            let zeros = model.checkpoint().index().force_zeros_for_empty_prompt;
            let (positive, negative) = encode::both(&text, self, zeros, &mut warnings)?;
            let size = Size(positive.size_in_bytes() + negative.size_in_bytes());
            Ok(((self.encoded(positive, negative)?, warnings), size))
        })?;
        let (conditioning, warnings) = &*kept;
        warnings.iter().for_each(|warning| cx.warn(&warning.message, Some(warning.hint.to_owned())));
        Ok(conditioning.clone())
    }

    /// What is kept of it: of no size to speak of.
    fn item(&self, model: &Model, settings: Settings) -> Item {
        let said = format!("{self:?}");
        let recipe = Digest::of_parts([&model.text_recipe().as_bytes()[..], said.as_bytes()]);
        let what = format!("prompt {:?} of {} ({})", beginning(self.prompt), model.name(), settings.dtype);
        Item { key: Key { sort: "prompt", recipe, settings }, what, room: Size(0) }
    }

    /// What it is encoded as.
    fn encoded(&self, positive: TextEmbeds, negative: TextEmbeds) -> Result<Conditioning> {
        Ok(Conditioning {
            digest: digest(&positive, &negative, self)?,
            positive,
            negative,
            prompt: self.prompt.to_owned(),
            negative_prompt: self.negative_prompt.map(ToOwned::to_owned),
            sizes: self.sizes,
        })
    }
}

/// As much of a prompt as tells it from most others.
fn beginning(prompt: &str) -> Cow<'_, str> {
    const LONGEST: usize = 48;
    match prompt.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", prompt[..end].trim_end()).into(),
        None => prompt.into(),
    }
}

/// How many prompts a model's text encoders read for one with this negative prompt.
pub fn prompts(negative_prompt: Option<&str>, model: &Model) -> usize {
    let is_read = negative_prompt.is_some() || !model.checkpoint().index().force_zeros_for_empty_prompt;
    1 + usize::from(is_read)
}

/// Reports what is wrong with a node's `prompt` and `negative_prompt`, at their places.
pub fn check_prompts(prompt: Option<&str>, negative_prompt: Option<&str>, cx: &mut Check<'_>) {
    for (field, text) in [("prompt", prompt), ("negative_prompt", negative_prompt)] {
        if let Some(Err(problem)) = text.map(emphasis::parse) {
            cx.problem_with(field, problem);
        }
    }
}

/// Reports a `clip_skip` that a model's text encoders have too few blocks for.
pub fn check_clip_skip(clip_skip: usize, model: &Model, cx: &mut Check<'_>) {
    let blocks = model.checkpoint().text_configs().iter().map(|config| config.num_hidden_layers);
    let fewest = blocks.min().unwrap_or_default();
    if clip_skip >= fewest {
        let message = format!("`clip_skip` is {clip_skip}, but a text encoder has {fewest} blocks");
        let most = fewest.saturating_sub(1);
        cx.problem_with("clip_skip", Problem::new(message).hint(format!("write at most {most}")));
    }
}

/// The digest of features (shapes and values), sizes and words: pictures carry the words that they were made from,
/// even where other words have the same features.
fn digest(positive: &TextEmbeds, negative: &TextEmbeds, request: &Request<'_>) -> Result<Digest> {
    let Request { prompt, negative_prompt, sizes, .. } = request;
    let mut parts = vec![format!("{sizes:?} {prompt:?} {negative_prompt:?}").into_bytes()];
    for tensor in [positive, negative].into_iter().flat_map(|text| [&text.prompt_embeds, &text.pooled]) {
        parts.push(format!("{:?}", tensor.dims()).into_bytes());
        parts.push(bytes(tensor)?);
    }
    Ok(Digest::of_parts(parts.iter().map(Vec::as_slice)))
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}
