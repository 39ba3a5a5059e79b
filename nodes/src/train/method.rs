//! What can be trained: one file for each method, and one line for it here.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::Tensor;
use flow_engine::{Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chance::Chance;
pub use super::dream_booth::DreamBooth;
use super::layer::{Base, TrainedLayer};
pub use super::loha::Loha;
pub use super::lokr::Lokr;
pub use super::lora::{Locon, Lora, LoraLayer};
pub use super::oft::{Oft, OftLayer};
pub use super::para::{Init, Orthonormalize, Para, ParaLayer};
pub use super::rank::BoundOn;
pub use super::sv_diff::{SvDiff, SvDiffLayer};
pub use super::textual_inversion::{TextualInversion, Words};
use crate::adapter::layers::Layers;
use crate::adapter::names::{Target, kohya_name};
use crate::adapter::write::FileDtype;
use crate::adapter::{Single, read};
use crate::sdxl::write::bytes;

/// A way to personalize a model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum TrainMethod {
    /// Directions taken out of the weights. The paper starts at `B = 0`, where its decomposition has no gradient (and takes out
    /// the first rows of a weight); here directions start as `init` says, and their removal grows over `ramp`.
    Para(Para),
    /// A change of low rank.
    Lora(Lora),
    /// A change of low rank, convolutions too.
    Locon(Locon),
    /// The product of two changes of low rank, entry by entry.
    Loha(Loha),
    /// A Kronecker product.
    Lokr(Lokr),
    /// Rotations.
    Oft(Oft),
    /// Shifted singular values.
    SvDiff(SvDiff),
    /// A word for prompts.
    TextualInversion(TextualInversion),
    /// The weights themselves.
    DreamBooth(DreamBooth),
}

impl TrainMethod {
    /// What it does.
    pub fn method(&self) -> &dyn Method {
        match self {
            Self::Para(method) => method,
            Self::Lora(method) => method,
            Self::Locon(method) => method,
            Self::Loha(method) => method,
            Self::Lokr(method) => method,
            Self::Oft(method) => method,
            Self::SvDiff(method) => method,
            Self::TextualInversion(method) => method,
            Self::DreamBooth(method) => method,
        }
    }
}

/// A way to train.
pub trait Method: fmt::Debug + Send + Sync {
    /// What the field calls it.
    fn name(&self) -> &'static str;

    /// The learning rate, if none is given.
    fn rate(&self) -> f64;

    /// The steps, if none are given: 1000 as in the paper's comparison (arXiv 2406.05641, section 4.1).
    fn steps(&self) -> usize {
        1000
    }

    /// The layers of the denoiser that it trains; none for all of them.
    fn layers(&self) -> Option<&Layers>;

    /// Whether the tensors of the denoiser themselves are trained, norms and biases too, in the place of layers.
    fn trains_tensors(&self) -> bool {
        false
    }

    /// The word that it learns, in the place of layers.
    fn words(&self) -> Option<&TextualInversion> {
        None
    }

    /// The path of the PaRa that it starts from, as it was written.
    fn given(&self) -> Option<&str> {
        None
    }

    /// A layer ready to be trained; none where the method has nothing for it.
    ///
    /// # Errors
    /// A weight that is no number.
    fn layer(&self, _base: &Base<'_>, _chance: &mut Chance) -> Result<Option<Box<dyn TrainedLayer>>> {
        Ok(None)
    }

    /// What to say if it has nothing for any of the chosen layers.
    fn no_layer(&self) -> Problem {
        Problem::new("there is nothing to train in the chosen layers")
    }

    /// How its file is written.
    fn writing(&self) -> Writing;
}

/// What a file holds of each layer, by the name of its weight: how a tensor's name ends, and the tensor.
pub type Pieces = BTreeMap<Target, Vec<(&'static str, Tensor)>>;

/// What to say if `layers` chooses none.
pub fn nothing_chosen() -> Problem {
    Problem::new("`layers` names no layer of the model").hint("`flow inspect --sizes sdxl` lists the subsets")
}

/// How a method's file is written.
#[derive(Debug, Clone)]
pub struct Writing {
    /// What the metadata call it.
    pub architecture: &'static str,
    /// Whether layers go by kohya's names, which other programs read; else by diffusers'.
    pub kohya_names: bool,
    /// What the metadata say besides.
    pub says: Vec<(String, String)>,
}

impl Writing {
    /// The file of a trained adapter: what each layer says of itself, rounded to the file's type.
    ///
    /// # Errors
    /// Values that are no numbers, or that the type does not hold.
    pub fn file(
        &self,
        name: &str,
        layers: &Pieces,
        dtype: FileDtype,
        says: BTreeMap<String, String>,
    ) -> Result<Single> {
        let mut tensors = BTreeMap::new();
        for (target, pieces) in layers {
            let module = if self.kohya_names {
                kohya_name(target)
            } else {
                format!("{}.{}", target.part.folder(), target.module())
            };
            for (end, tensor) in pieces {
                tensors.insert(format!("{module}{end}"), rounded(target, tensor, dtype)?);
            }
        }
        let fixed = [
            ("modelspec.sai_model_spec", "1.0.0".to_owned()),
            ("modelspec.architecture", format!("stable-diffusion-xl-v1-base/{}", self.architecture)),
            ("modelspec.implementation", "flow".to_owned()),
            ("modelspec.title", name.to_owned()),
        ];
        let mut metadata: BTreeMap<String, String> = fixed.map(|(key, value)| (key.to_owned(), value)).into();
        metadata.extend(self.says.iter().cloned());
        metadata.extend(says);
        read::of_bytes(name, bytes(&tensors, &metadata)?)
    }
}

fn rounded(target: &Target, tensor: &Tensor, dtype: FileDtype) -> Result<Tensor> {
    let rounded = tensor.to_dtype(dtype.dtype())?;
    let largest = rounded.to_dtype(candle_core::DType::F32)?.abs()?.max_all()?.to_scalar::<f32>()?;
    if largest.is_finite() {
        return Ok(rounded);
    }
    let message = format!("what was trained of `{}` is too large for the file, or no number", target.tensor);
    Err(Problem::new(message).hint("did the loss explode? Take a smaller `learning_rate`").into())
}
