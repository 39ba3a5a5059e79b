//! A diffusers folder, checked from its headers, and the networks in it.
//!
//! Opening reads configurations and headers and no weight, so it is cheap, and a folder that does not fit its own
//! configurations is refused with everything that is wrong with it at once. Weights are read when a network is loaded.
//!
//! Nothing here knows adapters: they fold into a [`Source`] around [`Checkpoint::source`], between file and network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use flow_engine::{Problem, Result};

use super::config::{self, ModelIndex, SchedulerConfig, TextConfig, UNetConfig, VaeConfig};
use super::files::WeightFiles;
use super::text_encoder::{TextEncoder, TextEncoders};
use super::tokenizer::{Tokenizer, Tokenizers};
use super::unet::UNet;
use super::vae::{self, Vae};
use super::weights::{Compute, Layout, Source, Weights};

/// The four networks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The denoiser.
    Unet,
    /// The autoencoder.
    Vae,
    /// The first text encoder.
    TextEncoder,
    /// The second text encoder, which also pools.
    TextEncoder2,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unet, Self::Vae, Self::TextEncoder, Self::TextEncoder2];

    /// Its folder, which is also its name in adapter files.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::Vae => "vae",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }

    /// Its weight file, without variant and extension.
    fn stem(self) -> &'static str {
        match self {
            Self::Unet | Self::Vae => "diffusion_pytorch_model",
            Self::TextEncoder | Self::TextEncoder2 => "model",
        }
    }
}

/// An opened SDXL folder.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    folder: PathBuf,
    files: Vec<PathBuf>,
    weights: BTreeMap<Part, WeightFiles>,
    index: ModelIndex,
    unet: UNetConfig,
    vae: VaeConfig,
    text: [TextConfig; 2],
    scheduler: SchedulerConfig,
}

impl Checkpoint {
    /// Opens a folder as diffusers saves it, and checks every tensor's name and shape.
    ///
    /// # Errors
    /// Absent or damaged files, settings Flow does not follow, weights that do not fit the configurations (all of them
    /// in one error).
    pub fn open(folder: &Path) -> Result<Self> {
        let config_of = |part: Part| folder.join(part.folder()).join("config.json");
        let index = config::read(&folder.join("model_index.json"))?;
        let unet = config::read(&config_of(Part::Unet))?;
        let vae = config::read(&config_of(Part::Vae))?;
        let text =
            [config::read(&config_of(Part::TextEncoder))?, config::read(&config_of(Part::TextEncoder2))?];
        let scheduler = config::read(&folder.join("scheduler/scheduler_config.json"))?;

        let weights = open_parts(folder)?;
        let files = files_of(folder, &weights);
        let this = Self { folder: folder.to_owned(), files, weights, index, unet, vae, text, scheduler };
        this.check_widths()?;
        this.check_layout()?;
        Ok(this)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every file whose bytes can change a result: configurations, tokenizers, weights.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What the folder says it is.
    pub fn index(&self) -> &ModelIndex {
        &self.index
    }

    /// Settings of the denoiser.
    pub fn unet_config(&self) -> &UNetConfig {
        &self.unet
    }

    /// Settings of the autoencoder.
    pub fn vae_config(&self) -> &VaeConfig {
        &self.vae
    }

    /// Settings of the two text encoders.
    pub fn text_configs(&self) -> &[TextConfig; 2] {
        &self.text
    }

    /// The noise it was trained with.
    pub fn scheduler_config(&self) -> &SchedulerConfig {
        &self.scheduler
    }

    /// The tensors of one part, as they are in its files but under today's names.
    pub fn weights(&self, part: Part) -> &WeightFiles {
        &self.weights[&part]
    }

    /// Width and height, in pixels, of the pictures it was made for.
    pub fn native_size(&self) -> Option<usize> {
        self.unet.sample_size.map(|latents| latents * self.vae.pixels_per_latent())
    }

    /// Loads the denoiser.
    pub fn load_unet(&self, compute: &Compute) -> Result<UNet> {
        self.load(Part::Unet, compute, |w| UNet::new(&self.unet, w))
    }

    /// Loads the autoencoder, which runs in float32 whatever `compute` says: in float16 SDXL's overflows.
    pub fn load_vae(&self, compute: &Compute) -> Result<Vae> {
        self.load(Part::Vae, &compute.in_f32(), |w| Vae::new(&self.vae, w))
    }

    /// Loads both text encoders.
    pub fn load_text_encoders(&self, compute: &Compute) -> Result<TextEncoders> {
        let [first, second] = &self.text;
        Ok(TextEncoders {
            first: self.load(Part::TextEncoder, compute, |w| TextEncoder::new(first, false, w))?,
            second: self.load(Part::TextEncoder2, compute, |w| TextEncoder::new(second, true, w))?,
        })
    }

    /// Reads both tokenizers.
    pub fn tokenizers(&self) -> Result<Tokenizers> {
        Ok(Tokenizers {
            first: Tokenizer::open(&self.folder.join("tokenizer"))?,
            second: Tokenizer::open(&self.folder.join("tokenizer_2"))?,
        })
    }

    /// One part's tensors as its network takes them.
    pub fn source<'a>(&'a self, part: Part, compute: &'a Compute) -> FromFiles<'a> {
        FromFiles { files: self.weights(part), compute }
    }

    fn load<T>(
        &self,
        part: Part,
        compute: &Compute,
        new: impl FnOnce(&Weights<'_>) -> Result<T>,
    ) -> Result<T> {
        compute.check()?;
        new(&Weights::new(&self.source(part, compute)))
    }

    /// The tensors that each part's constructor asks for.
    fn layout(&self, part: Part) -> Result<BTreeMap<String, Vec<usize>>> {
        match part {
            Part::Unet => Layout::of(|w| UNet::new(&self.unet, w)),
            Part::Vae => Layout::of(|w| Vae::new(&self.vae, w)),
            Part::TextEncoder => Layout::of(|w| TextEncoder::new(&self.text[0], false, w)),
            Part::TextEncoder2 => Layout::of(|w| TextEncoder::new(&self.text[1], true, w)),
        }
    }

    fn check_layout(&self) -> Result<()> {
        let mut wrong = Vec::new();
        for part in Part::ALL {
            wrong.extend(mismatches(part, &self.layout(part)?, self.weights(part)));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the weights in `{}` do not fit their configurations:\n  {}",
            self.folder.display(),
            wrong.join("\n  ")
        );
        Err(Problem::new(message).hint("do `config.json` and weights come from the same model?").into())
    }

    /// What one part gives and another takes.
    fn check_widths(&self) -> Result<()> {
        let [first, second] = &self.text;
        let text = first.hidden_size + second.hidden_size;
        let vector = second.projection_dim + 6 * self.unet.addition_time_embed_dim;
        let wants = self.unet.projection_class_embeddings_input_dim;
        let mut wrong = Vec::new();
        for level in 0..self.unet.block_out_channels.len() {
            match self.unet.cross_attention_dim.at(level) {
                Some(width) if width == text => {}
                width => wrong.push(format!(
                    "the denoiser's `cross_attention_dim` is {}, but the text encoders give {text} features",
                    width.unwrap_or_default()
                )),
            }
        }
        if vector != wants {
            wrong.push(format!(
                "the denoiser's `projection_class_embeddings_input_dim` is {wants}, \
                 but pooled text and time ids are {vector} features"
            ));
        }
        if self.unet.in_channels != self.vae.latent_channels {
            let (takes, gives) = (self.unet.in_channels, self.vae.latent_channels);
            wrong.push(format!("the denoiser takes {takes} channels, but the autoencoder gives {gives}"));
        }
        wrong.dedup();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Problem::new(format!(
            "the parts of `{}` do not fit together:\n  {}",
            self.folder.display(),
            wrong.join("\n  ")
        ))
        .into())
    }
}

/// A part's tensors on their way from its files into a network.
#[derive(Debug, Clone, Copy)]
pub struct FromFiles<'a> {
    files: &'a WeightFiles,
    compute: &'a Compute,
}

impl Source for FromFiles<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.files.convert(name, &self.compute.device, self.compute.dtype)?;
        Ok(tensor.reshape(shape)?) // only old 1x1 attention kernels differ, see `same_shape`
    }
}

/// The weights of all parts, or why they cannot be opened: one reason for each.
fn open_parts(folder: &Path) -> Result<BTreeMap<Part, WeightFiles>> {
    let opened = Part::ALL.map(|part| open_part(folder, part).map(|files| (part, files)));
    let (opened, mut failed): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    if failed.len() == 1 {
        return failed.remove(0).map(|only| BTreeMap::from([only]));
    }
    let reasons: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
    let Some(first) = reasons.first() else { return opened.into_iter().collect() };
    let said: Vec<_> = reasons.iter().map(|reason| format!("{reason:#}")).collect();
    let message = format!("the weights in `{}` cannot be opened:\n  {}", folder.display(), said.join("\n  "));
    Err(Problem::new(message).hint(Problem::hint_of(first).unwrap_or("download the model again")).into())
}

fn open_part(folder: &Path, part: Part) -> Result<WeightFiles> {
    let files = WeightFiles::open(&folder.join(part.folder()), part.stem())?;
    let files = files.without(|name| name.ends_with("position_ids"));
    Ok(if part == Part::Vae { files.renamed(vae::todays_name) } else { files })
}

/// Files whose bytes matter, in a fixed order; those a folder may lack are left out.
fn files_of(folder: &Path, weights: &BTreeMap<Part, WeightFiles>) -> Vec<PathBuf> {
    let mut files = vec![folder.join("model_index.json"), folder.join("scheduler/scheduler_config.json")];
    files.extend(["tokenizer", "tokenizer_2"].iter().flat_map(|t| Tokenizer::files(&folder.join(t))));
    for (part, weights) in weights {
        files.push(folder.join(part.folder()).join("config.json"));
        files.extend_from_slice(weights.files());
    }
    files
}

/// Everything by which a part's files differ from what its network wants.
fn mismatches(part: Part, wanted: &BTreeMap<String, Vec<usize>>, files: &WeightFiles) -> Vec<String> {
    let found: BTreeMap<&str, &[usize]> = files.shapes().collect();
    let folder = part.folder();
    let missing = wanted.iter().filter(|(name, _)| !found.contains_key(name.as_str()));
    let missing = missing.map(|(name, shape)| format!("{folder}: `{name}` {shape:?} is missing"));
    let unexpected = found.iter().filter(|(name, _)| !wanted.contains_key(**name));
    let unexpected = unexpected.map(|(name, shape)| format!("{folder}: `{name}` {shape:?} is not expected"));
    let misshaped = wanted.iter().filter_map(|(name, shape)| {
        let found = found.get(name.as_str()).filter(|found| !same_shape(part, shape, found))?;
        Some(format!("{folder}: `{name}` is {found:?}, expected {shape:?}"))
    });
    missing.chain(misshaped).chain(unexpected).collect()
}

/// Old autoencoders keep the linear layers of their attention as 1x1 convolutions.
fn same_shape(part: Part, wanted: &[usize], found: &[usize]) -> bool {
    wanted == found
        || (part == Part::Vae && wanted.len() == 2 && found.len() == 4 && found == [wanted, &[1, 1]].concat())
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
