//! What a file of weights is: a model and its parts, or an adapter and its layers, in numbers.
//!
//! Everything comes from headers, except norms. Nothing here knows screens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::DType;
use flow_engine::{Digest, Problem, Result};
use serde::Serialize;

use crate::adapter::names::target_of;
use crate::adapter::{Layer, Of, Single, other_family, read};
use crate::sdxl::detect::Family;
use crate::sdxl::files::WeightFiles;
use crate::sdxl::original::prefix;
use crate::sdxl::{Checkpoint, Part};

/// What is known of a file or folder.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Where it is.
    pub path: String,
    /// What it is, in words.
    pub what: String,
    /// What a person should know of it.
    pub notes: Vec<String>,
    /// All tensors together.
    pub total: Tensors,
    /// Its networks, if it is a model or a part of one.
    pub networks: Vec<Network>,
    /// What it changes, if it is an adapter.
    pub adapter: Option<AdapterInspection>,
    /// The new word that it is, if it is a textual inversion.
    pub word: Option<WordInspection>,
    /// What the files say of themselves.
    pub metadata: BTreeMap<String, String>,
}

/// How much some tensors are.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tensors {
    /// How many there are.
    pub tensors: usize,
    /// How many numbers are in them.
    pub parameters: usize,
    /// What they take, headers left out.
    pub bytes: usize,
    /// Their types.
    pub dtypes: BTreeSet<String>,
}

/// A network of a model.
#[derive(Debug, Serialize)]
pub struct Network {
    /// Its name, which is that of its folder.
    pub network: String,
    /// Its tensors.
    #[serde(flatten)]
    pub tensors: Tensors,
}

/// What an adapter changes.
#[derive(Debug, Serialize)]
pub struct AdapterInspection {
    /// Its methods.
    pub methods: Vec<&'static str>,
    /// Its layers by network.
    pub networks: Vec<Changed>,
    /// Its layers.
    pub layers: Vec<LayerInspection>,
}

/// What an adapter changes in one network.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// The network.
    pub network: &'static str,
    /// How many layers change.
    pub layers: usize,
    /// The smallest and the largest rank, where the method has ranks.
    pub ranks: Option<[usize; 2]>,
    /// The Frobenius norm of everything that is stored; none if something stored is no number.
    pub norm: Option<f64>,
}

/// What an adapter has for one layer.
#[derive(Debug, Serialize)]
pub struct LayerInspection {
    /// The layer as the file calls it.
    pub layer: String,
    /// The network that it is in, as far as its name tells.
    pub network: &'static str,
    /// What it changes: the weight, the bias, or a tensor that is named in full.
    pub changes: &'static str,
    /// How.
    pub method: &'static str,
    /// The rank of the change, where the method has one.
    pub rank: Option<usize>,
    /// The Frobenius norm of its tensors, scales left out; none if something in them is no number.
    pub norm: Option<f64>,
    /// Its tensors.
    pub tensors: Vec<TensorInspection>,
}

/// One stored tensor.
#[derive(Debug, Serialize)]
pub struct TensorInspection {
    /// Its name in the file.
    pub name: String,
    /// What it is to the method.
    pub piece: &'static str,
    /// Its type.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its Frobenius norm; none if something in it is no number.
    pub norm: Option<f64>,
}

/// A new word for prompts.
#[derive(Debug, Serialize)]
pub struct WordInspection {
    /// What stands for it in a prompt.
    pub token: String,
    /// How many vectors it has for each text encoder.
    pub vectors: usize,
    /// Features of a vector, by text encoder.
    pub widths: [usize; 2],
}

/// Looks into a safetensors file, a folder that PEFT saved, or a diffusers folder.
///
/// # Errors
/// What is none of these, is damaged, or holds nothing.
pub fn inspect(path: &Path) -> Result<Inspection> {
    if !path.exists() {
        return Err(Problem::new(format!("`{}` does not exist", path.display())).into());
    }
    if path.join("model_index.json").is_file() {
        return model_folder(path);
    }
    if path.is_dir() && !path.join(read::PEFT_WEIGHTS).is_file() {
        return Err(no_model(path).into());
    }
    let weights = if path.is_dir() { path.join(read::PEFT_WEIGHTS) } else { path.to_owned() };
    let files = WeightFiles::open_file(&weights)?;
    if files.shapes().next().is_none() {
        return Err(Problem::new(format!("`{}` holds no tensor", weights.display())).into());
    }
    let family = Family::of(files.shapes());
    if matches!(family, Family::Adapter | Family::TextualInversion | Family::Unknown) {
        return Ok(adapter(path, &files, family));
    }
    let networks = networks_of(&files);
    Ok(Inspection { networks, ..plain(path, family.name(), &files) })
}

/// What can be said of every file.
fn plain(path: &Path, what: impl Into<String>, files: &WeightFiles) -> Inspection {
    Inspection {
        path: path.display().to_string(),
        what: what.into(),
        notes: Vec::new(),
        total: tensors(files, |_| true),
        networks: Vec::new(),
        adapter: None,
        word: None,
        metadata: files.metadata().clone(),
    }
}

fn tensors(files: &WeightFiles, counts: impl Fn(&str) -> bool) -> Tensors {
    let mut total = Tensors::default();
    for (name, shape) in files.shapes().filter(|(name, _)| counts(name)) {
        let Some(dtype) = files.dtype(name) else { continue };
        let parameters: usize = shape.iter().product();
        total.tensors += 1;
        total.parameters += parameters;
        total.bytes += (parameters * dtype.bitsize()).div_ceil(8);
        total.dtypes.insert(format!("{dtype:?}"));
    }
    total
}

/// The networks in a single file; one without a name if it is not in the original layout.
fn networks_of(files: &WeightFiles) -> Vec<Network> {
    let of = |part: Part| {
        let tensors = tensors(files, |name| name.starts_with(prefix(part)));
        Network { network: part.folder().to_owned(), tensors }
    };
    let mut networks: Vec<_> = Part::ALL.into_iter().map(of).filter(|n| n.tensors.tensors > 0).collect();
    let rest = tensors(files, |name| !Part::ALL.iter().any(|&part| name.starts_with(prefix(part))));
    if !networks.is_empty() && rest.tensors > 0 {
        networks.push(Network { network: "other".into(), tensors: rest });
    }
    networks
}

/// A folder as diffusers saves it, of whatever family.
fn model_folder(path: &Path) -> Result<Inspection> {
    let json = |file: &str| -> Option<serde_json::Value> {
        serde_json::from_slice(&std::fs::read(path.join(file)).ok()?).ok()
    };
    let index = json("model_index.json")
        .ok_or_else(|| Problem::new(format!("`{}/model_index.json` is no JSON", path.display())))?;
    let family = Family::of_folder(&index, json("unet/config.json").as_ref());
    let mut networks = Vec::new();
    let mut all: Option<WeightFiles> = None;
    for (name, files) in weights_in(path)? {
        networks.push(Network { tensors: tensors(&files, |_| true), network: name.clone() });
        let files = files.renamed(|tensor| format!("{name}.{tensor}"));
        all = Some(match all {
            Some(all) => all.and(files),
            None => files,
        });
    }
    let Some(all) = all else {
        let message = format!("there are no safetensors in the folders of `{}`", path.display());
        return Err(Problem::new(message).hint("is its download complete?").into());
    };
    let what = family.map_or("an SDXL model as diffusers saves it", Family::name);
    let refused = family.is_none().then(|| Checkpoint::open(path).err()).flatten();
    let notes = refused.map(|error| format!("Flow cannot run it: {error:#}")).into_iter().collect();
    Ok(Inspection { networks, notes, ..plain(path, what, &all) })
}

/// The weights of every network in a folder, by the network's name.
fn weights_in(path: &Path) -> Result<Vec<(String, WeightFiles)>> {
    let entries = std::fs::read_dir(path)
        .map_err(|cause| Problem::new(format!("cannot read `{}`: {cause}", path.display())))?;
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    let mut found = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stems = ["diffusion_pytorch_model", "model"];
        if let Some(stem) = stems.into_iter().find(|stem| has_weights(&folder, stem)) {
            found.push((name, WeightFiles::open(&folder, stem)?));
        }
    }
    Ok(found)
}

fn has_weights(folder: &Path, stem: &str) -> bool {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.into_iter().any(|name| {
        name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.') && rest.contains("safetensors"))
    })
}

/// What to say of a folder that is nothing.
fn no_model(path: &Path) -> Problem {
    let message =
        format!("`{}` is a folder without `model_index.json` or `{}`", path.display(), read::PEFT_WEIGHTS);
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
    files.sort();
    match files.first() {
        Some(file) => Problem::new(message).hint(format!("name a file in it, such as `{}`", file.display())),
        None => Problem::new(message).hint("name a safetensors file, a diffusers folder or PEFT's"),
    }
}

/// An adapter, or what could be one.
fn adapter(path: &Path, files: &WeightFiles, family: Family) -> Inspection {
    let single = match read::open(path, Digest::of(b"")) {
        Ok(single) => single,
        Err(error) => {
            let notes = match family {
                Family::Unknown => Vec::new(),
                _ => vec![format!("Flow cannot apply it: {error:#}")],
            };
            return Inspection { notes, ..plain(path, family.name(), files) };
        }
    };
    if let Some(word) = single.word() {
        let (token, vectors, widths) = (word.token().to_owned(), word.vectors(), word.widths());
        let word = Some(WordInspection { token, vectors, widths });
        return Inspection { word, ..plain(path, family.name(), files) };
    }
    let layers: Vec<_> = single.layers().iter().map(|layer| layer_of(&single, layer)).collect();
    let methods = single.methods().iter().map(|method| method.name()).collect();
    let notes = other_family(&single).map(|family| format!("It is for {family}, and Flow runs SDXL."));
    let what = format!("an adapter: {}", single.kind());
    Inspection {
        notes: notes.into_iter().collect(),
        adapter: Some(AdapterInspection { methods, networks: changed(&layers), layers }),
        ..plain(path, what, single.files())
    }
}

fn layer_of(single: &Single, layer: &Layer) -> LayerInspection {
    let files = single.files();
    let tensors: Vec<_> = layer.tensors().map(|(piece, name)| tensor_of(files, piece, name)).collect();
    // A scale is no part of what it scales.
    let sized = tensors.iter().filter(|tensor| tensor.piece != "alpha");
    LayerInspection {
        layer: layer.module.clone(),
        network: network_of(&layer.module),
        changes: match layer.of {
            Of::Weight => "weight",
            Of::Bias => "bias",
            Of::Tensor => "tensor",
        },
        method: layer.method.name(),
        rank: layer.method.rank(&single.pieces(layer)),
        norm: together(sized.map(|tensor| tensor.norm)),
        tensors,
    }
}

fn tensor_of(files: &WeightFiles, piece: &'static str, name: &str) -> TensorInspection {
    let squares = || -> Result<f64> {
        let tensor = files.read(name)?.to_dtype(DType::F64)?;
        Ok(tensor.sqr()?.sum_all()?.to_scalar::<f64>()?)
    };
    TensorInspection {
        name: name.to_owned(),
        piece,
        dtype: files.dtype(name).map(|dtype| format!("{dtype:?}")).unwrap_or_default(),
        shape: files.shape(name).unwrap_or_default().to_vec(),
        norm: squares().ok().map(f64::sqrt),
    }
}

/// The Frobenius norm of several tensors from the norm of each.
fn together(norms: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    norms.map(|norm| norm.map(|norm| norm * norm)).sum::<Option<f64>>().map(f64::sqrt)
}

fn changed(layers: &[LayerInspection]) -> Vec<Changed> {
    let names: BTreeSet<_> = layers.iter().map(|layer| layer.network).collect();
    let of = |network| {
        let own: Vec<_> = layers.iter().filter(|layer| layer.network == network).collect();
        let ranks = || own.iter().filter_map(|layer| layer.rank);
        let ranks = ranks().min().zip(ranks().max()).map(<[usize; 2]>::from);
        Changed { network, layers: own.len(), ranks, norm: together(own.iter().map(|layer| layer.norm)) }
    };
    names.into_iter().map(of).collect()
}

/// The network that a layer is in, by what its name begins with.
fn network_of(module: &str) -> &'static str {
    const UNDERSCORED: [(&str, Part); 4] = [
        ("unet_", Part::Unet),
        ("te1_", Part::TextEncoder),
        ("te2_", Part::TextEncoder2),
        ("te_", Part::TextEncoder), // with one text encoder
    ];
    let flat = ["lora_", "oft_", "lycoris_"].iter().find_map(|style| module.strip_prefix(style));
    if let Some(flat) = flat {
        let part = UNDERSCORED.iter().find(|(beginning, _)| flat.starts_with(beginning));
        return part.map_or("other", |(_, part)| part.folder());
    }
    match module {
        _ if module.starts_with("transformer.") => "transformer",
        _ if module.starts_with("diffusion_model.") => Part::Unet.folder(),
        _ => target_of(module).map_or("other", |target| target.part.folder()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_in_the_network_that_its_name_begins_with() {
        for (module, network) in [
            ("lora_unet_down_blocks_1_attentions_0_proj_in", "unet"),
            ("lycoris_te2_text_model_encoder_layers_0_mlp_fc1", "text_encoder_2"),
            ("lora_te_text_model_encoder_layers_0_mlp_fc1", "text_encoder"),
            ("diffusion_model.input_blocks.4.1.proj_in", "unet"),
            ("text_encoder.text_model.encoder.layers.0.mlp.fc1", "text_encoder"),
            ("base_model.model.mid_block.attentions.0.proj_in", "unet"),
            ("transformer.single_transformer_blocks.0.attn.to_q", "transformer"),
            ("lora_transformer_blocks", "other"),
        ] {
            assert_eq!(network_of(module), network, "{module}");
        }
    }

    #[test]
    fn norms_add_in_squares_and_one_that_is_none_leaves_none() {
        assert_eq!(together([Some(3.0), Some(4.0)].into_iter()), Some(5.0));
        assert_eq!(together([Some(3.0), None].into_iter()), None);
    }
}
