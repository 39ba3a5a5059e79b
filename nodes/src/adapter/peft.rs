//! What PEFT says beside its tensors: in `adapter_config.json`, or, where diffusers writes it, in the metadata of the
//! file.
//!
//! Nothing here knows tensors.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Under which name the file's metadata have what PEFT's configuration says.
const IN_METADATA: &str = "lora_adapter_metadata";
/// Under which name a folder's `adapter_config.json` is put into the metadata.
pub(super) const CONFIG: &str = "adapter_config";

/// A PEFT configuration, as far as there is one.
#[derive(Debug, Clone, Default)]
pub struct Config {
    settings: Map<String, Value>,
    metadata: BTreeMap<String, String>,
}

impl Config {
    /// What a file's metadata say.
    pub(super) fn of(metadata: &BTreeMap<String, String>) -> Self {
        let parse = |name: &str| metadata.get(name).and_then(|text| serde_json::from_str(text).ok());
        let settings = parse(CONFIG).or_else(|| parse(IN_METADATA)).unwrap_or_default();
        Self { settings, metadata: metadata.clone() }
    }

    /// A setting that holds for a layer: diffusers puts the name of the network before that of the setting.
    fn setting(&self, module: &str, name: &str) -> Option<&Value> {
        let part = module.split('.').next().unwrap_or_default();
        self.settings.get(&format!("{part}.{name}")).or_else(|| self.settings.get(name))
    }

    /// The alpha that is stated for a layer.
    pub(super) fn alpha(&self, module: &str) -> Option<f64> {
        let by_layer = self.setting(module, "alpha_pattern").and_then(|patterns| pattern(patterns, module));
        by_layer.or_else(|| self.setting(module, "lora_alpha"))?.as_f64()
    }

    /// A setting that is true or false, in whichever place it is; none if nothing says so.
    pub(super) fn flag(&self, module: &str, name: &str) -> Option<bool> {
        match self.setting(module, name) {
            Some(value) => value.as_bool(),
            None => self.metadata.get(name).map(|text| text.eq_ignore_ascii_case("true")),
        }
    }
}

/// What a table of patterns says of a module: a pattern is the end of a name, as PEFT reads it.
fn pattern<'a>(patterns: &'a Value, module: &str) -> Option<&'a Value> {
    let ends = |pattern: &str| module == pattern || module.ends_with(&format!(".{pattern}"));
    patterns.as_object()?.iter().find(|(pattern, _)| ends(pattern)).map(|(_, value)| value)
}
