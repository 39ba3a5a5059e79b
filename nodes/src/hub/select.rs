//! Which of a repository's files Flow needs.
//!
//! A repository has the same weights many times over: pickles, ONNX, Flax, one big file, halves. The rule is
//! the same for what the hub lists and for what the cache holds, so a snapshot is complete when the rule finds
//! all it needs in it.

use std::collections::BTreeSet;

/// Each network's folder and the stem of its weight files.
const PARTS: [(&str, &str); 4] = [
    ("text_encoder", "model"),
    ("text_encoder_2", "model"),
    ("vae", "diffusion_pytorch_model"),
    ("unet", "diffusion_pytorch_model"),
];

/// What a repository is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// SDXL in diffusers' folders.
    Sdxl,
    /// A CLIP model as transformers saves one, with its tokenizer.
    Clip,
}

/// What comes between the stem of a weight file in half precision and its extension.
const HALF: &str = ".fp16";

/// The files of a repository that are needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Their names, small ones first.
    pub files: Vec<String>,
    /// Weights in full precision that were wanted and are not there; halves stand in for them.
    pub no_full: Vec<String>,
}

/// Chooses among `names`; halves before full precision if `half`.
///
/// # Errors
/// The names of what is missing.
pub(super) fn select(names: &BTreeSet<String>, wanted: Wanted, half: bool) -> Result<Selection, Vec<String>> {
    match wanted {
        Wanted::Sdxl => sdxl(names, half),
        Wanted::Clip => clip(names),
    }
}

/// A judge is taken in full precision: what it says is to be the same everywhere.
fn clip(names: &BTreeSet<String>) -> Result<Selection, Vec<String>> {
    let given = |name: &&str| names.contains(*name);
    let optional = ["preprocessor_config.json"].into_iter().filter(given).map(str::to_owned);
    let mut files: Vec<_> = ["config.json".to_owned()].into_iter().chain(optional).collect();
    let mut missing: Vec<_> = files.iter().filter(|name| !names.contains(*name)).cloned().collect();
    match tokenizer(names, "") {
        Ok(found) => files.extend(found),
        Err(absent) => missing.push(absent),
    }
    match weights(names, "", "model", "") {
        Some(found) => files.extend(found),
        None => missing.push("model.safetensors".to_owned()),
    }
    if missing.is_empty() { Ok(Selection { files, no_full: Vec::new() }) } else { Err(missing) }
}

fn sdxl(names: &BTreeSet<String>, half: bool) -> Result<Selection, Vec<String>> {
    let mut selection = Selection::default();
    let mut missing = Vec::new();
    let mut need = |name: String| match names.contains(&name) {
        true => selection.files.push(name),
        false => missing.push(name),
    };
    need("model_index.json".to_owned());
    need("scheduler/scheduler_config.json".to_owned());
    PARTS.iter().for_each(|(folder, _)| need(format!("{folder}/config.json")));
    for folder in ["tokenizer", "tokenizer_2"] {
        match tokenizer(names, folder) {
            Ok(files) => selection.files.extend(files),
            Err(absent) => missing.push(absent),
        }
    }
    for (folder, stem) in PARTS {
        let full = || weights(names, folder, stem, "");
        let halves = || weights(names, folder, stem, HALF);
        let found = if half { halves().or_else(full) } else { full() };
        let whole = format!("{folder}/{stem}.safetensors");
        match found.or_else(|| halves().inspect(|_| selection.no_full.push(whole.clone()))) {
            Some(files) => selection.files.extend(files),
            None => missing.push(whole),
        }
    }
    if missing.is_empty() { Ok(selection) } else { Err(missing) }
}

/// The name of a file in a folder, or in the repository itself.
fn within(folder: &str, file: &str) -> String {
    if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") }
}

/// All files of a tokenizer that Flow or the Python tools read.
fn tokenizer(names: &BTreeSet<String>, folder: &str) -> Result<Vec<String>, String> {
    let files =
        ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"];
    let files: Vec<_> =
        files.map(|file| within(folder, file)).into_iter().filter(|name| names.contains(name)).collect();
    let has = |file: &str| files.contains(&within(folder, file));
    match has("tokenizer.json") || (has("vocab.json") && has("merges.txt")) {
        true => Ok(files),
        false => Err(within(folder, if has("vocab.json") { "merges.txt" } else { "vocab.json" })),
    }
}

/// The weights of one part in one variant, whole or in all their shards.
fn weights(names: &BTreeSet<String>, folder: &str, stem: &str, variant: &str) -> Option<Vec<String>> {
    let whole = within(folder, &format!("{stem}{variant}.safetensors"));
    if names.contains(&whole) {
        return Some(vec![whole]);
    }
    let indices = [
        format!("{stem}{variant}.safetensors.index.json"),
        format!("{stem}.safetensors.index{variant}.json"),
    ];
    let index =
        indices.into_iter().map(|index| within(folder, &index)).find(|index| names.contains(index))?;
    let shards = names.iter().filter_map(|name| {
        let file = name.strip_prefix(&within(folder, ""))?;
        let of = shards_beside(file, stem, variant)?;
        Some((name.clone(), of))
    });
    let shards: Vec<_> = shards.collect();
    let is_complete = !shards.is_empty() && shards.iter().all(|(_, of)| *of == shards.len());
    is_complete.then(|| [index].into_iter().chain(shards.into_iter().map(|(name, _)| name)).collect())
}

/// Of how many shards a file is one, as in `model.fp16-00001-of-00002.safetensors`.
fn shards_beside(file: &str, stem: &str, variant: &str) -> Option<usize> {
    let file = file.strip_prefix(stem)?.strip_suffix(".safetensors")?;
    // The variant stands before the number; in old files after it.
    let number = match file.strip_prefix(variant).and_then(|rest| rest.strip_prefix('-')) {
        Some(number) => number,
        None => file.strip_prefix('-')?.strip_suffix(variant)?,
    };
    let (at, of) = number.split_once("-of-")?;
    at.parse::<usize>().ok().and(of.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in a repository like SDXL's, with these in its `unet`.
    fn names(unet: &[&str]) -> BTreeSet<String> {
        let common = "model_index.json README.md sd_xl_base_1.0.safetensors scheduler/scheduler_config.json \
            tokenizer/vocab.json tokenizer/merges.txt tokenizer_2/vocab.json tokenizer_2/merges.txt \
            tokenizer_2/special_tokens_map.json text_encoder/config.json text_encoder/model.safetensors \
            text_encoder/model.fp16.safetensors text_encoder/model.onnx text_encoder/flax_model.msgpack \
            text_encoder/pytorch_model.bin text_encoder_2/config.json text_encoder_2/model.safetensors \
            vae/config.json vae/diffusion_pytorch_model.safetensors vae/diffusion_pytorch_model.fp16.safetensors \
            vae_1_0/diffusion_pytorch_model.safetensors unet/config.json";
        common
            .split_whitespace()
            .map(str::to_owned)
            .chain(unet.iter().map(|name| format!("unet/{name}")))
            .collect()
    }

    /// The weights that are chosen.
    fn chosen(unet: &[&str], half: bool) -> Vec<String> {
        let files = select(&names(unet), Wanted::Sdxl, half).unwrap().files;
        files.into_iter().filter(|name| name.contains("model") && name.contains('/')).collect()
    }

    const BOTH: [&str; 2] =
        ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"];

    #[test]
    fn full_precision_is_taken_and_nothing_twice() {
        let expected = [
            "text_encoder/model",
            "text_encoder_2/model",
            "vae/diffusion_pytorch_model",
            "unet/diffusion_pytorch_model",
        ];
        assert_eq!(chosen(&BOTH, false), expected.map(|stem| format!("{stem}.safetensors")));
        assert_eq!(select(&names(&BOTH), Wanted::Sdxl, false).unwrap().files.len(), 15);
    }

    #[test]
    fn halves_are_taken_part_by_part_where_they_do() {
        let expected = [
            "text_encoder/model.fp16.safetensors",
            "text_encoder_2/model.safetensors",
            "vae/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.fp16.safetensors",
        ];
        assert_eq!(chosen(&BOTH, true), expected);
    }

    #[test]
    fn halves_stand_in_for_full_precision_and_that_is_told() {
        let selection = select(&names(&BOTH[1..]), Wanted::Sdxl, false).unwrap();
        assert_eq!(selection.no_full, ["unet/diffusion_pytorch_model.safetensors"]);
        assert!(select(&names(&BOTH[1..]), Wanted::Sdxl, true).unwrap().no_full.is_empty());
    }

    #[test]
    fn shards_come_all_with_their_index_or_not_at_all() {
        for (variant, index, shards) in [
            ("", "safetensors.index.json", ["-00001-of-00002", "-00002-of-00002"]),
            (HALF, "fp16.safetensors.index.json", [".fp16-00001-of-00002", ".fp16-00002-of-00002"]),
            (HALF, "safetensors.index.fp16.json", ["-00001-of-00002.fp16", "-00002-of-00002.fp16"]),
        ] {
            let index = format!("diffusion_pytorch_model.{index}");
            let shards = shards.map(|shard| format!("diffusion_pytorch_model{shard}.safetensors"));
            let all: Vec<&str> = [&index, &shards[0], &shards[1]].map(String::as_str).to_vec();
            let taken = chosen(&all, !variant.is_empty());
            assert_eq!(
                taken[taken.len() - 3..],
                [&index, &shards[0], &shards[1]].map(|name| format!("unet/{name}"))
            );
            assert_eq!(
                select(&names(&all[..2]), Wanted::Sdxl, true),
                Err(vec!["unet/diffusion_pytorch_model.safetensors".to_owned()])
            );
        }
    }

    #[test]
    fn what_is_missing_is_told_by_name() {
        let mut names = names(&["diffusion_pytorch_model.bin"]);
        names.remove("tokenizer/merges.txt");
        let missing = ["tokenizer/merges.txt", "unet/diffusion_pytorch_model.safetensors"];
        assert_eq!(select(&names, Wanted::Sdxl, true), Err(missing.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_judge_is_its_towers_and_its_tokenizer() {
        let names = |more: &str| -> BTreeSet<String> {
            let common = "README.md config.json preprocessor_config.json tokenizer.json vocab.json merges.txt \
                tf_model.h5 flax_model.msgpack pytorch_model.bin";
            common.split_whitespace().chain(more.split_whitespace()).map(str::to_owned).collect()
        };
        let chosen = |more: &str| select(&names(more), Wanted::Clip, true).map(|selection| selection.files);
        let small = ["config.json", "preprocessor_config.json", "tokenizer.json", "vocab.json", "merges.txt"];
        assert_eq!(chosen("model.safetensors").unwrap(), [&small[..], &["model.safetensors"]].concat());
        let shards =
            "model.safetensors.index.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors";
        assert_eq!(chosen(shards).unwrap().len(), 8);
        assert_eq!(chosen("").unwrap_err(), ["model.safetensors"]);
        assert!(select(&names("model.safetensors"), Wanted::Sdxl, false).is_err());
    }
}
