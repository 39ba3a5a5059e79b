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

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;
use std::time::SystemTime;

use anyhow::Context as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value as Json;

use crate::{Result, Settings};

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
    pub parameters: Json,
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
    pub fn new(kind: &str, version: u32, numerics: u32, parameters: Json, settings: Settings) -> Self {
        Self {
            format: KEY_FORMAT,
            kind: kind.to_owned(),
            version,
            numerics,
            parameters,
            files: BTreeMap::new(),
            dtype: settings.dtype.to_string(),
            device_class: settings.device.class().to_owned(),
            inputs: BTreeMap::new(),
        }
    }

    /// The digest of everything but the inputs: a node's base for both of its keys.
    pub fn base(&self) -> Digest {
        let fixed = Self { inputs: BTreeMap::new(), ..self.clone() };
        let mut text = String::with_capacity(512);
        write_canonical(&serde_json::to_value(fixed).unwrap_or_default(), &mut text);
        Digest::of(text.as_bytes())
    }

    /// The key: BLAKE3 over the base and the inputs in the order of their names.
    pub fn key(&self) -> Digest {
        Self::key_over(self.base(), &self.inputs)
    }

    /// The key of a base over some inputs.
    pub fn key_over(base: Digest, inputs: &BTreeMap<String, Digest>) -> Digest {
        let inputs = inputs.iter().flat_map(|(name, digest)| [name.as_bytes(), &digest.0]);
        Digest::of_parts(std::iter::once(&base.0[..]).chain(inputs))
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
                text.push_str(&Json::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

/// Digests of files, each read once while its size and time stay what they were.
#[derive(Default)]
pub struct FileDigests {
    known: Mutex<HashMap<PathBuf, (u64, SystemTime, Digest)>>,
}

impl FileDigests {
    /// A digest of a file's name, size and time, for where its bytes are not worth reading.
    pub(crate) fn glance(path: &Path) -> Result<Digest> {
        let describe = || format!("cannot read {}", path.display());
        let metadata = std::fs::metadata(path).with_context(describe)?;
        let seen = format!(
            "{} {} {:?}",
            path.display(),
            metadata.len(),
            metadata.modified().with_context(describe)?
        );
        Ok(Digest::of(seen.as_bytes()))
    }

    /// The digest of a file's bytes.
    pub fn of(&self, path: &Path) -> Result<Digest> {
        let describe = || format!("cannot read {}", path.display());
        let metadata = std::fs::metadata(path).with_context(describe)?;
        let (size_bytes, modified) = (metadata.len(), metadata.modified().with_context(describe)?);
        let known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(path).copied();
        if let Some((_, _, digest)) = known.filter(|&(size, time, _)| size == size_bytes && time == modified)
        {
            return Ok(digest);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path).with_context(describe)?).with_context(describe)?;
        let digest = Digest(*hasher.finalize().as_bytes());
        let mut known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.insert(path.to_path_buf(), (size_bytes, modified, digest));
        Ok(digest)
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
