//! Adapters as files: PaRa in our format, LoRA in kohya's and PEFT's names.
//!
//! What a node makes is the very bytes that its file would hold, so that a graph and what it saved never differ.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use flow_engine::{Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::basis;
use super::low_rank::LowRank;
use super::names::{Target, kohya_name};
use super::single::Single;
use super::{peft, read};
use crate::sdxl::Part;
use crate::sdxl::write::bytes;

/// Under which name the metadata have the digest of the checkpoint that an adapter was trained on.
pub const BASE_DIGEST: &str = "base_digest";

/// What an adapter's file says of itself.
pub type Metadata = BTreeMap<String, String>;

/// The type of the numbers in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FileDtype {
    /// float16, as most adapters are kept.
    #[default]
    F16,
    /// float32.
    F32,
}

impl FileDtype {
    /// candle's name for it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::F32 => DType::F32,
        }
    }
}

/// The names under which a LoRA's layers stand in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LoraKeys {
    /// `lora_unet_down_blocks_1_...lora_down.weight`, with an alpha for each layer: read by ComfyUI, A1111 and
    /// diffusers.
    #[default]
    Kohya,
    /// `unet.down_blocks.1....lora_A.weight`: PEFT's names as diffusers keeps them.
    Peft,
}

/// A PaRa as our files have it: `unet.<layer>.para_q`, orthonormal `[d, r]`, layers without a direction absent.
///
/// # Errors
/// None for finite bases.
pub fn para(
    name: &str,
    spans: &BTreeMap<Target, basis::Matrix>,
    dtype: FileDtype,
    says: Metadata,
) -> Result<Single> {
    let mut tensors = BTreeMap::new();
    for (target, q) in spans.iter().filter(|(_, q)| q.ncols() > 0) {
        let module = target.module();
        let tensor =
            basis::tensor(q.as_ref(), &[q.nrows(), q.ncols()], &Device::Cpu)?.to_dtype(dtype.dtype())?;
        tensors.insert(format!("{}.{module}.para_q", target.part.folder()), tensor);
    }
    let fixed = [
        ("format", "para"),
        ("version", "1"),
        ("strength", "1"),
        ("modelspec.sai_model_spec", "1.0.0"),
        ("modelspec.architecture", "stable-diffusion-xl-v1-base/para"),
        ("modelspec.implementation", "flow"),
        ("modelspec.title", name),
    ];
    let mut metadata: Metadata = fixed.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    metadata.extend(says);
    read::of_bytes(name, bytes(&tensors, &metadata)?)
}

/// A LoRA with these changes; `kernels` has the shapes of the weights, of which convolutions keep theirs.
///
/// # Errors
/// None for finite factors.
pub fn lora(
    name: &str,
    changes: &BTreeMap<Target, LowRank>,
    kernels: impl Fn(&Target) -> Vec<usize>,
    keys: LoraKeys,
    dtype: FileDtype,
    says: Metadata,
) -> Result<Single> {
    let mut tensors = BTreeMap::new();
    for (target, change) in changes.iter().filter(|(_, change)| change.rank() > 0) {
        let (shape, r) = (kernels(target), change.rank());
        let ones = vec![1; shape.len() - 2];
        let down = [&[r], &shape[1..]].concat();
        let down = basis::tensor(change.down.as_ref(), &down, &Device::Cpu)?.to_dtype(dtype.dtype())?;
        let up = [&[shape[0], r][..], &ones].concat();
        let up = basis::tensor(change.up.as_ref(), &up, &Device::Cpu)?.to_dtype(dtype.dtype())?;
        match keys {
            LoraKeys::Kohya => {
                let module = kohya_name(target);
                let alpha = Tensor::new(r as f32, &Device::Cpu)?.to_dtype(dtype.dtype())?;
                tensors.insert(format!("{module}.lora_down.weight"), down);
                tensors.insert(format!("{module}.lora_up.weight"), up);
                tensors.insert(format!("{module}.alpha"), alpha);
            }
            LoraKeys::Peft => {
                let module = format!("{}.{}", target.part.folder(), target.module());
                tensors.insert(format!("{module}.lora_A.weight"), down);
                tensors.insert(format!("{module}.lora_B.weight"), up);
            }
        }
    }
    let fixed = [
        ("format", "pt"),
        ("modelspec.sai_model_spec", "1.0.0"),
        ("modelspec.architecture", "stable-diffusion-xl-v1-base/lora"),
        ("modelspec.implementation", "flow"),
        ("modelspec.title", name),
    ];
    let mut metadata: Metadata = fixed.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    if keys == LoraKeys::Kohya {
        metadata.insert("ss_network_module".into(), "networks.lora".into());
    }
    metadata.extend(says);
    read::of_bytes(name, bytes(&tensors, &metadata)?)
}

/// A PaRa as PEFT keeps it (its DEFT tuner with `para=True`): linear layers of the denoiser only.
///
/// # Errors
/// Every layer that PEFT has no PaRa for; layers of unequal ranks, which its configuration cannot say.
pub fn deft(
    name: &str,
    spans: &BTreeMap<Target, (basis::Matrix, Vec<usize>)>,
    dtype: FileDtype,
) -> Result<Single> {
    let has_no_form =
        |(target, (_, shape)): &(&Target, &(_, Vec<usize>))| target.part != Part::Unet || shape.len() != 2;
    let foreign: Vec<_> =
        spans.iter().filter(has_no_form).map(|(target, _)| format!("`{}`", target.tensor)).collect();
    if !foreign.is_empty() {
        let message = format!(
            "PEFT has PaRa for linear layers of the denoiser only, and `{name}` also changes:\n  {}",
            foreign.join("\n  ")
        );
        return Err(Problem::new(message).hint("convert it `to: LoRA`, which has every layer").into());
    }
    let mut tensors = BTreeMap::new();
    for (target, (q, _)) in spans {
        let module = target.module();
        let tensor =
            basis::tensor(q.as_ref(), &[q.nrows(), q.ncols()], &Device::Cpu)?.to_dtype(dtype.dtype())?;
        tensors.insert(format!("base_model.model.{module}.deft_P"), tensor);
    }
    let modules: Vec<_> = spans.keys().map(|target| target.module()).collect();
    let ranks: BTreeSet<_> = spans.values().map(|(q, _)| q.ncols()).collect();
    let (Some(rank), 1) = (ranks.first(), ranks.len()) else {
        return Err(unequal_ranks(name, &ranks).into());
    };
    let config = serde_json::json!({
        "peft_type": "DEFT", "para": true, "decomposition_method": "qr", "r": rank, "target_modules": modules,
        "inference_mode": true,
    });
    let metadata =
        [("format".to_owned(), "pt".to_owned()), (peft::CONFIG.to_owned(), config.to_string())].into();
    read::of_bytes(name, bytes(&tensors, &metadata)?)
}

fn unequal_ranks(name: &str, ranks: &BTreeSet<usize>) -> Problem {
    let ranks: Vec<_> = ranks.iter().map(ToString::to_string).collect();
    let ranks = ranks.join(", ");
    Problem::new(format!(
        "PEFT has one rank for all layers of a PaRa, and `{name}` has layers of rank {ranks}"
    ))
    .hint("convert it `to: LoRA`, which has a rank for each layer")
}
