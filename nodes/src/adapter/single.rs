//! One adapter file: its layers, and what each has.
//!
//! Names are the file's own. Nothing here knows the model that it will be applied to.

use flow_engine::Digest;

use super::method::{Method, Of, Pieces};
use super::peft::Config;
use super::textual_inversion::TextualInversion;
use crate::sdxl::files::WeightFiles;

/// What a file has for one layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The layer's name in the file, without what belongs to the pieces.
    pub module: String,
    /// Which tensor of the layer it is about.
    pub of: Of,
    /// What is done with it.
    pub method: &'static dyn Method,
    pub(super) pieces: Vec<(&'static str, String)>,
}

impl Layer {
    /// Its tensors: what each is to the method, and its name in the file.
    pub fn tensors(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.pieces.iter().map(|(piece, tensor)| (*piece, tensor.as_str()))
    }
}

/// One adapter, as one file holds it.
#[derive(Debug)]
pub struct Single {
    pub(super) name: String,
    pub(super) files: WeightFiles,
    pub(super) config: Config,
    pub(super) layers: Vec<Layer>,
    pub(super) word: Option<TextualInversion>,
    pub(super) digest: Digest,
}

impl Single {
    /// What a person calls it: its file's name, or what made it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file.
    pub fn files(&self) -> &WeightFiles {
        &self.files
    }

    /// The layers that it changes, in order of name.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The new word for prompts that it is; it then changes no layer.
    pub fn word(&self) -> Option<&TextualInversion> {
        self.word.as_ref()
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The pieces of one of its layers.
    pub fn pieces<'a>(&'a self, layer: &'a Layer) -> Pieces<'a> {
        Pieces { files: &self.files, config: &self.config, names: &layer.pieces, module: &layer.module }
    }

    /// The methods in it, each once, in the order of [`METHODS`](super::METHODS).
    pub fn methods(&self) -> Vec<&'static dyn Method> {
        let has = |method: &&'static dyn Method| self.layers.iter().any(|l| l.method.name() == method.name());
        super::METHODS.into_iter().filter(has).collect()
    }

    /// Whether it changes layers, and all of them by the method of this name.
    pub fn is(&self, method: &str) -> bool {
        !self.layers.is_empty() && self.layers.iter().all(|layer| layer.method.name() == method)
    }

    /// What it is, in words: its methods.
    pub fn kind(&self) -> String {
        if self.word.is_some() {
            return "textual inversion".into();
        }
        let names: Vec<_> = self.methods().iter().map(|method| method.name()).collect();
        names.join(" and ")
    }
}
