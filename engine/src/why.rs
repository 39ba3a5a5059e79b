//! Why a node runs: which parts of its key are not what they were, in words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::{Digest, KeyParts};

/// What differs between two keys, one sentence without a full stop for each part; `from` names the
/// upstream of an input.
pub fn differences(
    before: &KeyParts,
    after: &KeyParts,
    from: &dyn Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, before: String, after: String| {
        if before != after {
            found.push(format!("{what} is {after}, was {before}"));
        }
    };
    compare("its kind", before.kind.clone(), after.kind.clone());
    compare("the version of its kind", before.version.to_string(), after.version.to_string());
    compare("the version of the numerics", before.numerics.to_string(), after.numerics.to_string());
    compare("the precision", before.dtype.clone(), after.dtype.clone());
    compare("the device", before.device_class.clone(), after.device_class.clone());
    compare("the way keys are made", before.format.to_string(), after.format.to_string());
    found.extend(parameters(&before.parameters, &after.parameters));
    found.extend(files(&before.files, &after.files));
    found.extend(inputs(&before.inputs, &after.inputs, from));
    found
}

fn parameters(before: &Json, after: &Json) -> Vec<String> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    found
}

/// Walks two values together, down to the smallest parts that differ.
fn compare(path: &str, before: &Json, after: &Json, found: &mut Vec<String>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Json::Object(a), Json::Object(b)) if path.is_empty() || a.keys().eq(b.keys()) => {
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&path, &before[name], &after[name], found);
            }
        }
        (before, after) => found.push(format!("`{path}` is {}, was {}", short(after), short(before))),
    }
}

/// A value as a person would write it, cut where it gets long.
fn short(value: &Json) -> String {
    const MOST: usize = 60;
    let text = match value {
        Json::Null => "not set".to_owned(),
        value => value.to_string(),
    };
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

fn files(before: &BTreeMap<String, Digest>, after: &BTreeMap<String, Digest>) -> Vec<String> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changes = names.into_iter().filter_map(|name| match (before.get(name), after.get(name)) {
        (Some(_), None) => Some(format!("it reads {name} no more")),
        (None, Some(_)) => Some(format!("it reads {name}, which it did not")),
        (a, b) if a != b => Some(format!("{name} has other bytes")),
        _ => None,
    });
    changes.collect()
}

fn inputs(
    before: &BTreeMap<String, Digest>,
    after: &BTreeMap<String, Digest>,
    from: &dyn Fn(&str) -> Option<String>,
) -> Vec<String> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let of = |name: &str| from(name).map(|from| format!(", of `{from}`,")).unwrap_or_default();
    let changes = names.into_iter().filter_map(|name| match (before.get(name), after.get(name)) {
        (Some(_), None) => Some(format!("`{name}` has no wire any more")),
        (None, Some(_)) => Some(format!("`{name}` has a wire now")),
        (a, b) if a != b => Some(format!("`{name}`{} is another", of(name))),
        _ => None,
    });
    changes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Dtype, Settings};
    use serde_json::json;

    fn parts(parameters: Json) -> KeyParts {
        KeyParts::new("Sample", 1, 1, parameters, Settings { device: Device::Cpu, dtype: Dtype::F32 })
    }

    fn told(before: &KeyParts, after: &KeyParts) -> Vec<String> {
        differences(before, after, &|_| Some("base".to_owned()))
    }

    #[test]
    fn a_change_is_named_where_it_is_and_with_what_it_was() {
        let before = parts(json!({"seed": 1, "method": {"Para": {"rank": 4}}, "strength": null}));
        let after = parts(json!({"seed": 2, "method": {"Para": {"rank": 8}}, "strength": 0.5}));
        let expected =
            ["`seed` is 2, was 1", "`method.Para.rank` is 8, was 4", "`strength` is 0.5, was not set"];
        assert_eq!(told(&before, &after), expected);
        assert!(told(&before, &before).is_empty());
        let other = parts(json!({"seed": 1, "method": {"Lora": {"rank": 4}}, "strength": null}));
        assert_eq!(told(&before, &other), [r#"`method` is {"Lora":{"rank":4}}, was {"Para":{"rank":4}}"#]);
    }

    #[test]
    fn files_inputs_and_versions_are_told() {
        let before = parts(json!({}));
        let mut after = before.clone();
        after.numerics = 2;
        after.files.insert("a.png".into(), Digest::of(b"a"));
        after.inputs.insert("model".into(), Digest::of(b"a"));
        let mut later = after.clone();
        later.files.insert("a.png".into(), Digest::of(b"b"));
        later.inputs.insert("model".into(), Digest::of(b"b"));
        let expected = [
            "the version of the numerics is 2, was 1",
            "it reads a.png, which it did not",
            "`model` has a wire now",
        ];
        assert_eq!(told(&before, &after), expected);
        assert_eq!(told(&after, &later), ["a.png has other bytes", "`model`, of `base`, is another"]);
    }
}
