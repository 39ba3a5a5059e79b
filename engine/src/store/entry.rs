//! What is written beside a stored result: its key with all parts, its files, what it took.
//!
//! An entry is one JSON object in a file of its own, with a checksum below: a torn or damaged
//! entry is none.

use serde::{Deserialize, Serialize};

use super::Found;
use crate::{Digest, KeyParts, Problem, Result};

/// Raised when the form of entries changes; entries of another format are none.
const FORMAT: u32 = 1;

/// A stored result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    format: u32,
    /// The content key.
    pub key: Digest,
    /// What the key is made from.
    pub parts: KeyParts,
    /// Name of the value's type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Digest of the value.
    pub digest: Digest,
    /// Its files; none for a value that is made again rather than stored.
    pub files: Option<Vec<EntryFile>>,
    /// What making it took.
    pub cost: Cost,
    /// Seconds since 1970 when it was made.
    pub time: u64,
    /// What a person was told while it was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<(String, Option<String>)>,
}

/// A file of a stored result, filed under its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryFile {
    /// Its name in the value.
    pub name: String,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

/// What making a result took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// How long the node ran.
    pub seconds: f64,
    /// The most memory that the process had held by its end, where the system tells.
    pub peak_bytes: Option<u64>,
    /// Floating-point operations that its shapes ask for, where the node knows them.
    pub flops: Option<f64>,
}

impl Entry {
    /// The entry of a result that was just made.
    pub fn new(parts: KeyParts, type_name: &str, digest: Digest, cost: Cost) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            format: FORMAT,
            key: parts.key(),
            parts,
            type_name: type_name.to_owned(),
            digest,
            files: None,
            cost,
            time: now.map_or(0, |since| since.as_secs()),
            warnings: Vec::new(),
        }
    }

    /// The size of its files; none for a value that is made again.
    pub fn bytes(&self) -> Option<u64> {
        let total =
            |files: &Vec<EntryFile>| files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
        self.files.as_ref().map(total)
    }

    /// What the index says of it.
    pub(super) fn found(&self) -> Found {
        Found { digest: self.digest, bytes: self.bytes(), warns: !self.warnings.is_empty() }
    }

    /// Its written form.
    ///
    /// # Errors
    /// Numbers that JSON does not have.
    pub fn to_text(&self) -> Result<String> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{json}\n{}\n", Digest::of(json.as_bytes())))
    }

    /// The entry of a written form.
    ///
    /// # Errors
    /// A text that is damaged, or was written by another version of Flow.
    pub fn from_text(text: &str) -> Result<Self> {
        let (json, check) = text
            .strip_suffix('\n')
            .and_then(|text| text.rsplit_once('\n'))
            .ok_or_else(|| Problem::new("the entry is cut off"))?;
        if check.parse().ok() != Some(Digest::of(json.as_bytes())) {
            return Err(Problem::new("the entry does not match its checksum").into());
        }
        let entry: Self = serde_json::from_str(json)?;
        if entry.format != FORMAT {
            return Err(Problem::new(format!("the entry has format {}, not {FORMAT}", entry.format)).into());
        }
        Ok(entry)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{Device, Dtype, Settings};

    pub(in crate::store) fn entry(seed: u64) -> Entry {
        let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
        let parameters = serde_json::json!({"seed": seed, "scale": 0.1 + 0.2});
        let parts = KeyParts::new("Sample", 1, 1, parameters, settings);
        let cost = Cost { seconds: 0.1 + 0.7, peak_bytes: Some(5), flops: Some(1e9) };
        Entry::new(parts, "Text", Digest::of(b"value"), cost)
    }

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        let mut entry = entry(1);
        entry.files = Some(vec![EntryFile { name: "a".into(), digest: Digest::of(b"a"), bytes: 1 }]);
        entry.warnings = vec![("long".into(), None)];
        assert_eq!(Entry::from_text(&entry.to_text().unwrap()).unwrap(), entry);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let text = entry(1).to_text().unwrap();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(damaged) = String::from_utf8(bytes) else { continue };
            assert!(Entry::from_text(&damaged).is_err(), "byte {at} of {text}");
        }
        assert!(Entry::from_text(&text[..text.len() - 1]).is_err());
        assert!(Entry::from_text("").is_err());
    }
}
