//! Where a model's settings and tokenizers come from: a folder, or the program itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_engine::{Problem, Result};
use serde_json::Value;

use super::base_config;
use super::config::{self, Config};
use super::detect::Family;
use super::part::Part;
use super::tokenizer::{Tokenizer, Tokenizers};

/// What says how a model is built.
#[derive(Debug, Clone)]
pub(crate) enum Settings {
    /// A folder as diffusers saves it.
    Folder(PathBuf),
    /// SDXL base 1.0's own, which the program carries.
    SdxlBase,
}

impl Settings {
    /// Reads one of the files, named by its path in the folder.
    pub(crate) fn read<T: Config>(&self, file: &str) -> Result<T> {
        match self {
            Self::Folder(folder) => config::read(&folder.join(file)),
            Self::SdxlBase => config::parse(built_in(file)?, &format!("SDXL base's {file}")),
        }
    }

    /// Reads the configuration of one part.
    pub(crate) fn of_part<T: Config>(&self, part: Part) -> Result<T> {
        self.read(&format!("{}/config.json", part.folder()))
    }

    /// # Errors
    /// A folder of another family than SDXL.
    pub(crate) fn refuse_other_families(&self) -> Result<()> {
        let Some(folder) = self.folder() else { return Ok(()) };
        let index = folder.join("model_index.json");
        if let (false, Some(file)) = (index.exists(), single_file_in(folder)) {
            let message = format!("there is no `model_index.json` in `{}`", folder.display());
            return Err(Problem::new(message)
                .hint(format!("give a file in it, such as `{}`", file.display()))
                .into());
        }
        let index = config::read_json(&index)?;
        let unet: Option<Value> = config::read_json(&folder.join("unet/config.json")).ok();
        match Family::of_folder(&index, unet.as_ref()) {
            Some(family) => Err(family.refusal(&folder.display().to_string()).into()),
            None => Ok(()),
        }
    }

    /// Reads both tokenizers.
    pub(crate) fn tokenizers(&self) -> Result<Tokenizers> {
        Ok(Tokenizers { first: self.tokenizer("tokenizer")?, second: self.tokenizer("tokenizer_2")? })
    }

    fn tokenizer(&self, name: &str) -> Result<Tokenizer> {
        match self {
            Self::Folder(folder) => Tokenizer::open(&folder.join(name)),
            Self::SdxlBase => {
                let config = built_in(&format!("{name}/tokenizer_config.json"))?;
                let (vocabulary, merges) = (base_config::VOCABULARY, base_config::MERGES);
                Tokenizer::from_texts(&format!("SDXL base's {name}"), config, vocabulary, merges)
            }
        }
    }

    /// The files of the whole model that decide a result; none if they are in the program.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let Some(folder) = self.folder() else { return Vec::new() };
        let mut files = vec![folder.join("model_index.json"), folder.join("scheduler/scheduler_config.json")];
        files.extend(["tokenizer", "tokenizer_2"].iter().flat_map(|t| Tokenizer::files(&folder.join(t))));
        files
    }

    /// The configuration file of one part, if it is one.
    pub(crate) fn file_of_part(&self, part: Part) -> Option<PathBuf> {
        Some(self.folder()?.join(part.folder()).join("config.json"))
    }

    /// The text of every file of settings and of both tokenizers that there is, by its path in a folder.
    pub(crate) fn texts(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let names = FILES.into_iter().map(str::to_owned);
        let of_tokenizers = ["tokenizer", "tokenizer_2"].into_iter();
        let of_tokenizers =
            of_tokenizers.flat_map(|folder| OF_A_TOKENIZER.map(|file| format!("{folder}/{file}")));
        let texts = names.chain(of_tokenizers).filter_map(|name| match self.text(&name) {
            Ok(text) => text.map(|text| Ok((name, text))),
            Err(error) => Some(Err(error)),
        });
        texts.collect()
    }

    fn text(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Self::Folder(folder) = self else {
            let text = base_config::text(name).or_else(|| match name.rsplit_once('/')?.1 {
                "vocab.json" => Some(base_config::VOCABULARY),
                "merges.txt" => Some(base_config::MERGES),
                _ => None,
            });
            return Ok(text.map(|text| text.as_bytes().to_vec()));
        };
        let file = folder.join(name);
        let read = file.is_file().then(|| std::fs::read(&file)).transpose();
        Ok(read.map_err(|cause| Problem::new(format!("cannot read `{}`: {cause}", file.display())))?)
    }

    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::SdxlBase => None,
        }
    }
}

/// Settings in a folder as diffusers saves it.
pub(crate) const FILES: [&str; 6] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
];

/// What the folder of a tokenizer may hold.
pub(crate) const OF_A_TOKENIZER: [&str; 6] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

fn built_in(file: &str) -> Result<&'static str> {
    base_config::text(file)
        .ok_or_else(|| Problem::new(format!("SDXL base's configuration has no `{file}`")).into())
}

/// What a person may have meant by a folder that is no model.
fn single_file_in(folder: &Path) -> Option<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.into_iter().find(|file| file.extension().is_some_and(|e| e == "safetensors"))
}
