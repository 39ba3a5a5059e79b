//! What stands for a method on the page, and what gives its name back.
//!
//! Every choice has an id of its own, a keyed hash of its question and its method. The hash's key comes from the seed and
//! from the bytes of all files with what they say of themselves, which the page does not.
//!
//! This keeps honest people from learning by accident which method they look at. It does not hold against those who look
//! into the page's source and search: who has the files can make the ids again, the pictures themselves may give a
//! method away, and a file of answers can be changed by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flow_engine::{Problem, Result};
use serde::{Deserialize, Serialize};

/// The key of a survey's hashes.
pub struct Secret([u8; 32]);

impl Secret {
    /// The key of a seed and of a survey's content, whose parts stay apart.
    pub fn new<'a>(seed: u64, content: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("flow 2026-11-23 key of a blind survey");
        hasher.update(&seed.to_le_bytes());
        update(&mut hasher, content);
        Self(*hasher.finalize().as_bytes())
    }

    /// Sixteen hexadecimal digits, in which nobody reads what they stand for.
    pub fn id(&self, parts: &[&str]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        update(&mut hasher, parts.iter().map(|part| part.as_bytes()));
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

fn update<'a>(hasher: &mut blake3::Hasher, parts: impl IntoIterator<Item = &'a [u8]>) {
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
}

/// What the answers of a survey mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The survey's id.
    pub survey: String,
    /// What it was drawn with.
    pub seed: u64,
    /// What people are asked.
    pub question: String,
    /// The names of the methods, in the order of the command line.
    pub methods: Vec<String>,
    /// The questions by their ids.
    pub questions: BTreeMap<String, KeyQuestion>,
}

/// What the answers to a question mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyQuestion {
    /// The stem of its files.
    pub name: String,
    /// The names of the methods by the ids of the choices.
    pub choices: BTreeMap<String, String>,
}

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// What cannot be read, is no key, or is one that somebody has changed.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let shown = path.display();
        let hint = "the key is the file `.key.json` that `flow survey` wrote beside the page";
        let wrong = |what: String| Problem::new(what).hint(hint);
        if flow_engine::file::is_special(path) {
            return Err(flow_engine::file::special_file(&shown.to_string()));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("cannot read the key {shown}: {error}")))?;
        let key: Self = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("{shown} is no key of a survey: {error}")))?;
        match key.flaw() {
            Some(flaw) => Err(wrong(format!("the key {shown} is damaged: {flaw}"))),
            None => Ok(key),
        }
    }

    /// As the text of a file.
    ///
    /// # Errors
    /// None that is known: it is all names and numbers.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// What no key has that `flow survey` wrote.
    fn flaw(&self) -> Option<String> {
        let methods: BTreeSet<_> = self.methods.iter().collect();
        if methods.len() < 2 || methods.len() != self.methods.len() {
            return Some("its methods are not two or more that differ".to_owned());
        }
        if self.questions.is_empty() {
            return Some("it has no question".to_owned());
        }
        let is_whole = |question: &KeyQuestion| {
            question.choices.len() == methods.len()
                && question.choices.values().collect::<BTreeSet<_>>() == methods
        };
        let (id, _) = self.questions.iter().find(|(_, question)| !is_whole(question))?;
        Some(format!("the choices of question {id} are not one for each method"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_the_seed_on_the_content_and_on_where_its_parts_end() {
        let id = |seed, content: &[&str], parts: &[&str]| {
            Secret::new(seed, content.iter().map(|part| part.as_bytes())).id(parts)
        };
        let ids = [
            id(0, &["a", "b"], &["q", "m"]),
            id(1, &["a", "b"], &["q", "m"]),
            id(0, &["ab"], &["q", "m"]),
            id(0, &["a", "c"], &["q", "m"]),
            id(0, &["a", "b"], &["qm"]),
            id(0, &["a", "b"], &["q", "n"]),
        ];
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert_eq!(ids[0], id(0, &["a", "b"], &["q", "m"]));
        assert!(ids.iter().all(|id| id.len() == 16));
    }

    #[test]
    fn a_key_reads_back_and_a_changed_one_is_refused() {
        let choices = |names: &[&str]| {
            names.iter().enumerate().map(|(index, name)| (index.to_string(), (*name).to_owned())).collect()
        };
        let key = |methods: &[&str], names: &[&str]| Key {
            survey: "s".into(),
            seed: u64::MAX,
            question: "?".into(),
            methods: methods.iter().map(|name| (*name).to_owned()).collect(),
            questions: [("q".to_owned(), KeyQuestion { name: "07".into(), choices: choices(names) })].into(),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Key::read(&path)
        };
        let whole = key(&["x", "y"], &["y", "x"]);
        assert_eq!(read(&whole.to_json().unwrap()).unwrap(), whole);
        let none = Key { questions: BTreeMap::new(), ..whole };
        for damaged in [
            key(&["x"], &["x"]),
            key(&["x", "x"], &["x", "x"]),
            key(&["x", "y"], &["x"]),
            key(&["x", "y"], &["x", "x"]),
            key(&["x", "y"], &["x", "y", "y"]),
            key(&["x", "y"], &["x", "z"]),
            none,
        ] {
            let error = read(&damaged.to_json().unwrap()).unwrap_err().to_string();
            assert!(error.contains("is damaged"), "{error}");
        }
        for text in ["", "{}", "[", "null"] {
            assert!(read(text).unwrap_err().to_string().contains("is no key of a survey"), "{text}");
        }
        assert!(Key::read(&folder.path().join("gone")).unwrap_err().to_string().contains("cannot read"));
    }
}
