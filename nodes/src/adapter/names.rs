//! Which tensor of a model an adapter's file means.
//!
//! Files call a layer by diffusers' name, by that of the original layout, or by either with underscores, with the
//! network before it in several spellings. All of them are written down for every layer of a model, and looked up.

use std::collections::{BTreeMap, HashMap};

use flow_engine::Result;

use super::method::Of;
use crate::sdxl::config::TextConfig;
use crate::sdxl::original::{self, OriginalNames};
use crate::sdxl::{Checkpoint, Part};

/// A tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Its network.
    pub part: Part,
    /// Its diffusers name.
    pub tensor: String,
}

impl Target {
    /// The layer whose weight it is, by its diffusers name; another tensor's own name.
    pub fn module(&self) -> &str {
        self.tensor.strip_suffix(".weight").unwrap_or(&self.tensor)
    }
}

/// The layers of a model by every name that files have for them.
#[derive(Debug)]
pub struct Names {
    modules: HashMap<String, (Part, String)>,
    shapes: BTreeMap<Part, BTreeMap<String, Vec<usize>>>,
    text: [TextConfig; 2],
}

/// The networks that adapters change.
const PARTS: [Part; 3] = [Part::Unet, Part::TextEncoder, Part::TextEncoder2];

impl Names {
    /// The names of a model's layers.
    ///
    /// # Errors
    /// None for an opened checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let shapes = PARTS.into_iter().map(|part| Ok((part, checkpoint.layout(part)?)));
        let shapes: BTreeMap<_, BTreeMap<String, Vec<usize>>> = shapes.collect::<Result<_>>()?;
        let originals = OriginalNames::new(checkpoint.unet_config(), checkpoint.vae_config());
        let mut modules = HashMap::new();
        for (&part, tensors) in &shapes {
            for module in tensors.keys().filter_map(|tensor| tensor.strip_suffix(".weight")) {
                for name in spellings(part, module, &originals) {
                    modules.insert(name, (part, module.to_owned()));
                }
            }
        }
        Ok(Self { modules, shapes, text: checkpoint.text_configs().clone() })
    }

    /// The tensor that a file means by a layer of this name.
    pub fn find(&self, module: &str, of: Of) -> Option<Target> {
        if of == Of::Tensor {
            let (part, tensor) = PARTS.into_iter().find_map(|part| {
                let tensor = module.strip_prefix(part.folder())?.strip_prefix('.')?;
                Some((part, tensor))
            })?;
            let target = Target { part, tensor: tensor.to_owned() };
            return self.shape(&target).is_some().then_some(target);
        }
        let (part, module) =
            self.modules.get(module).or_else(|| self.modules.get(&without_processor(module)))?;
        let end = if of == Of::Bias { "bias" } else { "weight" };
        let target = Target { part: *part, tensor: format!("{module}.{end}") };
        self.shape(&target).is_some().then_some(target)
    }

    /// The shape of a tensor.
    pub fn shape(&self, target: &Target) -> Option<&[usize]> {
        self.shapes.get(&target.part)?.get(&target.tensor).map(Vec::as_slice)
    }

    /// The settings of the text encoders.
    pub fn text_configs(&self) -> &[TextConfig; 2] {
        &self.text
    }

    /// The names and shapes of a network's tensors.
    pub fn shapes(&self, part: Part) -> impl Iterator<Item = (&str, &[usize])> {
        let shapes = self.shapes.get(&part).into_iter().flatten();
        shapes.map(|(name, shape)| (name.as_str(), shape.as_slice()))
    }
}

/// The weight that a file means by a layer's name, where the name says the module path; kohya's does not.
pub fn target_of(module: &str) -> Option<Target> {
    let strip = |prefix| module.strip_prefix(prefix);
    let (part, path) = if let Some(path) = strip("text_encoder_2.") {
        (Part::TextEncoder2, path)
    } else if let Some(path) = strip("text_encoder.") {
        (Part::TextEncoder, path)
    } else if let Some(path) = strip("base_model.model.unet.").or_else(|| strip("base_model.model.")) {
        (Part::Unet, path)
    } else {
        (Part::Unet, strip("unet.").unwrap_or(module))
    };
    let path = without_processor(path);
    let is_path = path.contains('.') || matches!(path.as_str(), "conv_in" | "conv_out");
    let is_original = strip("diffusion_model.").is_some();
    (is_path && !is_original).then(|| Target { part, tensor: format!("{path}.weight") })
}

/// Every name of a layer that files are known to use.
fn spellings(part: Part, module: &str, originals: &OriginalNames) -> Vec<String> {
    let flat = module.replace('.', "_");
    let mut names = vec![format!("{}.{module}", part.folder())];
    let kohya = match part {
        Part::Unet => "unet",
        Part::TextEncoder => "te1",
        Part::TextEncoder2 => "te2",
        Part::Vae => return names,
    };
    names.extend(["lora", "oft", "lycoris"].map(|prefix| format!("{prefix}_{kohya}_{flat}")));
    if part != Part::Unet {
        // As transformers has it since its version 5.
        names.extend(module.strip_prefix("text_model.").map(|module| format!("{}.{module}", part.folder())));
        return names;
    }
    names.extend([
        module.to_owned(),
        format!("base_model.model.{module}"),
        format!("base_model.model.unet.{module}"),
    ]);
    let original = originals.of(part, &format!("{module}.weight")).name;
    let original =
        original.strip_prefix(original::prefix(part)).and_then(|name| name.strip_suffix(".weight"));
    if let Some(original) = original {
        let flat = original.replace('.', "_");
        names.extend(["lora", "oft", "lycoris"].map(|prefix| format!("{prefix}_{kohya}_{flat}")));
        names.push(format!("diffusion_model.{original}"));
    }
    names
}

/// The layer that diffusers' old attention processors mean by `attn1.processor.to_q`.
fn without_processor(module: &str) -> String {
    let module = module.replace(".processor.", ".");
    if module.ends_with(".to_out") { format!("{module}.0") } else { module }
}

/// What kohya's files call a layer, with diffusers' names.
pub fn kohya_name(target: &Target) -> String {
    let module = target.module().replace('.', "_");
    let part = match target.part {
        Part::TextEncoder => "te1",
        Part::TextEncoder2 => "te2",
        _ => "unet",
    };
    format!("lora_{part}_{module}")
}
