//! An autoencoder in place of a model's own.

use std::path::{Path, PathBuf};

use flow_engine::{Problem, Result};

use super::config::{self, VaeConfig};
use super::detect::Family;
use super::files::WeightFiles;
use super::folder;
use super::original::OriginalNames;
use super::part::Part;
use super::single_file;
use super::vae::Vae;
use super::weights::Layout;

/// An autoencoder with its settings, checked from headers.
pub(super) struct OtherVae {
    pub(super) config: VaeConfig,
    pub(super) weights: WeightFiles,
    /// Where its settings are from, if they are its own.
    pub(super) config_file: Option<PathBuf>,
}

impl OtherVae {
    /// Opens a folder with `config.json` and `diffusion_pytorch_model.safetensors`, or a file, which is taken to have
    /// the settings `own` of the model's. A file has diffusers' names or the original ones, alone or in a whole
    /// checkpoint.
    ///
    /// # Errors
    /// No autoencoder; one whose latents the model's denoiser does not know; weights that do not fit the settings.
    pub(super) fn open(path: &Path, own: &VaeConfig) -> Result<Self> {
        if !path.is_dir() {
            return Self::open_file(path, own);
        }
        let config_file = path.join("config.json");
        if !config_file.is_file() {
            let message = format!("there is no `config.json` in `{}`", path.display());
            return Err(Problem::new(message).hint(hint_for_folder(path)).into());
        }
        let config: VaeConfig = config::read(&config_file)?;
        same_latents(path, &config, own)?;
        let weights = folder::open_part(path, Part::Vae)?;
        check(&config, &weights)?;
        Ok(Self { config, weights, config_file: Some(config_file) })
    }

    fn open_file(path: &Path, own: &VaeConfig) -> Result<Self> {
        let file = WeightFiles::open_file(path)?;
        let name = path.display();
        match Family::of(file.shapes()) {
            Family::Vae | Family::Sdxl => {}
            family => {
                let message = format!("`{name}` is {}, not an autoencoder for SDXL", family.name());
                return Err(Problem::new(message)
                    .hint("give an autoencoder such as `sdxl_vae.safetensors`")
                    .into());
            }
        }
        let original = file.shapes().any(|(name, _)| name.contains(".mid.block_1."));
        let weights = if original {
            single_file::vae(&file, &OriginalNames::of_vae(own), &layout(own)?)?
        } else {
            let weights = folder::todays(Part::Vae, file);
            check(own, &weights)?;
            weights
        };
        Ok(Self { config: own.clone(), weights, config_file: None })
    }
}

/// The autoencoder must speak the denoiser's latents.
fn same_latents(path: &Path, config: &VaeConfig, own: &VaeConfig) -> Result<()> {
    let sizes = |config: &VaeConfig| (config.latent_channels, config.pixels_per_latent());
    let ((channels, pixels), (own_channels, own_pixels)) = (sizes(config), sizes(own));
    if sizes(config) == sizes(own) {
        return Ok(());
    }
    let message = format!(
        "the autoencoder `{}` has latents of {channels} channels and {pixels} pixels, but this model's have \
         {own_channels} channels and {own_pixels} pixels",
        path.display()
    );
    Err(Problem::new(message).hint("give an autoencoder made for this model's family").into())
}

fn layout(config: &VaeConfig) -> Result<single_file::Shapes> {
    Layout::of(|w| Vae::new(config, w))
}

fn check(config: &VaeConfig, weights: &WeightFiles) -> Result<()> {
    let wrong = folder::mismatches(Part::Vae, &layout(config)?, weights);
    if wrong.is_empty() {
        return Ok(());
    }
    let path = weights.path().display();
    let message =
        format!("the autoencoder in `{path}` does not fit its configuration:\n  {}", wrong.join("\n  "));
    let hint = "an autoencoder of another size is given as a folder with its `config.json`";
    Err(Problem::new(message).hint(hint).into())
}

fn hint_for_folder(path: &Path) -> String {
    let inner = path.join("vae");
    if inner.join("config.json").is_file() {
        return format!("the folder holds a whole model: give `{}`", inner.display());
    }
    "an autoencoder is a folder with `config.json` and `diffusion_pytorch_model.safetensors`, or one file"
        .into()
}

#[cfg(test)]
#[path = "vae_choice_tests.rs"]
mod tests;
