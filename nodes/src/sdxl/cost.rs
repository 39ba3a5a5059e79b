//! What a pass through a network takes, from the shapes of its weights and of its latents alone.
//!
//! A multiplication and an addition are two operations. Counted are the products with weights and those of attention,
//! which are all but a hundredth of the work; norms, activations and sums are not.
//!
//! ```text
//! weight      2 · elements · positions     positions: the pixels, tokens or vectors that it is applied to
//! attention   4 · tokens · tokens_seen · d     scores, and their product with the values
//! ```
//!
//! How many positions a weight has is in its name: a level of the denoiser has half of the rows and columns of the level
//! outside of it, and one of the autoencoder twice those of the level inside. For SDXL at 1024 x 1024 this gives the
//! 2.99 T multiply-accumulates that are told of its denoiser, and 0.39 T more for attention, which are often left out.
//!
//! Memory is modelled more coarsely, see [`unet_activations`] and [`vae_activations`].

use super::config::{UNetConfig, VaeConfig};
use crate::ops::{PATCHES, SCORES};

/// Rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Grid {
    fn positions(self) -> f64 {
        self.h as f64 * self.w as f64
    }

    /// Halved so many times, as convolutions of stride 2 with a pixel of padding halve.
    fn halved(self, times: usize) -> Self {
        let half = |n: usize| (0..times).fold(n, |n, _| n.div_ceil(2));
        Self { h: half(self.h), w: half(self.w) }
    }

    fn doubled(self, times: usize) -> Self {
        Self { h: self.h << times, w: self.w << times }
    }
}

/// Where a weight is applied.
struct Place {
    positions: f64,
    /// For the queries of an attention: how many tokens they look at.
    seen: Option<f64>,
}

impl Place {
    fn at(positions: f64) -> Self {
        Self { positions, seen: None }
    }
}

/// The operations of weights, each in its place.
fn operations<'a>(
    weights: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    place: impl Fn(&str) -> Option<Place>,
) -> Operations {
    let mut total = Operations::default();
    for (name, shape) in weights {
        let Some(name) = name.strip_suffix(".weight").filter(|_| shape.len() > 1) else { continue };
        let Some(Place { positions, seen }) = place(name) else { continue };
        total.products += 2.0 * positions * shape.iter().map(|&size| size as f64).product::<f64>();
        total.attention += 4.0 * positions * seen.unwrap_or(0.0) * shape[0] as f64;
    }
    total
}

/// Operations by what is multiplied.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Operations {
    products: f64,
    attention: f64,
}

impl Operations {
    fn all(self) -> f64 {
        self.products + self.attention
    }
}

/// The level that a module's name says, from `down_blocks.1.resnets.0` or its like.
fn level_of(name: &str) -> usize {
    name.split('.').nth(1).and_then(|level| level.parse().ok()).unwrap_or_default()
}

/// The operations of the denoiser with one sample of latents and a text of so many tokens. `levels` are those of its
/// configuration, `weights` have diffusers' names.
pub fn unet<'a>(
    weights: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    levels: usize,
    latents: Grid,
    text: usize,
) -> f64 {
    unet_operations(weights, levels, latents, text).all()
}

fn unet_operations<'a>(
    weights: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    levels: usize,
    latents: Grid,
    text: usize,
) -> Operations {
    let text = text as f64;
    operations(weights, |name| {
        let innermost = levels.saturating_sub(1);
        let level = match name.split('.').next()? {
            "down_blocks" => level_of(name) + usize::from(name.contains(".downsamplers.")),
            "up_blocks" => {
                let mirrored = innermost.saturating_sub(level_of(name));
                mirrored.saturating_sub(usize::from(name.contains(".upsamplers.")))
            }
            "mid_block" => innermost,
            "conv_in" | "conv_out" => 0,
            _ => return Some(Place::at(1.0)), // embeddings of time and size
        };
        let tokens = latents.halved(level).positions();
        Some(match name {
            _ if name.ends_with(".time_emb_proj") => Place::at(1.0),
            _ if name.ends_with(".attn2.to_k") || name.ends_with(".attn2.to_v") => Place::at(text),
            _ if name.ends_with(".attn1.to_q") => Place { positions: tokens, seen: Some(tokens) },
            _ if name.ends_with(".attn2.to_q") => Place { positions: tokens, seen: Some(text) },
            _ => Place::at(tokens),
        })
    })
}

/// The operations of the autoencoder for one picture with latents of a size, in one of the two directions.
pub fn vae<'a>(
    weights: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    levels: usize,
    latents: Grid,
    half: Half,
) -> f64 {
    let (outermost, [network, beside]) = (levels.saturating_sub(1), half.names());
    let place = |name: &str| {
        let Some(name) = name.strip_prefix(network) else {
            return (name == beside).then(|| Place::at(latents.positions()));
        };
        let doubled = match name.split('.').next()? {
            "up_blocks" => level_of(name) + usize::from(name.contains(".upsamplers.")),
            "down_blocks" => {
                outermost.saturating_sub(level_of(name) + usize::from(name.contains(".downsamplers.")))
            }
            "conv_in" if half == Half::Encoder => outermost,
            "conv_out" if half == Half::Decoder => outermost,
            _ => 0,
        };
        let positions = latents.doubled(doubled).positions();
        Some(Place { positions, seen: name.ends_with(".to_q").then_some(positions) })
    };
    operations(weights, place).all()
}

/// The two halves of an autoencoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// From pictures to latents.
    Encoder,
    /// From latents to pictures.
    Decoder,
}

impl Half {
    /// What its weights' names begin with, and the convolution beside it.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Encoder => ["encoder.", "quant_conv"],
            Self::Decoder => ["decoder.", "post_quant_conv"],
        }
    }
}

/// The operations of a text encoder that reads so many tokens at once.
pub fn text<'a>(weights: impl IntoIterator<Item = (&'a str, &'a [usize])>, tokens: usize) -> f64 {
    let tokens = tokens as f64;
    let place = |name: &str| match name {
        "text_projection" => Some(Place::at(1.0)),
        _ if name.contains(".embeddings.") => None, // looked up
        _ => Some(Place { positions: tokens, seen: name.ends_with(".q_proj").then_some(tokens) }),
    };
    operations(weights, place).all()
}

/// The elements that a pass of the denoiser holds beside its weights, with `b` samples of latents.
///
/// They are every output that a level on the way up will read again, and the larger of two things in the level where
/// they are largest: six times the channels in a residual block (what comes from below and from aside, its norm, the
/// input of the second convolution, its norm, the output) with the patches of a convolution, or sixteen times the
/// channels in a transformer (its input, the queries, keys and values, eight for the feed-forward's gates and values and
/// four for their product) with three times the scores of a band of queries.
///
/// Measured: a guided DDIMSample of the embedded model at 512 x 512 takes at most 887 MiB of anonymous memory, 31 MiB of
/// which it also takes at 64 x 64; this says 820 MiB.
pub fn unet_activations(config: &UNetConfig, latents: Grid, b: usize) -> f64 {
    let b = b as f64;
    let levels = config.block_out_channels.iter().enumerate();
    let (mut skips, mut largest) = (0.0, 0f64);
    for (level, &channels) in levels {
        let (layers, positions) =
            (config.layers_per_block.at(level).unwrap_or(1), latents.halved(level).positions());
        let one = b * channels as f64 * positions;
        skips += one * (layers + 1) as f64;
        let patches = (3 * 3 * 2) as f64 * one;
        largest = largest.max(6.0 * one + patches.min(PATCHES as f64));
        let attends = |kinds: &[String]| kinds.get(level).is_some_and(|kind| kind.starts_with("CrossAttn"));
        if attends(&config.down_block_types) || level + 1 == config.block_out_channels.len() {
            let scores = b * config.heads(level) as f64 * positions * positions;
            largest = largest.max(16.0 * one + 3.0 * scores.min(SCORES as f64));
        }
    }
    skips + largest
}

/// The elements that a pass of the autoencoder holds beside its weights, with `b` pictures whose latents have a size.
///
/// They are those that its module tells of: the input of the outermost block, the input of its second convolution and
/// its output, with the patches of one convolution. For SDXL these are 2 KiB in each pixel, as measured there.
pub fn vae_activations(config: &VaeConfig, latents: Grid, b: usize) -> f64 {
    let channels = &config.block_out_channels;
    let outer = channels.first().copied().unwrap_or_default();
    let inner = channels.get(1).copied().unwrap_or(outer);
    let pixels = b as f64 * latents.doubled(channels.len().saturating_sub(1)).positions();
    let patches = (3 * 3 * inner) as f64 * pixels;
    (inner + 2 * outer) as f64 * pixels + patches.min(PATCHES as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: fn(usize) -> Grid = |n| Grid { h: n, w: n };

    /// The layers of SDXL base 1.0's denoiser, as PyTorch lists them.
    fn sdxl() -> Vec<(String, Vec<usize>)> {
        type Row = (String, String, Vec<usize>, u8, u32, u32);
        let file = crate::sdxl::testing::repository("tests/data/sdxl_layers.json");
        let mut said: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let rows: Vec<Row> = serde_json::from_value(said["layers"].take()).unwrap();
        rows.into_iter().map(|(name, _, shape, ..)| (format!("{name}.weight"), shape)).collect()
    }

    fn views(layers: &[(String, Vec<usize>)]) -> impl Iterator<Item = (&str, &[usize])> {
        layers.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))
    }

    #[test]
    fn a_small_denoiser_is_counted_by_hand() {
        let layers = [
            ("conv_in.weight", &[2, 4, 3, 3][..]),
            ("conv_in.bias", &[2]),
            ("time_embedding.linear_1.weight", &[8, 2]),
            ("down_blocks.0.resnets.0.time_emb_proj.weight", &[2, 8]),
            ("down_blocks.0.downsamplers.0.conv.weight", &[2, 2, 3, 3]),
            ("mid_block.attentions.0.norm.weight", &[2]),
            ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight", &[2, 2]),
            ("mid_block.attentions.0.transformer_blocks.0.attn2.to_q.weight", &[2, 2]),
            ("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", &[2, 5]),
            ("up_blocks.0.upsamplers.0.conv.weight", &[2, 2, 3, 3]),
            ("up_blocks.1.resnets.0.conv_shortcut.weight", &[2, 4, 1, 1]),
        ];
        // Latents of 5 x 3 have 15 pixels, and 3 x 2 on the level inside.
        let products = 72 * 15 + 16 + 16 + 36 * 6 + 4 * 6 + 4 * 6 + 10 * 7 + 36 * 15 + 8 * 15;
        let attention = 6 * 6 * 2 + 6 * 7 * 2;
        let counted = unet_operations(layers, 2, Grid { h: 5, w: 3 }, 7);
        assert_eq!(
            counted,
            Operations { products: 2.0 * f64::from(products), attention: 4.0 * f64::from(attention) }
        );
    }

    #[test]
    fn sdxl_at_its_own_size_takes_what_is_told_of_it() {
        let counted = unet_operations(views(&sdxl()), 3, SQUARE(128), 77);
        // 2.99 T multiply-accumulates, as counters of layers find them; three digits of it are known.
        assert!((counted.products / 2.0 / 2.99e12 - 1.0).abs() < 2e-3, "{counted:?}");
        // By hand: on 4096 tokens 10 blocks of 640 channels, on 1024 tokens 60 of 1280.
        let by_hand = |blocks: f64, tokens: f64, d: f64| blocks * 4.0 * tokens * d * (tokens + 77.0);
        assert_eq!(counted.attention, by_hand(10.0, 4096.0, 640.0) + by_hand(60.0, 1024.0, 1280.0));
    }

    #[test]
    fn twice_the_side_is_four_times_the_work_and_more_for_attention() {
        let [small, large] = [64, 128].map(|side| unet_operations(views(&sdxl()), 3, SQUARE(side), 77));
        // The text is as long as before, and its keys and values are a thirtieth of the smaller work.
        assert!((3.8..4.0).contains(&(large.products / small.products)), "{small:?} {large:?}");
        assert!(large.attention / small.attention > 12.0);
    }

    #[test]
    fn an_autoencoder_is_counted_by_hand_in_both_directions() {
        let layers = [
            ("decoder.conv_in.weight", &[2, 4, 3, 3][..]),
            ("decoder.mid_block.attentions.0.to_q.weight", &[2, 2]),
            ("decoder.up_blocks.0.upsamplers.0.conv.weight", &[2, 2, 3, 3]),
            ("decoder.conv_out.weight", &[3, 2, 3, 3]),
            ("post_quant_conv.weight", &[4, 4, 1, 1]),
            ("encoder.conv_in.weight", &[2, 3, 3, 3]),
            ("encoder.down_blocks.0.downsamplers.0.conv.weight", &[2, 2, 3, 3]),
            ("encoder.conv_out.weight", &[8, 2, 3, 3]),
            ("quant_conv.weight", &[8, 8, 1, 1]),
        ];
        let latents = Grid { h: 3, w: 2 };
        let decoder = 2 * (72 * 6 + 4 * 6 + 36 * 24 + 54 * 24 + 16 * 6) + 4 * 6 * 6 * 2;
        assert_eq!(vae(layers, 2, latents, Half::Decoder), f64::from(decoder));
        let encoder = 2 * (54 * 24 + 36 * 6 + 144 * 6 + 64 * 6);
        assert_eq!(vae(layers, 2, latents, Half::Encoder), f64::from(encoder));
    }

    #[test]
    fn a_text_encoder_is_counted_by_hand() {
        let layers = [
            ("text_model.embeddings.token_embedding.weight", &[1000, 4][..]),
            ("text_model.encoder.layers.0.self_attn.q_proj.weight", &[4, 4]),
            ("text_model.encoder.layers.0.mlp.fc1.weight", &[8, 4]),
            ("text_projection.weight", &[4, 4]),
        ];
        assert_eq!(text(layers, 7), f64::from(2 * (16 * 7 + 32 * 7 + 16) + 4 * 7 * 7 * 4));
    }
}
