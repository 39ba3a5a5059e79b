//! `SaveAdapter`: an adapter into a file that other tools read.

use std::path::{Path, PathBuf};

use flow_engine::{Check, Cx, In, Nature, Node, Problem, Project, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::{WEIGHTS, spares};
use crate::adapter::write::FileDtype;
use crate::adapter::{Adapter, save};
use flow_engine::file;

/// Save an adapter as a safetensors file, and hand it on unchanged.
///
/// What a node made, a training or a merge, is written as it made it. What was loaded keeps the names and types of
/// its tensors and everything that it says of itself; only a PaRa in another tool's form becomes Flow's own, with
/// orthonormal columns (`unet.<layer>.para_q`). A file that holds these bytes already is left alone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveAdapter {
    /// Adapter to save: one, and not a list of several.
    pub adapter: In<Adapter>,
    /// A file that ends in `.safetensors`; or, for an adapter with a PEFT configuration, a folder, which gets
    /// `adapter_model.safetensors` and `adapter_config.json`. Missing folders are made.
    pub path: String,
    /// The type of its numbers. Without it, what they are in; F16 for a PaRa that changes its form.
    #[serde(default)]
    pub dtype: Option<FileDtype>,
}

impl SaveAdapter {
    /// Reports what keeps an adapter from being saved here; only headers are looked at.
    fn can_save(&self, adapter: &Adapter, full: &Path) -> Result<()> {
        let single = save::only(adapter)?;
        let sources = single.files().files();
        if WEIGHTS.names_a_file(&self.path) {
            return Ok(spares(full, sources)?);
        }
        let files = save::folder(single, self.dtype)?;
        Ok(files.iter().try_for_each(|(name, _)| spares(&full.join(name), sources))?)
    }

    fn writable(&self, full: &Path) -> Result<(), Problem> {
        WEIGHTS.writable(&self.path, full)
    }
}

impl Node for SaveAdapter {
    const KIND: &'static str = "SaveAdapter";
    const NATURE: Nature = Nature::Effect;
    type Output = Adapter;

    fn check(&self, cx: &mut Check<'_>) {
        let full = cx.path(&self.path);
        if let Err(problem) = self.writable(&full) {
            return cx.problem_with("path", problem);
        }
        let Some(adapter) = cx.input(&self.adapter) else { return };
        if let Err(error) = self.can_save(&adapter, &full) {
            let field = if save::only(&adapter).is_err() { "adapter" } else { "path" };
            cx.problem_with(field, error);
        }
    }

    fn target(&self, project: &Project) -> Option<PathBuf> {
        Some(project.path(&self.path))
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Adapter> {
        let (adapter, full) = (cx.input(&self.adapter)?, cx.path(&self.path));
        self.writable(&full)?;
        self.can_save(&adapter, &full)?;
        let single = save::only(&adapter)?;
        if WEIGHTS.names_a_file(&self.path) {
            let contents = save::file(single, self.dtype)?;
            file::write_with(&full, |to| contents.write(to))?;
        } else {
            for (name, contents) in save::folder(single, self.dtype)? {
                file::write_with(&full.join(name), |to| contents.write(to))?;
            }
        }
        Ok(Adapter::clone(&adapter))
    }
}
