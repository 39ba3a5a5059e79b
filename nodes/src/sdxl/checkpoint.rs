//! A model on disk, checked from its headers, and the networks in it.
//!
//! It is a diffusers folder or a single file in the original layout. Opening reads configurations and headers and no
//! weight, so it is cheap, and what does not fit its own configurations is refused with everything that is wrong with
//! it at once. Weights are read when a network is loaded.
//!
//! Nothing here knows adapters: they fold into a [`Source`] around [`Checkpoint::source`], between file and network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use flow_engine::{Problem, Result};

use super::config::{ModelIndex, Prediction, SchedulerConfig, TextConfig, UNetConfig, VaeConfig};
use super::files::WeightFiles;
use super::folder;
use super::original::OriginalNames;
use super::part::Part;
use super::settings::Settings;
use super::single_file::{self, Shapes};
use super::text_encoder::{TextEncoder, TextEncoders};
use super::tokenizer::Tokenizers;
use super::unet::UNet;
use super::vae::Vae;
use super::vae_choice::OtherVae;
use super::weights::{Compute, Layout, Source, Weights};
use crate::ops::Weight;

/// An opened SDXL model.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<PathBuf>,
    weights: BTreeMap<Part, WeightFiles>,
    settings: Settings,
    /// The settings of an autoencoder in place of the model's own, if they are its own.
    vae_settings: Option<PathBuf>,
    index: ModelIndex,
    unet: UNetConfig,
    vae: VaeConfig,
    text: [TextConfig; 2],
    scheduler: SchedulerConfig,
}

/// What a model is opened with, besides its own path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct OpenOptions {
    /// A diffusers folder with the configuration and tokenizers of a single file; its weights are not looked at.
    /// Without it they are SDXL base 1.0's.
    pub config: Option<PathBuf>,
    /// An autoencoder in place of the model's own: a folder with `config.json`, or a file.
    pub vae: Option<PathBuf>,
}

impl Checkpoint {
    /// Opens a folder as diffusers saves it, or a single file of SDXL base's size, and checks every tensor's name and
    /// shape.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens a folder or a single file with a choice of configuration and autoencoder.
    ///
    /// # Errors
    /// Absent or damaged files, models of another family, settings Flow does not follow, weights that do not fit the
    /// configurations (all of them in one error), a configuration for what has its own.
    pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Self> {
        let settings = match (&options.config, path.is_dir()) {
            (None, true) => Settings::Folder(path.to_owned()),
            (Some(config), false) => Settings::Folder(config.clone()),
            (None, false) => Settings::SdxlBase,
            (Some(_), true) => {
                let message = format!("`{}` is a folder, which has its own configuration", path.display());
                return Err(Problem::new(message).hint("leave out `config`: it is for single files").into());
            }
        };
        settings.refuse_other_families()?;
        let vae = settings.of_part(Part::Vae)?;
        let mut this = Self {
            path: path.to_owned(),
            files: Vec::new(),
            weights: BTreeMap::new(),
            index: settings.read("model_index.json")?,
            unet: settings.of_part(Part::Unet)?,
            text: [settings.of_part(Part::TextEncoder)?, settings.of_part(Part::TextEncoder2)?],
            scheduler: settings.read("scheduler/scheduler_config.json")?,
            settings,
            vae_settings: None,
            vae,
        };
        let other = options.vae.as_deref().map(|vae| OtherVae::open(vae, &this.vae)).transpose()?;
        let own = Part::ALL.into_iter().filter(|&part| other.is_none() || part != Part::Vae);
        let own: Vec<Part> = own.collect();
        if path.is_dir() {
            this.weights = folder::open(path, &own)?;
        } else {
            let file = WeightFiles::open_file(path)?;
            this.weights = this.parts_of(&file, &own)?;
            if options.config.is_none() {
                this.heed_marks(&file);
            }
        }
        this.files = this.deciding_files(other.as_ref());
        if let Some(other) = other {
            this.vae = other.config;
            this.vae_settings = other.config_file;
            this.weights.insert(Part::Vae, other.weights);
        }
        this.check_widths()?;
        this.check_lengths()?;
        if path.is_dir() {
            this.check_layout(&own)?;
        }
        Ok(this)
    }

    fn parts_of(&self, file: &WeightFiles, parts: &[Part]) -> Result<BTreeMap<Part, WeightFiles>> {
        let names = OriginalNames::new(&self.unet, &self.vae);
        let wanted = parts.iter().map(|&part| Ok((part, self.layout(part)?)));
        single_file::parts(file, &names, &wanted.collect::<Result<_>>()?)
    }

    /// What fine-tunes of SDXL base say of their noise, in a file that can say nothing else of itself.
    fn heed_marks(&mut self, file: &WeightFiles) {
        if file.shape(single_file::V_PREDICTION).is_some() {
            self.scheduler.prediction_type = Prediction::VPrediction;
        }
        if file.shape(single_file::ZERO_SNR).is_some() {
            self.scheduler.rescale_betas_zero_snr = true;
        }
    }

    /// Files whose bytes matter, in a fixed order; an autoencoder without settings of its own goes by the model's.
    fn deciding_files(&self, other_vae: Option<&OtherVae>) -> Vec<PathBuf> {
        let mut files = self.settings.files();
        for part in Part::ALL {
            let other = other_vae.filter(|_| part == Part::Vae);
            let own_config = || self.settings.file_of_part(part);
            files.extend(other.and_then(|other| other.config_file.clone()).or_else(own_config));
            let weights = other.map_or_else(|| &self.weights[&part], |other| &other.weights);
            files.extend_from_slice(weights.files());
        }
        let mut seen = BTreeSet::new(); // a single file is the file of many parts
        files.retain(|file| seen.insert(file.clone()));
        files
    }

    /// The folder or the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a person calls it: the name of its folder, or of its file without the extension.
    pub fn name(&self) -> String {
        let name = if self.path.is_dir() { self.path.file_name() } else { self.path.file_stem() };
        name.unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// Every file whose bytes can change a result: configurations, tokenizers, weights. Those in the program are none.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The text of every file of settings and tokenizers, by its path in a folder as diffusers saves it: as they are in
    /// the model's own, where it has one.
    ///
    /// # Errors
    /// Files that have gone since it was opened.
    pub(super) fn texts(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut texts = self.settings.texts()?;
        if let Some(file) = &self.vae_settings {
            let text = std::fs::read(file);
            let text =
                text.map_err(|cause| Problem::new(format!("cannot read `{}`: {cause}", file.display())))?;
            texts.insert("vae/config.json".into(), text);
        }
        Ok(texts)
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
        self.settings.tokenizers()
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
    pub(crate) fn layout(&self, part: Part) -> Result<Shapes> {
        match part {
            Part::Unet => Layout::of(|w| UNet::new(&self.unet, w)),
            Part::Vae => Layout::of(|w| Vae::new(&self.vae, w)),
            Part::TextEncoder => Layout::of(|w| TextEncoder::new(&self.text[0], false, w)),
            Part::TextEncoder2 => Layout::of(|w| TextEncoder::new(&self.text[1], true, w)),
        }
    }

    fn check_layout(&self, parts: &[Part]) -> Result<()> {
        let mut wrong = Vec::new();
        for &part in parts {
            wrong.extend(folder::mismatches(part, &self.layout(part)?, self.weights(part)));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the weights in `{}` do not fit their configurations:\n  {}",
            self.path.display(),
            wrong.join("\n  ")
        );
        Err(Problem::new(message).hint("do `config.json` and weights come from the same model?").into())
    }

    /// Reads the tokenizers, which must give no more tokens than the text encoders have positions for.
    fn check_lengths(&self) -> Result<()> {
        let tokenizers = self.tokenizers()?;
        for (tokenizer, text) in [&tokenizers.first, &tokenizers.second].into_iter().zip(&self.text) {
            let (gives, takes) = (tokenizer.length(), text.max_position_embeddings);
            if gives > takes {
                let message = format!(
                    "a tokenizer of `{}` gives {gives} tokens, and its text encoder takes {takes}",
                    self.path.display()
                );
                return Err(Problem::new(message)
                    .hint("do tokenizers and text encoders come from the same model?")
                    .into());
            }
        }
        Ok(())
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
            self.path.display(),
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

    fn weight(&self, name: &str, shape: &[usize]) -> Result<Weight> {
        Ok(self.files.weight(name, &self.compute.device, self.compute.dtype)?.reshape(shape)?)
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
