//! What a picture is to show: encoded prompts on a wire.

use candle_core::{DType, Tensor};
use flow_engine::{Cx, Digest, Result, Value};

use crate::model::Model;
use crate::sdxl::TextEmbeds;

/// An encoded prompt and what to stay away from.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// What to show, batch 1.
    pub positive: TextEmbeds,
    /// What not to show, batch 1.
    pub negative: TextEmbeds,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt, if there was one.
    pub negative_prompt: Option<String>,
    digest: Digest,
}

impl Value for Conditioning {
    const TYPE: &'static str = "Conditioning";

    fn digest(&self) -> Digest {
        self.digest
    }
}

impl Conditioning {
    /// Encodes a prompt with a model's text encoders, as diffusers' SDXL pipeline does: no negative
    /// prompt is zeros where the model says so, and an empty one is the encoded empty text.
    pub fn encode(model: &Model, prompt: &str, negative_prompt: Option<&str>, cx: &Cx<'_>) -> Result<Self> {
        let text = model.text(cx)?;
        let embed = |prompt: &str| -> Result<TextEmbeds> {
            let (ids, ids_2) = text.tokenizers.encode(&[prompt])?;
            text.encoders.forward(&ids, &ids_2)
        };
        let positive = embed(prompt)?;
        let negative = match negative_prompt {
            None if model.checkpoint().index().force_zeros_for_empty_prompt => positive.zeros_like()?,
            negative_prompt => embed(negative_prompt.unwrap_or_default())?,
        };
        let digest =
            digest([&positive.prompt_embeds, &positive.pooled, &negative.prompt_embeds, &negative.pooled])?;
        let negative_prompt = negative_prompt.map(ToOwned::to_owned);
        Ok(Self { positive, negative, prompt: prompt.to_owned(), negative_prompt, digest })
    }

    /// The width of the features, which a model's denoiser must take.
    pub fn width(&self) -> Result<usize> {
        Ok(self.positive.prompt_embeds.dim(2)?)
    }
}

/// The digest of tensors: their shapes and values.
fn digest(tensors: [&Tensor; 4]) -> Result<Digest> {
    let mut parts = Vec::with_capacity(2 * tensors.len());
    for tensor in tensors {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        parts.push(format!("{:?}", tensor.dims()).into_bytes());
        parts.push(values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }
    Ok(Digest::of_parts(parts.iter().map(Vec::as_slice)))
}
