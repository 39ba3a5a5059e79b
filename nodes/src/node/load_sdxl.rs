//! `LoadSDXL`: opens a checkpoint.

use std::path::{Path, PathBuf};

use flow_engine::{Check, Cx, Nature, Node, Problem, Project, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hub;
use crate::model::Model;
use crate::sdxl::Checkpoint;

/// Load an SDXL model.
///
/// Only configurations and the headers of the weight files are read here, and every tensor that is
/// missing, unexpected or of another shape is told at once. Weights are read by the nodes that
/// need them, once.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadSDXL {
    /// A folder as diffusers saves it, with `model_index.json` in it. Weights are safetensors, whole
    /// or in shards, in float32, float16 or bfloat16.
    ///
    /// Or `hub:owner/name`, a model of the Hugging Face hub, which is downloaded when the graph first runs: only the
    /// files that are needed, in half precision for a run in f16. Afterwards it is used as it is in the cache and the
    /// hub is not asked again; `hub:owner/name@revision` names another branch, tag or commit.
    pub path: String,
}

impl LoadSDXL {
    fn open(&self, folder: &Path, project: &Project) -> Result<Checkpoint> {
        if !folder.is_dir() {
            let what = if folder.exists() { "is not a folder" } else { "does not exist" };
            return Err(Problem::new(format!("`{}` {what}", self.path)).hint(project.describe()).into());
        }
        Checkpoint::open(folder)
    }
}

impl Node for LoadSDXL {
    const KIND: &'static str = "LoadSDXL";
    const NATURE: Nature = Nature::Instant;
    type Output = Model;

    fn check(&self, cx: &mut Check<'_>) {
        let opened = hub::when_checked(&self.path, cx).and_then(|folder| self.open(&folder, cx.project()));
        if let Err(error) = opened {
            cx.problem_with("path", error);
        }
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        let folder = hub::when_keyed(&self.path, project)?;
        Ok(self.open(&folder, project)?.files().to_vec())
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Model> {
        let folder = hub::when_run(&self.path, cx)?;
        let checkpoint = self.open(&folder, cx.project())?;
        let digest = cx.digest_of_files(checkpoint.files())?;
        Ok(Model::new(checkpoint, digest))
    }
}
