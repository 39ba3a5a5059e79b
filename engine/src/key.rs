//! Keys: names for results, made from everything that decides them and nothing else.
//!
//! Every node has two, over the same parts. They differ in how an input enters:
//!
//! - the **recipe key** takes the upstream's recipe key, so it is known before anything runs;
//! - the **content key** takes the upstream's output digest, so an upstream that runs again and
//!   gives the same bytes changes nothing downstream.
//!
//! A node's name, its place in a file and comments are in neither. A key does not know what it
//! is used for: the store and the plan file things under it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value as Json;

use crate::Settings;

/// Raised when the way keys are made changes.
const KEY_FORMAT: u32 = 1;

/// A BLAKE3 hash, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of many bytes, taken by all processors.
    pub fn of_large(bytes: &[u8]) -> Self {
        /// Below this, waking the others takes longer than hashing.
        const LARGE: usize = 1 << 20;
        if bytes.len() < LARGE {
            return Self::of(bytes);
        }
        Self(*blake3::Hasher::new().update_rayon(bytes).finalize().as_bytes())
    }

    /// The digest of these bytes of a hash.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of a sequence of byte strings; where one ends and the next starts matters.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The first twelve digits: enough for a person to tell results apart.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }

    /// The bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Everything that decides a node's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyParts {
    /// The way keys are made.
    pub format: u32,
    /// The node's kind.
    pub kind: String,
    /// The kind's own version.
    pub version: u32,
    /// The version of all the numerics behind the nodes.
    pub numerics: u32,
    /// Parameters with defaults filled in; wires are null here and named in `inputs`.
    pub parameters: Arc<Json>,
    /// Digests of the files that the node reads, by path.
    pub files: BTreeMap<String, Digest>,
    /// Precision of the run.
    pub dtype: String,
    /// Device of the run, without its ordinal.
    pub device_class: String,
    /// Per input, its upstream's recipe key or output digest.
    pub inputs: BTreeMap<String, Digest>,
}

impl KeyParts {
    /// The parts that do not depend on inputs.
    pub fn new(
        kind: &str,
        version: u32,
        numerics: u32,
        parameters: impl Into<Arc<Json>>,
        settings: Settings,
    ) -> Self {
        Self {
            format: KEY_FORMAT,
            kind: kind.to_owned(),
            version,
            numerics,
            parameters: parameters.into(),
            files: BTreeMap::new(),
            dtype: settings.dtype.to_string(),
            device_class: settings.device.class().to_owned(),
            inputs: BTreeMap::new(),
        }
    }

    /// The digest of everything but the inputs: a node's base for both of its keys.
    pub fn base(&self) -> Digest {
        let Self { format, kind, version, numerics, parameters, files, dtype, device_class, inputs: _ } =
            self;
        let mut text = format!("{format} {kind} {version} {numerics} {dtype} {device_class}\n");
        write_canonical(parameters, &mut text);
        for (path, digest) in files {
            text.push_str(&format!("\n{} {digest}", Json::from(path.as_str())));
        }
        Digest::of(text.as_bytes())
    }

    /// The key: BLAKE3 over the base and the inputs in the order of their names.
    pub fn key(&self) -> Digest {
        let inputs: Vec<_> = self.inputs.iter().map(|(name, digest)| (name.as_str(), *digest)).collect();
        Self::key_over(self.base(), &inputs)
    }

    /// The key of a base over inputs in the order of their names.
    pub fn key_over(base: Digest, inputs: &[(&str, Digest)]) -> Digest {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&base.0);
        for (name, digest) in inputs {
            bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&digest.0);
        }
        // Hashed at once: a plan makes two keys for every node.
        Digest::of(&bytes)
    }
}

/// Writes JSON with object keys sorted and no white space: equal values, equal text.
fn write_canonical(json: &Json, text: &mut String) {
    match json {
        Json::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Json::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in entries {
                write_canonical(&Json::from(name.as_str()), text);
                text.push(':');
                write_canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        scalar => {
            // Writing to text cannot fail.
            let _ = write!(text, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Dtype};
    use serde_json::json;

    fn parts(parameters: Json) -> KeyParts {
        KeyParts::new("Sample", 1, 1, parameters, Settings { device: Device::Cpu, dtype: Dtype::F32 })
    }

    #[test]
    fn the_order_of_parameters_does_not_matter_and_their_values_do() {
        let key = parts(json!({"seed": 1, "size": {"h": 2, "w": 3}})).key();
        assert_eq!(key, parts(json!({"size": {"w": 3, "h": 2}, "seed": 1})).key());
        assert_ne!(key, parts(json!({"seed": 2, "size": {"h": 2, "w": 3}})).key());
        assert_ne!(key, parts(json!({"seed": "1", "size": {"h": 2, "w": 3}})).key());
    }

    #[test]
    fn every_part_decides() {
        let base = parts(json!({}));
        let mut others = vec![base.clone(); 7];
        others[0].version = 2;
        others[1].numerics = 2;
        others[2].dtype = "f16".into();
        others[3].device_class = "cuda".into();
        others[4].files.insert("a".into(), Digest::of(b"a"));
        others[5].inputs.insert("model".into(), Digest::of(b"a"));
        others[6].kind = "Other".into();
        let keys: std::collections::HashSet<_> = others.iter().chain([&base]).map(KeyParts::key).collect();
        assert_eq!(keys.len(), 8);
    }

    #[test]
    fn a_digest_of_parts_knows_where_parts_end() {
        assert_ne!(Digest::of_parts([&b"ab"[..], b"c"]), Digest::of_parts([&b"a"[..], b"bc"]));
    }

    #[test]
    fn a_digest_reads_back_as_it_is_written() {
        let digest = Digest::of(b"flow");
        assert_eq!(digest.to_string().parse().ok(), Some(digest));
    }
}
