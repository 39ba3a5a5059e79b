//! A script's value as RON, by the schema of the field that it is for.
//!
//! Scripts have no enums: `"ExCA"` is a name where a name is wanted and text elsewhere, and only the schema knows.

use std::fmt::Write as _;

use rhai::{Dynamic, Map};
use serde_json::Value as Json;

use super::builder::Handle;
use super::kinds::Variant;
use crate::schema::{alternatives, is_wire, resolve, variant_content};

/// Writes values of the fields of one kind.
pub(super) struct Values<'a> {
    /// The names of the nodes that handles stand for.
    pub names: &'a [String],
    /// The schema of the kind, which schemas refer to.
    pub root: &'a Json,
}

impl Values<'_> {
    /// Appends a value; the schema is null where nobody knows the field.
    ///
    /// # Errors
    /// What no graph can hold, in words.
    pub fn write(&self, value: &Dynamic, schema: &Json, text: &mut String) -> Result<(), String> {
        let value = &value.flatten_clone();
        if let Some(node) = value.read_lock::<Handle>() {
            quoted(&self.names[node.index], text);
            return Ok(());
        }
        if let Some(variant) = value.read_lock::<Variant>() {
            return self.variant(&variant, schema, text);
        }
        if let Ok(words) = value.as_immutable_string_ref() {
            return self.words(&words, schema, text);
        }
        if let Ok(letter) = value.as_char() {
            return self.words(&letter.to_string(), schema, text);
        }
        if let Ok(items) = value.as_array_ref() {
            let item = |at: usize| self.item_schema(schema, at);
            return self.list(items.iter().enumerate().map(|(at, value)| (value, item(at))), text);
        }
        if let Ok(fields) = value.as_map_ref() {
            return self.map(&fields, schema, text);
        }
        scalar(value, text)
    }

    fn variant(&self, variant: &Variant, schema: &Json, text: &mut String) -> Result<(), String> {
        let content = variant_content(self.root, schema, &variant.name).unwrap_or(&Json::Null);
        text.push_str(&variant.name);
        if variant.content.is_map() {
            // Its fields stand in the variant's own parentheses.
            return self.write(&variant.content, content, text);
        }
        text.push('(');
        self.write(&variant.content, content, text)?;
        text.push(')');
        Ok(())
    }

    fn words(&self, words: &str, schema: &Json, text: &mut String) -> Result<(), String> {
        if is_wire(self.root, schema) {
            return Err(format!("takes a node, which its call returned, and not the text \"{words}\""));
        }
        match self.takes(schema, words) {
            Takes::Name => text.push_str(words),
            Takes::Text => quoted(words, text),
        }
        Ok(())
    }

    /// Whether words are a name for a schema, or text.
    fn takes(&self, schema: &Json, words: &str) -> Takes {
        let mut takes = Takes::Text;
        let mut has_names = false;
        let schema = resolve(self.root, schema);
        let single = [schema.clone()];
        for option in alternatives(schema).map_or(&single[..], Vec::as_slice) {
            let option = resolve(self.root, option);
            let names = option["enum"].as_array().into_iter().flatten().chain(option.get("const"));
            let names: Vec<_> = names.filter_map(Json::as_str).collect();
            if names.contains(&words) {
                return Takes::Name;
            }
            if names.is_empty() && alternatives(option).is_some() {
                return self.takes(option, words);
            }
            let is_text = names.is_empty() && is_of_type(option, "string");
            has_names |= !names.is_empty() || option["properties"].is_object();
            takes = if is_text { return Takes::Text } else { takes };
        }
        // A name that is wrong is told as one, with the names that there are.
        if has_names && is_identifier(words) { Takes::Name } else { takes }
    }

    fn item_schema<'s>(&'s self, schema: &'s Json, at: usize) -> &'s Json {
        let schema = self.option(schema, |option| is_of_type(option, "array"));
        schema["prefixItems"].get(at).unwrap_or(&schema["items"])
    }

    /// The alternative of a schema that a value is for, or the schema itself.
    fn option<'s>(&'s self, schema: &'s Json, is_it: impl Fn(&Json) -> bool) -> &'s Json {
        let schema = resolve(self.root, schema);
        let options = alternatives(schema).into_iter().flatten().map(|option| resolve(self.root, option));
        options.into_iter().find(|option| is_it(option)).unwrap_or(schema)
    }

    fn list<'v>(
        &self,
        items: impl Iterator<Item = (&'v Dynamic, &'v Json)>,
        text: &mut String,
    ) -> Result<(), String> {
        text.push('[');
        for (at, (item, schema)) in items.enumerate() {
            text.push_str(if at > 0 { ", " } else { "" });
            self.write(item, schema, text)?;
        }
        text.push(']');
        Ok(())
    }

    fn map(&self, fields: &Map, schema: &Json, text: &mut String) -> Result<(), String> {
        let schema = self.option(schema, |option| option["properties"].is_object());
        let is_free = !schema["properties"].is_object() && schema["additionalProperties"].is_object();
        text.push(if is_free { '{' } else { '(' });
        for (at, (name, value)) in fields.iter().enumerate() {
            text.push_str(if at > 0 { ", " } else { "" });
            if is_free {
                quoted(name, text)
            } else {
                text.push_str(name)
            }
            text.push_str(": ");
            let known = schema["properties"].get(name.as_str());
            self.write(value, known.unwrap_or(&schema["additionalProperties"]), text)?;
        }
        text.push(if is_free { '}' } else { ')' });
        Ok(())
    }
}

enum Takes {
    Name,
    Text,
}

fn scalar(value: &Dynamic, text: &mut String) -> Result<(), String> {
    let written = match value.type_name() {
        "()" => write!(text, "None"),
        "bool" => write!(text, "{}", value.as_bool().unwrap_or_default()),
        "i64" => write!(text, "{}", value.as_int().unwrap_or_default()),
        "f64" => write!(text, "{:?}", value.as_float().unwrap_or_default()),
        other => {
            let name = other.rsplit("::").next().unwrap_or(other);
            return Err(format!("holds a {name}, which no graph can"));
        }
    };
    // Writing to text cannot fail.
    let _ = written;
    Ok(())
}

/// Appends text in quotes.
pub(super) fn quoted(words: &str, text: &mut String) {
    match ron::to_string(words) {
        Ok(written) => text.push_str(&written),
        Err(_) => text.push_str("\"\""),
    }
}

fn is_of_type(schema: &Json, name: &str) -> bool {
    match &schema["type"] {
        Json::String(only) => only == name,
        Json::Array(names) => names.iter().any(|one| one == name),
        _ => false,
    }
}

/// Whether words could be a name in a graph file.
pub(super) fn is_identifier(words: &str) -> bool {
    let mut letters = words.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
