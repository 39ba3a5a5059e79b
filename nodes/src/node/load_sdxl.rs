//! `LoadSDXL`: opens a checkpoint.

use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow_engine::{Check, Cx, Nature, Node, Problem, Project, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hub::{self, HubId, Wanted};
use crate::model::Model;
use crate::sdxl::{Checkpoint, OpenOptions, Opened};

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
    /// What goes with the model: known to be there before the model itself is.
    fn options(&self, project: &Project) -> Result<OpenOptions, Misfit> {
        let found = |field, path: &Option<String>| path.as_deref().map(|path| found(field, path, project));
        let config = found("config", &self.config).transpose()?;
        let vae = found("vae", &self.vae).transpose()?;
        let name = self.config.as_deref().unwrap_or_default();
        if config.as_ref().is_some_and(|config| !config.is_dir()) {
            let problem = Problem::new(format!("`{name}` is not a folder"))
                .hint("`config` is a folder as diffusers saves it; its weights are not needed");
            return Err(("config", problem.into()));
        }
        let is_hub = HubId::of(&self.path).is_ok_and(|id| id.is_some());
        if config.is_some() && (is_hub || project.path(&self.path).is_dir()) {
            let what = if is_hub { "a model of the hub" } else { "a folder" };
            let message = format!("`{}` is {what}, which has its own configuration", self.path);
            let problem = Problem::new(message).hint("leave out `config`: it is for single files");
            return Err(("config", problem.into()));
        }
        Ok(OpenOptions { config, vae })
    }

    /// Opens it, unless that was done already: `opened` are those of the process.
    fn open(&self, path: &Path, project: &Project, opened: &Opened) -> Result<Arc<Checkpoint>, Misfit> {
        not_empty("path", &self.path)?;
        if !path.exists() {
            found("path", &self.path, project)?;
        }
        let options = self.options(project)?;
        opened.open(path, &options).map_err(|error| {
            let without = OpenOptions { vae: None, ..options };
            let vae_spoils_it = self.vae.is_some() && Checkpoint::open_with(path, &without).is_ok();
            (if vae_spoils_it { "vae" } else { "path" }, error)
        })
    }

    /// Everything that is wrong with the fields, in their order.
    fn misfits(&self, cx: &Check<'_>) -> Vec<Misfit> {
        match hub::when_checked(&self.path, Wanted::Sdxl, cx) {
            Ok(path) => self.open(&path, cx.project(), &cx.shared()).err().into_iter().collect(),
            // What a download would end in is known before it begins.
            Err(error) => iter::once(("path", error)).chain(self.options(cx.project()).err()).collect(),
        }
    }
}

/// A path of a graph as the file system knows it.
fn found(field: &'static str, path: &str, project: &Project) -> Result<PathBuf, Misfit> {
    not_empty(field, path)?;
    let full = project.path(path);
    if full.exists() {
        return Ok(full);
    }
    let problem = Problem::new(format!("`{path}` does not exist"));
    let problem = match HubId::of(path) {
        Ok(None) => problem.hint(project.describe()),
        _ => problem.hint("only `path` names models of the hub; here, name a folder or a file"),
    };
    Err((field, problem.into()))
}

/// The empty path would be the project itself.
fn not_empty(field: &'static str, path: &str) -> Result<(), Misfit> {
    if !path.trim().is_empty() {
        return Ok(());
    }
    let hint = match field {
        "path" => "name a folder, a `.safetensors` file or a model of the hub",
        _ => "name a folder or a file, or leave the field out",
    };
    Err((field, Problem::new(format!("`{field}` is empty")).hint(hint).into()))
}

impl Node for LoadSDXL {
    const KIND: &'static str = "LoadSDXL";
    const NATURE: Nature = Nature::Instant;
    type Output = Model;

    fn check(&self, cx: &mut Check<'_>) {
        for (field, error) in self.misfits(cx) {
            cx.problem_with(field, error);
        }
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        let path = hub::when_keyed(&self.path, Wanted::Sdxl, project)?;
        let checkpoint = self.open(&path, project, &Opened::default()).map_err(|(_, error)| error)?;
        Ok(checkpoint.files().to_vec())
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Model> {
        let path = hub::when_run(&self.path, Wanted::Sdxl, cx)?;
        let checkpoint = self.open(&path, cx.project(), &cx.shared()).map_err(|(_, error)| error)?;
        let digest = cx.digest_of_files(checkpoint.files())?;
        Ok(Model::new(checkpoint, digest))
    }
}

#[cfg(test)]
mod tests {
    use flow_engine::{Device, Document, Dtype, Graph, Session, Settings, read_ron};

    use super::*;
    use crate::registry;

    /// What is wrong with a node of these fields: the text that it points at and the message.
    fn mistakes(fields: &str) -> Vec<(String, String)> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
        let session = Session::new(registry(), settings, Project::at(root));
        let text = format!("Graph(nodes: {{ \"base\": LoadSDXL({fields}) }})");
        let source = read_ron(Document::new("graph.ron", text), &[], &session.registry);
        let told = match Graph::checked(source, &session) {
            Ok(_) => Vec::new(),
            Err(told) => told,
        };
        told.into_iter().map(|one| (one.place.unwrap().text().to_owned(), one.message)).collect()
    }

    #[test]
    fn an_empty_path_is_told_as_one_in_every_field() {
        assert_eq!(mistakes(r#"path: """#), [("\"\"".into(), "`path` is empty".into())]);
        assert_eq!(mistakes(r#"path: " ""#), [("\" \"".into(), "`path` is empty".into())]);
        for field in ["config", "vae"] {
            let told = mistakes(&format!(r#"path: "models/mini-sdxl", {field}: """#));
            assert_eq!(told, [("\"\"".into(), format!("`{field}` is empty"))]);
        }
    }

    #[test]
    fn what_goes_with_a_model_of_the_hub_is_checked_before_it_is_downloaded() {
        // No such name can be asked for, so no hub is asked.
        let hub = "hub:nobody";
        let told = mistakes(&format!(r#"path: "{hub}", vae: "models/nothing""#));
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[1], ("\"models/nothing\"".into(), "`models/nothing` does not exist".into()));
        let told = mistakes(r#"path: "models/mini-sdxl", vae: "hub:a/b""#);
        assert_eq!(told, [("\"hub:a/b\"".into(), "`hub:a/b` does not exist".into())]);
        let told = mistakes(r#"path: "models/mini-sdxl", config: "models/mini-sdxl""#);
        assert!(told[0].1.ends_with("is a folder, which has its own configuration"), "{told:?}");
    }
}
