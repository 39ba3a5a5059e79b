//! `LoadSDXL`: opens a checkpoint.

use std::path::PathBuf;

use flow_engine::{Check, Cx, Nature, Node, Problem, Project, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hub;
use crate::model::Model;
use crate::sdxl::{Checkpoint, OpenOptions};

/// Load an SDXL model.
///
/// Only configurations and the headers of the weight files are read here, and every tensor that is
/// missing, unexpected or of another shape is told at once; a model of another family is refused by
/// its name. Weights are read by the nodes that need them, once.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadSDXL {
    /// A folder as diffusers saves it, with `model_index.json` in it, or a single `.safetensors` file
    /// as `sd_xl_base_1.0.safetensors` is one. Weights are safetensors, whole or in shards, in
    /// float32, float16 or bfloat16.
    ///
    /// Or `hub:owner/name`, a model of the Hugging Face hub, which is downloaded when the graph first
    /// runs: only the files that are needed, in half precision for a run in f16. Afterwards it is used
    /// as it is in the cache and the hub is not asked again; `hub:owner/name@revision` names another
    /// branch, tag or commit.
    pub path: String,
    /// For a single file: a diffusers folder whose configuration and tokenizers the file goes by; the
    /// weights in it are not needed. Left out: SDXL base 1.0's own, which the program carries.
    #[serde(default)]
    pub config: Option<String>,
    /// Another autoencoder: a folder with `config.json` and `diffusion_pytorch_model.safetensors`, or
    /// a file. Its latents must be of the same channels and size.
    #[serde(default)]
    pub vae: Option<String>,
}

/// What is wrong, and with which field.
type Misfit = (&'static str, anyhow::Error);

impl LoadSDXL {
    fn open(&self, path: PathBuf, project: &Project) -> Result<Checkpoint, Misfit> {
        let found = |field, path: &str| match project.path(path) {
            found if found.exists() => Ok(found),
            _ => {
                let problem = Problem::new(format!("`{path}` does not exist")).hint(project.describe());
                Err((field, problem.into()))
            }
        };
        if !path.exists() {
            found("path", &self.path)?;
        }
        let config = self.config.as_deref().map(|config| found("config", config)).transpose()?;
        let vae = self.vae.as_deref().map(|vae| found("vae", vae)).transpose()?;
        if let Some((config, name)) = config.as_deref().zip(self.config.as_deref()) {
            if path.is_dir() {
                let message = format!("`{}` is a folder, which has its own configuration", self.path);
                let problem = Problem::new(message).hint("leave out `config`: it is for single files");
                return Err(("config", problem.into()));
            }
            if !config.is_dir() {
                let problem = Problem::new(format!("`{name}` is not a folder"))
                    .hint("`config` is a folder as diffusers saves it; its weights are not needed");
                return Err(("config", problem.into()));
            }
        }
        let options = OpenOptions { config, vae };
        Checkpoint::open_with(&path, &options).map_err(|error| {
            let without = OpenOptions { vae: None, ..options };
            let vae_spoils_it = self.vae.is_some() && Checkpoint::open_with(&path, &without).is_ok();
            (if vae_spoils_it { "vae" } else { "path" }, error)
        })
    }
}

impl Node for LoadSDXL {
    const KIND: &'static str = "LoadSDXL";
    const NATURE: Nature = Nature::Instant;
    type Output = Model;

    fn check(&self, cx: &mut Check<'_>) {
        let path = match hub::when_checked(&self.path, cx) {
            Ok(path) => path,
            Err(error) => return cx.problem_with("path", error),
        };
        if let Err((field, error)) = self.open(path, cx.project()) {
            cx.problem_with(field, error);
        }
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        let path = hub::when_keyed(&self.path, project)?;
        let checkpoint = self.open(path, project).map_err(|(_, error)| error)?;
        Ok(checkpoint.files().to_vec())
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Model> {
        let path = hub::when_run(&self.path, cx)?;
        let checkpoint = self.open(path, cx.project()).map_err(|(_, error)| error)?;
        let digest = cx.digest_of_files(checkpoint.files())?;
        Ok(Model::new(checkpoint, digest))
    }
}
