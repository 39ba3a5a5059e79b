//! Adapters in the store: the bytes of each one's file, and what is known about it beside them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow_engine::{Digest, Result, StoredFile, Value as _};
use serde::{Deserialize, Serialize};

use super::method::Of;
use super::peft::CONFIG;
use super::textual_inversion::TextualInversion;
use super::{Adapter, Single, read};
use crate::sdxl::files::WeightFiles;
use crate::stored::{Files, damaged, json, numbered};

const FILE: &str = "adapter.json";

/// What is known about one adapter of a list but its file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    name: String,
    digest: Digest,
    /// The digest of its file, which need not be its own: that of a word is its token's too.
    bytes: Digest,
    /// What it is called in errors.
    path: PathBuf,
    /// Where it was read from; nowhere, if a node made it.
    files: Vec<PathBuf>,
    /// PEFT's configuration, which may have come from a file of its own.
    config: Option<String>,
    /// The word that it is in prompts.
    token: Option<String>,
}

/// `adapter.json`, and `00.safetensors` and so on, in the order in which they are applied; none if one is a whole model.
pub(super) fn to_files(adapter: &Adapter) -> Result<Option<Vec<StoredFile<'_>>>> {
    let mut about = Vec::with_capacity(adapter.steps().len());
    let mut files = Vec::with_capacity(adapter.steps().len() + 1);
    for (single, name) in adapter.steps().iter().zip(names(adapter.steps().len())) {
        let Some(bytes) = bytes(single) else { return Ok(None) };
        about.push(About::of(single, bytes));
        files.push(StoredFile::new(name, bytes));
    }
    files.push(json(FILE, &about)?);
    Ok(Some(files))
}

/// What [`to_files`] wrote.
pub(super) fn from_files(files: Vec<StoredFile<'static>>) -> Result<Adapter> {
    let mut files = Files::new(Adapter::TYPE, files)?;
    let about: Vec<About> = files.json(FILE)?;
    let names = names(about.len());
    let step = |(about, name): (About, String)| {
        let bytes = files.take(&name)?;
        if Digest::of(&bytes) != about.bytes {
            return Err(damaged(Adapter::TYPE, format!("`{name}` is another file")).into());
        }
        about.single(bytes).map(Arc::new)
    };
    let steps = about.into_iter().zip(names).map(step).collect::<Result<_>>()?;
    files.end()?;
    Ok(Adapter::new(steps))
}

fn names(count: usize) -> impl Iterator<Item = String> {
    numbered(count).map(|number| format!("{number}.safetensors"))
}

/// The file of an adapter; none if it is a whole model, whose tensors have other names in their files, or if its path is
/// no text.
fn bytes(single: &Single) -> Option<&[u8]> {
    let files = single.files();
    let is_model = single.layers().iter().any(|layer| layer.of == Of::Tensor);
    let is_text = |path: &Path| path.to_str().is_some();
    let is_told = is_text(files.path()) && files.files().iter().all(|file| is_text(file));
    files.one_file().filter(|_| is_told && !is_model)
}

impl About {
    fn of(single: &Single, bytes: &[u8]) -> Self {
        let files = single.files();
        Self {
            name: single.name().to_owned(),
            digest: single.digest(),
            bytes: Digest::of(bytes),
            path: files.path().to_owned(),
            files: files.files().to_vec(),
            config: files.metadata().get(CONFIG).cloned(),
            token: single.word().map(|word| word.token().to_owned()),
        }
    }

    fn single(self, bytes: Vec<u8>) -> Result<Single> {
        let files = WeightFiles::from_copy(&self.path, self.files, bytes)?;
        let files = self.config.into_iter().fold(files, |files, config| files.saying(CONFIG, config));
        match self.token {
            Some(token) => {
                let word = TextualInversion::of_files(&files, &token)?;
                Ok(read::of_word(&self.name, files, word, self.digest))
            }
            None => read::of_files(&self.name, files, self.digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use candle_core::{DType, Device, Tensor};
    use flow_engine::Value as _;

    use super::*;
    use crate::adapter::save;
    use crate::adapter::write::FileDtype;
    use crate::sdxl::testing::repository;
    use crate::sdxl::write::bytes as safetensors;
    use crate::stored::testing::{back, files, survives_damage};

    fn tensor(n: usize, shape: &[usize]) -> Tensor {
        let values = (0..n).map(|i| 0.25 + i as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn lora(value: f32) -> Vec<u8> {
        let tensors = BTreeMap::from([
            ("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight".to_owned(), tensor(6, &[2, 3])),
            ("lora_unet_mid_block_attentions_0_proj_in.lora_up.weight".to_owned(), tensor(8, &[4, 2])),
            (
                "lora_unet_mid_block_attentions_0_proj_in.alpha".to_owned(),
                Tensor::new(value, &Device::Cpu).unwrap(),
            ),
        ]);
        safetensors(&tensors, &[("modelspec.title".to_owned(), "Bär".to_owned())].into()).unwrap()
    }

    fn saved(adapter: &Adapter) -> Vec<u8> {
        let mut bytes = Vec::new();
        save::file(save::only(adapter).unwrap(), None).unwrap().write(&mut bytes).unwrap();
        bytes
    }

    /// Everything about an adapter that others look at.
    fn seen(adapter: &Adapter) -> String {
        let one = |single: &Arc<Single>| {
            let files = single.files();
            let tensors: Vec<_> =
                files.shapes().map(|(name, shape)| (name, shape, files.stored_dtype(name))).collect();
            let word = single.word().map(|word| format!("{word:?}"));
            let (config, made) = (&single.config, files.made_bytes().is_some());
            format!(
                "{} {} {:?} {config:?} {word:?} {:?} {:?} {tensors:?} {made} {:?}",
                single.name(),
                single.digest(),
                single.layers(),
                files.path(),
                files.files(),
                files.metadata()
            )
        };
        adapter.steps().iter().map(one).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_a_node_made_comes_back_byte_by_byte_and_is_not_copied() {
        let steps = [("bear", 1.0), ("bear", 2.0)]
            .map(|(name, alpha)| Arc::new(read::of_bytes(name, lora(alpha)).unwrap()));
        let list = Adapter::new(steps.to_vec());
        assert_eq!(seen(&back(&list)), seen(&list));
        let one = Adapter::new(steps[..1].to_vec());
        assert_eq!(saved(&back(&one)), lora(1.0));
        let stored = list.to_files().unwrap().unwrap();
        let names: Vec<_> = stored.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["00.safetensors", "01.safetensors", "adapter.json"]);
        assert!(matches!(stored[0].bytes, Cow::Borrowed(_)));
        assert_eq!(stored[0].bytes, lora(1.0));
    }

    #[test]
    fn a_file_from_disk_comes_back_without_the_disk_and_is_still_no_nodes_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bear.safetensors");
        std::fs::write(&path, lora(1.0)).unwrap();
        let adapter: Adapter = read::open(&path, Digest::of(b"the file")).unwrap().into();
        let (before, wrote, stored) = (seen(&adapter), saved(&adapter), files(&adapter));
        std::fs::remove_file(&path).unwrap();
        let found = Adapter::from_files(stored).unwrap();
        assert_eq!((seen(&found), saved(&found)), (before, wrote));
    }

    #[test]
    fn a_folder_of_pefts_comes_back_with_its_configuration() {
        let adapter: Adapter =
            read::open(&repository("tests/data/peft-para"), Digest::of(b"x")).unwrap().into();
        let found = back(&adapter);
        assert_eq!(seen(&found), seen(&adapter));
        assert!(found.steps()[0].files().metadata().contains_key(CONFIG));
        assert_eq!(save::folder(&found.steps()[0], Some(FileDtype::F32)).unwrap().len(), 2);
    }

    #[test]
    fn a_word_comes_back_under_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("toy.safetensors");
        let half = tensor(6, &[2, 3]).to_dtype(DType::F16).unwrap();
        let tensors = [("clip_l".to_owned(), half), ("clip_g".to_owned(), tensor(8, &[2, 4]))].into();
        std::fs::write(&path, safetensors(&tensors, &BTreeMap::new()).unwrap()).unwrap();
        let adapter: Adapter = read::open_as(&path, Some("<bear>"), Digest::of(b"x")).unwrap().into();
        let found = back(&adapter);
        assert_eq!((seen(&found), saved(&found)), (seen(&adapter), saved(&adapter)));
    }

    #[test]
    fn a_whole_model_is_not_stored() {
        let adapter: Adapter = read::open(&repository("models/mini-sdxl"), Digest::of(b"x")).unwrap().into();
        assert!(adapter.to_files().unwrap().is_none());
    }

    #[test]
    fn damaged_files_are_refused() {
        survives_damage(&Adapter::from(read::of_bytes("bear", lora(1.0)).unwrap()));
    }
}
