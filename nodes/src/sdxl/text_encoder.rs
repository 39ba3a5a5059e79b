//! CLIP's text transformer, as SDXL uses it twice (Radford et al. 2021, arXiv 2103.00020; diffusers'
//! `StableDiffusionXLPipeline.encode_prompt`).
//!
//! A prompt becomes the two encoders' penultimate hidden states side by side, without the final norm, and one pooled
//! vector from the second alone.
//!
//! Nothing here knows text: ids come in.

use candle_core::{DType, Device, Tensor};
use flow_engine::{Problem, Result};

use super::clip_block::{ClipBlock, ClipSizes};
use super::config::TextConfig;
use super::weights::Weights;
use crate::ops::{LayerNorm, Linear, embedding};

/// What a prompt is to the denoiser.
#[derive(Debug, Clone)]
pub struct TextEmbeds {
    /// `[b, tokens, d]`: the hidden states of both encoders, the first one's features first.
    pub prompt_embeds: Tensor,
    /// `[b, p]`: the pooled text of the second encoder.
    pub pooled: Tensor,
}

impl TextEmbeds {
    /// What stands for no negative prompt, where the model says so: zeros.
    pub fn zeros_like(&self) -> Result<Self> {
        Ok(Self { prompt_embeds: self.prompt_embeds.zeros_like()?, pooled: self.pooled.zeros_like()? })
    }

    /// The same on a device.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let (prompt_embeds, pooled) = (self.prompt_embeds.to_device(device)?, self.pooled.to_device(device)?);
        Ok(Self { prompt_embeds, pooled })
    }

    /// The memory that it takes.
    pub fn size_in_bytes(&self) -> usize {
        let size = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        size(&self.prompt_embeds) + size(&self.pooled)
    }

    /// Both, one batch after the other.
    pub fn cat(batches: &[&Self]) -> Result<Self> {
        let each = |field: fn(&Self) -> &Tensor| {
            Tensor::cat(&batches.iter().map(|b| field(b)).collect::<Vec<_>>(), 0)
        };
        Ok(Self { prompt_embeds: each(|b| &b.prompt_embeds)?, pooled: each(|b| &b.pooled)? })
    }

    /// The prompt at `i` of the batch alone.
    pub fn sample(&self, i: usize) -> Result<Self> {
        let only = |x: &Tensor| x.narrow(0, i, 1)?.contiguous();
        Ok(Self { prompt_embeds: only(&self.prompt_embeds)?, pooled: only(&self.pooled)? })
    }

    /// One prompt, `n` times.
    pub fn repeat(&self, n: usize) -> Result<Self> {
        Self::cat(&vec![self; n])
    }
}

/// SDXL's two text encoders.
#[derive(Debug)]
pub struct TextEncoders {
    /// OpenAI's, without a projection.
    pub first: TextEncoder,
    /// OpenCLIP's, which also pools.
    pub second: TextEncoder,
}

impl TextEncoders {
    /// What prompts mean; ids `[b][tokens]` from each encoder's own tokenizer.
    ///
    /// # Errors
    /// Ids that are not in the vocabulary, texts longer than the encoder takes or of unequal length.
    pub fn forward(&self, ids: &[Vec<u32>], ids_2: &[Vec<u32>]) -> Result<TextEmbeds> {
        let (first, second) = (self.first.forward(ids)?, self.second.forward(ids_2)?);
        Ok(TextEmbeds {
            prompt_embeds: Tensor::cat(&[first.penultimate()?, second.penultimate()?], 2)?,
            pooled: second.projected.unwrap_or(second.pooled),
        })
    }
}

/// What one encoder makes of a batch of texts.
#[derive(Debug, Clone)]
pub struct TextOutput {
    /// The embeddings and then every block's output, `[b, tokens, d]` each.
    pub hidden_states: Vec<Tensor>,
    /// The last block's output through the final norm, `[b, tokens, d]`.
    pub last: Tensor,
    /// `last` at each text's end, `[b, d]`.
    pub pooled: Tensor,
    /// `pooled` through the projection, `[b, p]`, where there is one.
    pub projected: Option<Tensor>,
}

impl TextOutput {
    /// The input of the last block, `[b, tokens, d]`.
    pub fn penultimate(&self) -> Result<&Tensor> {
        self.skipping(0)
    }

    /// The input of an earlier block, `clip_skip` before the last one's, `[b, tokens, d]`: `hidden_states[-(clip_skip +
    /// 2)]`, as diffusers' SDXL pipelines count.
    ///
    /// # Errors
    /// Fewer blocks than that.
    pub fn skipping(&self, clip_skip: usize) -> Result<&Tensor> {
        let blocks = self.hidden_states.len().saturating_sub(1);
        let state = blocks.checked_sub(1).and_then(|last| last.checked_sub(clip_skip));
        let too_few = || format!("`clip_skip` is {clip_skip}, but the text encoder has {blocks} blocks");
        Ok(state.map(|i| &self.hidden_states[i]).ok_or_else(|| Problem::new(too_few()))?)
    }
}

/// One CLIP text transformer.
#[derive(Debug)]
pub struct TextEncoder {
    tokens: Tensor,
    positions: Tensor,
    blocks: Vec<ClipBlock>,
    norm: LayerNorm,
    projection: Option<Linear>,
    config: TextConfig,
    /// Vectors of tokens behind the table, `[n, d]`, that are being learned, and the first one's id.
    learned: Option<(u32, Tensor)>,
}

impl TextEncoder {
    /// Builds it from weights; `projects` says whether it ends in a `text_projection`.
    pub fn new(config: &TextConfig, projects: bool, w: &Weights<'_>) -> Result<Self> {
        let (d, model) = (config.hidden_size, w.at("text_model"));
        let embeddings = model.at("embeddings");
        let blocks =
            ClipBlock::all(&ClipSizes::of_text(config), config.num_hidden_layers, &model.at("encoder"));
        Ok(Self {
            tokens: embeddings.tensor("token_embedding.weight", &[config.vocab_size, d])?,
            positions: embeddings
                .tensor("position_embedding.weight", &[config.max_position_embeddings, d])?,
            blocks: blocks?,
            norm: model.layer_norm("final_layer_norm", d, config.layer_norm_eps)?,
            projection: projects
                .then(|| w.linear("text_projection", d, config.projection_dim, false))
                .transpose()?,
            config: config.clone(),
            learned: None,
        })
    }

    /// The same with vectors `[n, d]` for the ids from `start` on, which pass their gradient.
    #[must_use]
    pub fn learning(self, start: usize, vectors: &Tensor) -> Self {
        let count = vectors.dims()[0];
        let config = TextConfig { vocab_size: start + count, ..self.config };
        Self { config, learned: Some((start as u32, vectors.clone())), ..self }
    }

    /// The vectors of some ids of the table, `[n, d]`.
    ///
    /// # Errors
    /// An id behind the table.
    pub fn vectors_of(&self, ids: &[u32]) -> Result<Tensor> {
        embedding(&self.tokens, &Tensor::new(ids, self.tokens.device())?)
    }

    /// The standard deviation of the table's entries.
    ///
    /// # Errors
    /// None on a working device.
    pub fn table_deviation(&self) -> Result<f64> {
        let table = self.tokens.to_dtype(DType::F32)?;
        let mean = table.mean_all()?;
        let variance = table.broadcast_sub(&mean)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
        Ok(f64::from(variance).sqrt())
    }

    /// The vectors of ids, `[b, tokens, d]`.
    fn embed(&self, ids: &[Vec<u32>]) -> Result<Tensor> {
        let device = self.tokens.device();
        let Some((start, vectors)) = &self.learned else {
            return embedding(&self.tokens, &Tensor::new(ids.to_vec(), device)?);
        };
        let all: Vec<u32> = ids.iter().flatten().copied().collect();
        let known: Vec<u32> = all.iter().map(|&id| if id < *start { id } else { 0 }).collect();
        let is_known: Vec<f32> = all.iter().map(|&id| f32::from(u8::from(id < *start))).collect();
        let (n, d) = vectors.dims2()?;
        let chosen =
            all.iter().flat_map(|&id| (0..n as u32).map(move |row| f32::from(u8::from(id == start + row))));
        let chosen = Tensor::from_vec(chosen.collect::<Vec<f32>>(), (all.len(), n), device)?;
        let is_known = Tensor::from_vec(is_known, (all.len(), 1), device)?.to_dtype(self.tokens.dtype())?;
        let of_table = embedding(&self.tokens, &Tensor::new(known, device)?)?.broadcast_mul(&is_known)?;
        let of_words = chosen.matmul(vectors)?.to_dtype(of_table.dtype())?;
        Ok((of_table + of_words)?.reshape((ids.len(), (), d))?)
    }

    /// Features of every token.
    pub fn width(&self) -> usize {
        self.config.hidden_size
    }

    /// Ids `[b][tokens]`, each row padded to the same length.
    ///
    /// # Errors
    /// As [`TextEncoders::forward`].
    pub fn forward(&self, ids: &[Vec<u32>]) -> Result<TextOutput> {
        let tokens = self.check(ids)?;
        let mut x = self.embed(ids)?.broadcast_add(&self.positions.narrow(0, 0, tokens)?)?;
        let mask = causal_mask(tokens, &x)?;
        let mut hidden_states = vec![x.clone()];
        for block in &self.blocks {
            x = block.forward(&x, Some(&mask))?;
            hidden_states.push(x.clone());
        }

        let last = self.norm.forward(&x)?;
        let ends = ids.iter().enumerate().map(|(i, row)| {
            let end = pooled_position(row, self.config.eos_token_id);
            Ok(last.get(i)?.narrow(0, end, 1)?)
        });
        let pooled = Tensor::cat(&ends.collect::<Result<Vec<_>>>()?, 0)?;
        let projected = self.projection.as_ref().map(|layer| layer.forward(&pooled)).transpose()?;
        Ok(TextOutput { hidden_states, last, pooled, projected })
    }

    /// The length of the texts.
    fn check(&self, ids: &[Vec<u32>]) -> Result<usize> {
        let (most, vocabulary) = (self.config.max_position_embeddings, self.config.vocab_size);
        let tokens = ids.first().map_or(0, Vec::len);
        anyhow::ensure!(tokens > 0, "there is no text to encode");
        anyhow::ensure!(ids.iter().all(|row| row.len() == tokens), "the texts of a batch differ in length");
        if tokens > most {
            return Err(Problem::new(format!(
                "a text of {tokens} tokens, but the text encoder takes {most}"
            ))
            .into());
        }
        if let Some(id) = ids.iter().flatten().find(|&&id| id as usize >= vocabulary) {
            let message = format!("the token {id} is not among the text encoder's {vocabulary}");
            return Err(Problem::new(message)
                .hint("tokenizer and text encoder come from different models")
                .into());
        }
        Ok(tokens)
    }
}

/// Where a text's meaning is read off.
///
/// As transformers does: folders from before its fix say `eos_token_id: 2`, which is no token of theirs, and pool where
/// the id is **largest**; others where the end token first stands (at 0 if nowhere). They differ once tokens are added
/// behind the end token, as textual inversion does: the first rule then reads a new word's last vector.
pub fn pooled_position(ids: &[u32], eos_token_id: u32) -> usize {
    const LEGACY: u32 = 2;
    let wanted = if eos_token_id == LEGACY { ids.iter().copied().max().unwrap_or(0) } else { eos_token_id };
    ids.iter().position(|&id| id == wanted).unwrap_or(0)
}

/// `[tokens, tokens]`: 0 where a token may look, -inf at what comes after it.
fn causal_mask(tokens: usize, like: &Tensor) -> Result<Tensor> {
    let row = |i| (0..tokens).map(move |j| if j > i { f32::NEG_INFINITY } else { 0.0 });
    let mask: Vec<f32> = (0..tokens).flat_map(row).collect();
    Ok(Tensor::from_vec(mask, (tokens, tokens), like.device())?.to_dtype(match like.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    })?)
}

/// The usual names of tensors that transformers 5 saves without the module around them.
pub(crate) fn usual_name(name: &str) -> String {
    let is_bare =
        ["embeddings.", "encoder.", "final_layer_norm."].iter().any(|begin| name.starts_with(begin));
    if is_bare { format!("text_model.{name}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::pooled_position;

    #[test]
    fn texts_end_at_the_end_token_or_by_the_old_rule_at_the_largest_id() {
        let with_new_token = [998, 4, 1001, 7, 999, 999, 0];
        assert_eq!(pooled_position(&with_new_token, 999), 4);
        assert_eq!(pooled_position(&with_new_token, 2), 2);
        assert_eq!(pooled_position(&[998, 4, 999, 999], 2), 2);
        assert_eq!(pooled_position(&[1, 2, 3], 999), 0);
    }
}
