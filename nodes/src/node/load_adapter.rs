//! `LoadAdapter`: opens an adapter's file.

use std::path::PathBuf;

use flow_engine::{Check, Cx, Nature, Node, Problem, Project, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapter::{Adapter, read};

/// Load an adapter: PaRa, LoRA, LoCon, LoHa, LoKr, OFT, SVDiff, a textual inversion, or a fully fine-tuned model.
///
/// What it is, is told from the names in the file; only its header is read here. Which layers of a model it changes is
/// found out by the node that applies it. A whole SDXL model, as DreamBooth trains one, is a change too: from the
/// model that it is applied to, to itself.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadAdapter {
    /// A `.safetensors` file in kohya's, PEFT's, diffusers', LyCORIS' or Flow's names; a folder that PEFT saved, with
    /// `adapter_model.safetensors` and `adapter_config.json`; or a whole SDXL model.
    pub path: String,
    /// For a textual inversion: the word that stands for it in prompts. Without it, what the file says, else the
    /// file's name.
    #[serde(default)]
    pub token: Option<String>,
}

/// Where the adapter is that a graph calls `path`.
pub(super) fn found(path: &str, project: &Project) -> Result<PathBuf> {
    if path.trim().is_empty() {
        return Err(Problem::new("the path is empty").hint("name a `.safetensors` file").into());
    }
    let found = project.path(path);
    if found.exists() {
        return Ok(found);
    }
    Err(Problem::new(format!("`{path}` does not exist")).hint(project.describe()).into())
}

impl Node for LoadAdapter {
    const KIND: &'static str = "LoadAdapter";
    const NATURE: Nature = Nature::Instant;
    type Output = Adapter;

    fn check(&self, cx: &mut Check<'_>) {
        let nothing = flow_engine::Digest::of(b"");
        let opened = found(&self.path, cx.project())
            .and_then(|path| read::open_as(&path, self.token.as_deref(), nothing));
        if let Err(error) = opened {
            cx.problem_with("path", error);
        }
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        read::files(&found(&self.path, project)?)
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Adapter> {
        let path = found(&self.path, cx.project())?;
        let digest = cx.digest_of_files(&read::files(&path)?)?;
        Ok(read::open_as(&path, self.token.as_deref(), digest)?.into())
    }
}
