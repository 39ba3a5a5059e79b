//! `graph.lock.ron`: everything beside the graph's text that decides its results, so that a run elsewhere or next year
//! can be held to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ron::ser::PrettyConfig;
use serde::{Deserialize, Serialize};

use crate::{Digest, Events, Problem, Ready, Result, Session, Stop};

/// Raised when the form of locks changes.
const FORMAT: u32 = 1;

/// What a graph was run with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    format: u32,
    /// Version of the numerics behind all nodes.
    pub numerics: u32,
    /// Precision.
    pub dtype: String,
    /// Device without its ordinal.
    pub device_class: String,
    /// The nodes by name.
    pub nodes: BTreeMap<String, LockedNode>,
    /// Digests of the files that nodes read, by path.
    pub files: BTreeMap<String, Digest>,
}

/// A node of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedNode {
    /// Its kind.
    pub kind: String,
    /// Version of the kind.
    pub version: u32,
    /// Its seed, if it has one.
    #[serde(default)]
    pub seed: Option<u64>,
}

impl Lock {
    /// The lock of a graph as it would run now.
    ///
    /// # Errors
    /// Files that cannot be read, or are not here yet.
    pub fn of(ready: &Ready<'_>, session: &Session, events: &Events, stop: &Stop) -> Result<Self> {
        let bases = ready.bases.completed(&ready.graph, session, events, stop);
        let mut lock = Self {
            format: FORMAT,
            numerics: session.registry.numerics,
            dtype: session.settings.dtype.to_string(),
            device_class: session.settings.device.class().to_owned(),
            nodes: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        for (at, node) in ready.graph.nodes().enumerate() {
            let Some((parts, _)) = bases.get(at) else {
                let problem = Problem::new(format!("the files of `{}` are not here yet", node.name()));
                return Err(problem.hint("run the graph once without a lock").into());
            };
            let seed = parts.parameters["seed"].as_u64();
            let locked = LockedNode { kind: parts.kind.clone(), version: parts.version, seed };
            lock.nodes.insert(node.name().to_owned(), locked);
            lock.files.extend(parts.files.clone());
        }
        Ok(lock)
    }

    /// The lock's file beside its graph: `a.lock.ron` for `a.ron`.
    pub fn beside(graph_file: &Path) -> PathBuf {
        graph_file.with_extension("lock.ron")
    }

    /// Its written form.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_ron(&self) -> Result<String> {
        let body = ron::ser::to_string_pretty(self, PrettyConfig::new().compact_structs(false))?;
        Ok(format!(
            "// What the graph was run with. `flow run --locked` holds a run to it; `flow lock` writes it.\n{body}\n"
        ))
    }

    /// The lock of a written form.
    ///
    /// # Errors
    /// A text that is no lock.
    pub fn from_ron(text: &str) -> Result<Self> {
        let lock: Self = ron::from_str(text)?;
        if lock.format != FORMAT {
            return Err(Problem::new(format!("the lock has format {}, not {FORMAT}", lock.format)).into());
        }
        Ok(lock)
    }

    /// What is not as it was locked, one sentence for each.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, locked: &str, now: &str| {
            if locked != now {
                found.push(format!("{what} is {now}, and is locked to {locked}"));
            }
        };
        compare("the version of the numerics", &self.numerics.to_string(), &now.numerics.to_string());
        compare("the precision", &self.dtype, &now.dtype);
        compare("the device", &self.device_class, &now.device_class);
        for (name, locked) in &self.nodes {
            let Some(node) = now.nodes.get(name) else {
                compare(&format!("node `{name}`"), "be there", "gone");
                continue;
            };
            compare(&format!("the kind of `{name}`"), &locked.kind, &node.kind);
            compare(
                &format!("the version of `{}`", locked.kind),
                &locked.version.to_string(),
                &node.version.to_string(),
            );
            let seed = |seed: Option<u64>| seed.map_or("not set".to_owned(), |seed| seed.to_string());
            compare(&format!("the seed of `{name}`"), &seed(locked.seed), &seed(node.seed));
        }
        for name in now.nodes.keys().filter(|name| !self.nodes.contains_key(*name)) {
            compare(&format!("node `{name}`"), "not be there", "new");
        }
        for (path, locked) in &self.files {
            match now.files.get(path) {
                None => compare(path, "be read", "not read any more"),
                Some(digest) => {
                    compare(path, &format!("bytes {}", locked.short()), &format!("bytes {}", digest.short()))
                }
            }
        }
        for path in now.files.keys().filter(|path| !self.files.contains_key(*path)) {
            compare(path, "not be read", "read");
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let node = LockedNode { kind: "Sample".into(), version: 1, seed: Some(7) };
        Lock {
            format: FORMAT,
            numerics: 1,
            dtype: "f32".into(),
            device_class: "cpu".into(),
            nodes: BTreeMap::from([("a".to_owned(), node)]),
            files: BTreeMap::from([("m.safetensors".to_owned(), Digest::of(b"m"))]),
        }
    }

    #[test]
    fn a_lock_reads_back_as_it_was_written() {
        assert_eq!(Lock::from_ron(&lock().to_ron().unwrap()).unwrap(), lock());
        assert!(Lock::from_ron("Lock()").is_err());
    }

    #[test]
    fn whatever_is_not_as_it_was_is_told() {
        let mut now = lock();
        now.dtype = "f16".into();
        now.nodes.get_mut("a").unwrap().seed = None;
        now.files.insert("m.safetensors".into(), Digest::of(b"n"));
        now.files.insert("more.png".into(), Digest::of(b"n"));
        let differences = lock().differences(&now);
        assert_eq!(differences[0], "the precision is f16, and is locked to f32");
        assert_eq!(differences[1], "the seed of `a` is not set, and is locked to 7");
        assert!(differences[2].starts_with("m.safetensors is bytes "), "{differences:?}");
        assert_eq!(differences[3], "more.png is read, and is locked to not be read");
        assert!(lock().differences(&lock()).is_empty());
    }
}
