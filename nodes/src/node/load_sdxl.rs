//! `LoadSDXL`: opens a checkpoint.

use std::path::PathBuf;

use flow_engine::{Check, Cx, Nature, Node, Problem, Project, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    pub path: String,
}

impl LoadSDXL {
    fn open(&self, project: &Project) -> Result<Checkpoint> {
        let folder = project.path(&self.path);
        if !folder.is_dir() {
            let what = if folder.exists() { "is not a folder" } else { "does not exist" };
            return Err(Problem::new(format!("`{}` {what}", self.path)).hint(project.describe()).into());
        }
        Checkpoint::open(&folder)
    }
}

impl Node for LoadSDXL {
    const KIND: &'static str = "LoadSDXL";
    const NATURE: Nature = Nature::Instant;
    type Output = Model;

    fn check(&self, cx: &mut Check<'_>) {
        if let Err(error) = self.open(cx.project()) {
            cx.problem_with("path", error);
        }
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        Ok(self.open(project)?.files().to_vec())
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Model> {
        let checkpoint = self.open(cx.project())?;
        let digest = cx.digest_of_files(checkpoint.files())?;
        Ok(Model::new(checkpoint, digest))
    }
}
