//! The autoencoder: pictures to latents and back (diffusers' `AutoencoderKL`).
//!
//! It runs in float32. Latents here are always the **scaled** ones that the denoiser sees.
//!
//! Memory: every activation that is larger than a band is made in bands of rows with the statistics of the whole
//! picture, so nothing depends on where a band ends. What is whole in memory are a block's input, the input of its
//! second convolution and its output: for SDXL, 2 KiB per pixel of the picture (2 GiB at 1024 x 1024), and some
//! hundreds of MiB for a band. A picture that a gradient passes through is taken whole.

use candle_core::Tensor;
use flow_engine::{Problem, Result};

use super::config::VaeConfig;
use super::resnet::{ResnetBlock, ResnetConfig};
use super::trace::Trace;
use super::weights::Weights;
use crate::ops::{Conv2d, GroupNorm, Linear, attention, grow_conv, norm_silu_conv, shrink_conv};

/// Epsilon of every norm.
const EPS: f64 = 1e-6;
/// Bounds of the log variance, as diffusers' `DiagonalGaussianDistribution` has them.
const LOGVAR: (f64, f64) = (-30.0, 20.0);

/// The autoencoder.
#[derive(Debug)]
pub struct Vae {
    encoder: Encoder,
    quant: Option<Conv2d>,
    post_quant: Option<Conv2d>,
    decoder: Decoder,
    config: VaeConfig,
}

/// What the encoder says of a picture: a normal distribution over latents, before scaling.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// `[b, c, h, w]`.
    pub mean: Tensor,
    /// `[b, c, h, w]`, in -30..=20.
    pub logvar: Tensor,
}

impl Posterior {
    /// `mean + exp(logvar / 2) noise`, `noise` `[b, c, h, w]` standard normal.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        Ok((&self.mean + ((&self.logvar / 2.0)?.exp()? * noise)?)?)
    }
}

impl Vae {
    /// Builds it from weights.
    pub fn new(config: &VaeConfig, w: &Weights<'_>) -> Result<Self> {
        if config.block_out_channels.is_empty() {
            return Err(Problem::new("an autoencoder without levels").into());
        }
        let z = config.latent_channels;
        let pointwise =
            |name: &str, c: usize, wanted: bool| wanted.then(|| w.conv2d(name, (c, c), 1, 1, 0)).transpose();
        Ok(Self {
            encoder: Encoder::new(config, &w.at("encoder"))?,
            quant: pointwise("quant_conv", 2 * z, config.use_quant_conv)?,
            post_quant: pointwise("post_quant_conv", z, config.use_post_quant_conv)?,
            decoder: Decoder::new(config, &w.at("decoder"))?,
            config: config.clone(),
        })
    }

    /// Its settings.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// `image` `[b, 3, h, w]` in -1..=1 to a distribution over `[b, c, h / 8, w / 8]` (a smaller model may have
    /// fewer levels).
    ///
    /// # Errors
    /// A picture too small for the levels.
    pub fn encode(&self, image: &Tensor) -> Result<Posterior> {
        let image = image.to_dtype(self.encoder.conv_in.weight.dtype())?;
        let moments = through(self.quant.as_ref(), self.encoder.forward(&image)?)?;
        let halves = moments.chunk(2, 1)?;
        Ok(Posterior {
            mean: halves[0].contiguous()?,
            logvar: halves[1].contiguous()?.clamp(LOGVAR.0, LOGVAR.1)?,
        })
    }

    /// The encoder's latents to the denoiser's: shifted and scaled.
    pub fn scale(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(((latents - self.config.shift_factor.unwrap_or(0.0))? * self.config.scaling_factor)?)
    }

    /// Scaled `latents` `[b, c, h, w]` to pictures `[b, 3, 8 h, 8 w]`, about -1..=1 and not clamped.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let latents = latents.to_dtype(self.decoder.conv_in.weight.dtype())?;
        let z = ((latents / self.config.scaling_factor)? + self.config.shift_factor.unwrap_or(0.0))?;
        self.decoder.forward(&through(self.post_quant.as_ref(), z)?)
    }
}

/// The names of today for tensors of autoencoders from before diffusers 0.17.
pub(crate) fn todays_name(name: &str) -> String {
    if !name.contains(".attentions.") {
        return name.to_owned();
    }
    let renamed =
        [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")];
    renamed.iter().fold(name.to_owned(), |name, (old, new)| name.replace(old, new))
}

fn through(conv: Option<&Conv2d>, x: Tensor) -> Result<Tensor> {
    conv.map_or(Ok(x.clone()), |conv| conv.forward(&x))
}

fn resnet(config: &VaeConfig) -> ResnetConfig {
    ResnetConfig { groups: config.norm_num_groups, eps: EPS, time: None }
}

/// Residual blocks of one level and a convolution that changes the size.
#[derive(Debug)]
struct Level {
    resnets: Vec<ResnetBlock>,
    resize: Option<Conv2d>,
}

impl Level {
    fn new(
        config: &VaeConfig,
        layers: usize,
        (c_in, c): (usize, usize),
        resize: Option<Conv2d>,
        w: &Weights<'_>,
    ) -> Result<Self> {
        let resnets = (0..layers).map(|j| {
            let c_in = if j == 0 { c_in } else { c };
            ResnetBlock::new(resnet(config), c_in, c, &w.at(format!("resnets.{j}")))
        });
        Ok(Self { resnets: resnets.collect::<Result<_>>()?, resize })
    }

    /// Takes its input for its own, to let it go as soon as it is read.
    fn forward(&self, x: Tensor) -> Result<Tensor> {
        self.resnets.iter().try_fold(x, |x, block| block.forward(&x, None, &Trace::off()))
    }
}

#[derive(Debug)]
struct Encoder {
    conv_in: Conv2d,
    levels: Vec<Level>,
    mid: Mid,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    fn new(config: &VaeConfig, w: &Weights<'_>) -> Result<Self> {
        let (channels, last) = (&config.block_out_channels, config.block_out_channels.len() - 1);
        let levels = (0..=last).map(|i| {
            let (w, c) = (w.at(format!("down_blocks.{i}")), channels[i]);
            let shrink = (i < last).then(|| w.conv2d("downsamplers.0.conv", (c, c), 3, 2, 0)).transpose()?;
            Level::new(config, config.layers_per_block, (channels[i.saturating_sub(1)], c), shrink, &w)
        });
        Ok(Self {
            conv_in: w.conv2d("conv_in", (config.in_channels, channels[0]), 3, 1, 1)?,
            levels: levels.collect::<Result<_>>()?,
            mid: Mid::new(config, channels[last], &w.at("mid_block"))?,
            norm_out: w.group_norm("conv_norm_out", channels[last], config.norm_num_groups, EPS)?,
            conv_out: w.conv2d("conv_out", (channels[last], 2 * config.latent_channels), 3, 1, 1)?,
        })
    }

    fn forward(&self, image: &Tensor) -> Result<Tensor> {
        let mut h = self.conv_in.forward(image)?;
        for level in &self.levels {
            h = level.forward(h)?;
            if let Some(conv) = &level.resize {
                h = shrink_conv(conv, &h)?;
            }
        }
        h = self.mid.forward(&h)?;
        norm_silu_conv(&self.norm_out, &self.conv_out, &h, None)
    }
}

#[derive(Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid: Mid,
    levels: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    fn new(config: &VaeConfig, w: &Weights<'_>) -> Result<Self> {
        let (channels, last) = (&config.block_out_channels, config.block_out_channels.len() - 1);
        let levels = (0..=last).map(|i| {
            let (w, c) = (w.at(format!("up_blocks.{i}")), channels[last - i]);
            let grow = (i < last).then(|| w.conv2d("upsamplers.0.conv", (c, c), 3, 1, 1)).transpose()?;
            let below = channels[(last - i + 1).min(last)];
            Level::new(config, config.layers_per_block + 1, (below, c), grow, &w)
        });
        Ok(Self {
            conv_in: w.conv2d("conv_in", (config.latent_channels, channels[last]), 3, 1, 1)?,
            mid: Mid::new(config, channels[last], &w.at("mid_block"))?,
            levels: levels.collect::<Result<_>>()?,
            norm_out: w.group_norm("conv_norm_out", channels[0], config.norm_num_groups, EPS)?,
            conv_out: w.conv2d("conv_out", (channels[0], config.out_channels), 3, 1, 1)?,
        })
    }

    fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let mut h = self.mid.forward(&self.conv_in.forward(z)?)?;
        for level in &self.levels {
            h = level.forward(h)?;
            if let Some(conv) = &level.resize {
                h = grow_conv(conv, &h)?;
            }
        }
        norm_silu_conv(&self.norm_out, &self.conv_out, &h, None)
    }
}

/// The innermost part of both halves.
#[derive(Debug)]
struct Mid {
    first: ResnetBlock,
    attention: Option<PixelAttention>,
    second: ResnetBlock,
}

impl Mid {
    fn new(config: &VaeConfig, c: usize, w: &Weights<'_>) -> Result<Self> {
        let attends = config.mid_block_add_attention;
        let attention = || PixelAttention::new(c, config.norm_num_groups, &w.at("attentions.0"));
        Ok(Self {
            first: ResnetBlock::new(resnet(config), c, c, &w.at("resnets.0"))?,
            attention: attends.then(attention).transpose()?,
            second: ResnetBlock::new(resnet(config), c, c, &w.at("resnets.1"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let trace = Trace::off();
        let h = self.first.forward(x, None, &trace)?;
        let h = match &self.attention {
            Some(attention) => attention.forward(&h)?,
            None => h,
        };
        self.second.forward(&h, None, &trace)
    }
}

/// Attention of one head among all pixels.
#[derive(Debug)]
struct PixelAttention {
    norm: GroupNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
}

impl PixelAttention {
    fn new(c: usize, groups: usize, w: &Weights<'_>) -> Result<Self> {
        Ok(Self {
            norm: w.group_norm("group_norm", c, groups, EPS)?,
            query: w.linear("to_q", c, c, true)?,
            key: w.linear("to_k", c, c, true)?,
            value: w.linear("to_v", c, c, true)?,
            out: w.linear("to_out.0", c, c, true)?,
        })
    }

    /// `[b, c, h, w]` to the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let pixels = self.norm.forward(x)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?; // [b, h * w, c]
        let of = |layer: &Linear| layer.forward(&pixels);
        let seen = attention(&of(&self.query)?, &of(&self.key)?, &of(&self.value)?, 1, None)?;
        let out = self.out.forward(&seen)?.transpose(1, 2)?.reshape(x.shape())?;
        Ok((x + out)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Tensor, Var};

    use crate::sdxl::{Checkpoint, Compute};

    fn worst(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn a_large_picture_in_bands_is_the_picture_taken_whole() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini-sdxl");
        let vae = Checkpoint::open(&folder).unwrap().load_vae(&Compute::cpu()).unwrap();
        let latents = crate::sample::Generator::new(0).randn(&[1, 4, 88, 90]).unwrap();
        // What a gradient passes through is taken whole.
        let whole = vae.decode(&Var::from_tensor(&latents).unwrap()).unwrap().detach();
        let picture = vae.decode(&latents).unwrap();
        let levels = worst(&picture, &whole) / 2.0 * 255.0;
        assert!(levels < 0.01, "{levels} of 255 levels");

        let encoded = vae.encode(&picture).unwrap();
        let whole = vae.encode(&Var::from_tensor(&picture).unwrap()).unwrap();
        assert!(worst(&encoded.mean, &whole.mean) < 1e-4);
        assert!(worst(&encoded.logvar, &whole.logvar) < 1e-4);
    }
}
