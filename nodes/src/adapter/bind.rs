//! An adapter against a model: which of its layers changes which tensor, and everything that does not fit.
//!
//! Only names and shapes are looked at.

use std::collections::BTreeMap;

use flow_engine::{Problem, Result};

use super::names::{Names, Target};
use super::single::{Layer, Single};

/// Which layer of an adapter changes which tensor of a model.
#[derive(Debug, Clone, Default)]
pub struct Bound {
    layers: BTreeMap<Target, usize>,
    left_out: Vec<String>,
}

impl Bound {
    /// Finds the tensors that an adapter changes.
    ///
    /// With `allow_unmatched`, what finds no layer or does not fit is [left out](Self::left_out).
    ///
    /// # Errors
    /// An adapter of another model family, by its name; else everything that finds no layer or does not fit.
    pub fn new(single: &Single, names: &Names, allow_unmatched: bool) -> Result<Self> {
        let mut this = Self::default();
        for (index, layer) in single.layers().iter().enumerate() {
            match this.fit(single, layer, names) {
                Ok(target) => {
                    this.layers.insert(target, index);
                }
                Err(wrong) => this.left_out.push(wrong),
            }
        }
        if let Some(word) = single.word() {
            word.fits(names.text_configs())?;
        }
        if this.left_out.is_empty() || (allow_unmatched && !this.layers.is_empty()) {
            return Ok(this);
        }
        Err(refusal(single, &this).into())
    }

    fn fit(&self, single: &Single, layer: &Layer, names: &Names) -> Result<Target, String> {
        let module = &layer.module;
        let target = names.find(module, layer.of);
        let target = target.ok_or_else(|| format!("`{module}` is no layer of the model"))?;
        if let Some(&other) = self.layers.get(&target) {
            let other = &single.layers()[other].module;
            return Err(format!("`{module}` and `{other}` are both `{}`", target.tensor));
        }
        let shape = names.shape(&target).unwrap_or_default();
        layer
            .method
            .check(&single.pieces(layer), shape)
            .map_err(|wrong| format!("`{module}` does not fit the model's {shape:?}: {wrong}"))?;
        Ok(target)
    }

    /// The adapter's layer that changes a tensor.
    pub fn layer<'a>(&self, single: &'a Single, target: &Target) -> Option<&'a Layer> {
        single.layers().get(*self.layers.get(target)?)
    }

    /// Whether it changes a tensor.
    pub fn changes(&self, target: &Target) -> bool {
        self.layers.contains_key(target)
    }

    /// The tensors that it changes.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.layers.keys()
    }

    /// What found no layer, and what does not fit.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }
}

fn refusal(single: &Single, bound: &Bound) -> Problem {
    let (name, wrong) = (single.name(), &bound.left_out);
    if let Some(family) = other_family(single) {
        return Problem::new(format!("`{name}` is an adapter for {family}, and the model is SDXL"))
            .hint("look for its SDXL version: adapters do not carry over between families");
    }
    let message = format!("`{name}` does not fit the model:\n  {}", wrong.join("\n  "));
    let hint = if bound.layers.is_empty() {
        "was it made for another model?"
    } else {
        "if the rest of it is wanted all the same, set `allow_unmatched: true`"
    };
    Problem::new(message).hint(hint)
}

/// The family whose layers a file names or whose text it reads, if that is another than SDXL.
pub(crate) fn other_family(single: &Single) -> Option<&'static str> {
    let has = |part: &str| single.layers().iter().any(|layer| layer.module.contains(part));
    if has("single_blocks") || has("single_transformer_blocks") || has("double_blocks") {
        return Some("Flux");
    }
    if has("joint_blocks") {
        return Some("SD 3");
    }
    let reads = single.files().shapes().find(|(name, _)| {
        let input = ["lora_down.", "lora_A.", "lora.down.", "hada_w1_b"];
        name.contains("attn2") && name.contains("to_k") && input.iter().any(|end| name.contains(end))
    });
    match reads.and_then(|(_, shape)| shape.get(1)) {
        Some(768) => Some("SD 1.x (such as SD 1.5)"),
        Some(1024) => Some("SD 2.x"),
        _ if has("lora_te_text_model") => Some("SD 1.x or 2.x, with one text encoder"),
        _ => None,
    }
}
