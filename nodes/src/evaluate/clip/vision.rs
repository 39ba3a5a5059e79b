//! CLIP's picture tower (Radford et al. 2021, arXiv 2103.00020; transformers' `CLIPVisionModel`).

use candle_core::Tensor;
use flow_engine::Result;
use serde::Deserialize;

use crate::ops::{LayerNorm, Linear, linear};
use crate::sdxl::clip_block::{ClipBlock, ClipSizes};
use crate::sdxl::config::TextActivation;
use crate::sdxl::weights::Weights;

/// `vision_config` of a CLIP model's `config.json`; what it leaves out is what transformers takes then.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Features of a patch.
    pub hidden_size: usize,
    /// Features inside a block's MLP.
    pub intermediate_size: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// Heads of every attention.
    pub num_attention_heads: usize,
    /// Side of the pictures, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// The MLP's activation.
    pub hidden_act: TextActivation,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            hidden_act: TextActivation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl VisionConfig {
    /// What no tower can be built of.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let (heads, width) = (self.num_attention_heads, self.hidden_size);
        if heads == 0 || !width.is_multiple_of(heads) {
            wrong.push(format!("{heads} heads do not divide {width} features"));
        }
        if self.patch_size == 0 || self.image_size < self.patch_size {
            wrong.push(format!("patches of {} pixels of pictures of {}", self.patch_size, self.image_size));
        }
        wrong
    }
}

/// The picture tower with its projection.
#[derive(Debug)]
pub struct VisionTower {
    class: Tensor,
    /// `[d, 3 p p]`: a convolution whose stride is its kernel is a linear layer on patches.
    patches: Tensor,
    positions: Tensor,
    before: LayerNorm,
    blocks: Vec<ClipBlock>,
    after: LayerNorm,
    projection: Linear,
    config: VisionConfig,
}

impl VisionTower {
    /// Builds it from weights; `projected` are the features of what it gives.
    ///
    /// # Errors
    /// What the weights' source says.
    pub fn new(config: &VisionConfig, projected: usize, w: &Weights<'_>) -> Result<Self> {
        let (d, eps, p) = (config.hidden_size, config.layer_norm_eps, config.patch_size);
        let (model, grid) = (w.at("vision_model"), config.image_size / p);
        let embeddings = model.at("embeddings");
        let sizes = ClipSizes {
            width: d,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            eps,
            activation: config.hidden_act,
        };
        Ok(Self {
            class: embeddings.tensor("class_embedding", &[d])?,
            patches: embeddings.tensor("patch_embedding.weight", &[d, 3, p, p])?.flatten_from(1)?,
            positions: embeddings.tensor("position_embedding.weight", &[grid * grid + 1, d])?,
            before: model.layer_norm("pre_layrnorm", d, eps)?, // so spelt in every file
            blocks: ClipBlock::all(&sizes, config.num_hidden_layers, &model.at("encoder"))?,
            after: model.layer_norm("post_layernorm", d, eps)?,
            projection: w.linear("visual_projection", d, projected, false)?,
            config: config.clone(),
        })
    }

    /// Pictures `[b, 3, side, side]` to features `[b, projected]`.
    ///
    /// # Errors
    /// Pictures of another side.
    pub fn forward(&self, pictures: &Tensor) -> Result<Tensor> {
        let (d, p) = (self.config.hidden_size, self.config.patch_size);
        let (b, _, side, _) = pictures.dims4()?;
        let (grid, used) = (side / p, side / p * p);
        let pictures = pictures.narrow(2, 0, used)?.narrow(3, 0, used)?;
        let pictures = pictures.to_dtype(self.patches.dtype())?.to_device(self.patches.device())?;
        let patches = pictures.reshape((b, 3, grid, p, grid, p))?.permute((0, 2, 4, 1, 3, 5))?;
        let patches = patches.contiguous()?.reshape((b, grid * grid, 3 * p * p))?;
        let patches = linear(&patches, &self.patches, None)?;
        let class = self.class.reshape((1, 1, d))?.broadcast_as((b, 1, d))?;
        let x = Tensor::cat(&[&class.contiguous()?, &patches], 1)?.broadcast_add(&self.positions)?;
        let mut x = self.before.forward(&x)?;
        for block in &self.blocks {
            x = block.forward(&x, None)?;
        }
        let class = x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
        self.projection.forward(&self.after.forward(&class)?)
    }
}
