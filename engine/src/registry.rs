//! The kinds that a graph can name, and their reference.
//!
//! The graph reader, `flow nodes` and every other view of a kind are made from one schema per
//! node, so a new node is one line in a list and nothing else.

use std::collections::HashMap;

use ron::error::SpannedResult;
use serde_json::Value as Json;

use crate::Result;
use crate::node::{AnyNode, INPUT_MARK, Nature, Node, Output, StoredFile, Value};
use crate::schema::{alternatives, range_words, resolve};
use crate::source::read_node;

type FromFiles = fn(Vec<StoredFile<'static>>) -> Result<Output>;
type ReadRon = fn(&str) -> SpannedResult<Box<dyn AnyNode>>;

/// One kind of node, as the engine knows it.
pub struct NodeType {
    /// Its name in a graph.
    pub kind: &'static str,
    /// Version of the kind.
    pub version: u32,
    /// Name of the type that it gives.
    pub output: &'static str,
    /// When it runs.
    pub nature: Nature,
    /// Whether it needs the device for itself.
    pub holds_device: bool,
    /// JSON schema of its fields.
    pub schema: Json,
    /// Reads `Kind(field: value, ..)`.
    pub(crate) read_ron: ReadRon,
    /// Reads its result from the store.
    pub(crate) from_files: FromFiles,
}

impl NodeType {
    /// The kind of a node.
    pub fn of<N: Node>() -> Self {
        Self {
            kind: N::KIND,
            version: N::VERSION,
            output: <N::Output as Value>::TYPE,
            nature: N::NATURE,
            holds_device: N::HOLDS_DEVICE,
            schema: schemars::schema_for!(N).to_value(),
            read_ron: read_node::<N>,
            from_files: Output::from_files::<N::Output>,
        }
    }

    /// What the node does: the doc comment of its struct.
    pub fn doc(&self) -> &str {
        self.schema["description"].as_str().unwrap_or_default()
    }

    /// The fields, in the order in which their author wrote them.
    pub fn fields(&self) -> Vec<Field> {
        fields(&self.schema, &self.schema, NESTED)
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<Field> {
        self.fields().into_iter().find(|field| field.name == name)
    }
}

/// One field of a kind: an input or a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type in words: `Model` for a wire, `text`, `whole number`.
    pub type_name: String,
    /// Whether a graph must set it.
    pub required: bool,
    /// What it is if a graph does not, as RON.
    pub default: Option<String>,
    /// The range of a number in words.
    pub range: Option<String>,
    /// What it means.
    pub doc: String,
    /// For an enum, its variants.
    pub choices: Vec<Choice>,
}

/// One variant of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its name.
    pub name: String,
    /// What it means.
    pub doc: String,
    /// What stands in its brackets, if it has named fields; told of what a field takes, and of nothing deeper.
    pub fields: Vec<Field>,
}

/// How deep the fields of choices are told: those of a node's field, and what these take. Some enums hold themselves.
const NESTED: usize = 1;

impl Field {
    /// What it takes, in words with an article: "a whole number, at least 1".
    pub fn takes(&self) -> String {
        let range = self.range.as_ref().map(|range| format!(", {range}")).unwrap_or_default();
        let what = match self.type_name.as_str() {
            "text" => "text in quotes".to_owned(),
            "true or false" => "true or false".to_owned(),
            "choice" => {
                let names: Vec<_> = self.choices.iter().map(|choice| format!("`{}`", choice.name)).collect();
                format!("one of {}, without quotes", names.join(", "))
            }
            list if list.starts_with("list of ") => format!("a {list}, in square brackets"),
            wire if wire.starts_with(char::is_uppercase) => {
                format!("the name of a node that gives {wire}, in quotes")
            }
            other => format!("a {other}"),
        };
        format!("{what}{range}")
    }
}

/// The type of a field in words.
fn type_words(root: &Json, schema: &Json) -> String {
    let schema = resolve(root, schema);
    if let Some(type_name) = schema[INPUT_MARK].as_str() {
        return type_name.to_owned();
    }
    if let Some(options) = alternatives(schema) {
        let named: Vec<_> = options.iter().filter(|option| option["type"] != "null").collect();
        return match named[..] {
            [only] => type_words(root, only),
            _ => "choice".to_owned(),
        };
    }
    let type_name = match &schema["type"] {
        Json::Array(names) => names.iter().filter_map(Json::as_str).find(|name| *name != "null"),
        other => other.as_str(),
    };
    match type_name {
        _ if schema.get("enum").is_some() => "choice".to_owned(),
        Some("string") => "text".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some("number") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("array") => format!("list of {}", type_words(root, &schema["items"])),
        _ => "value".to_owned(),
    }
}

/// The fields of a struct, with those of their choices down to a depth.
fn fields(root: &Json, schema: &Json, depth: usize) -> Vec<Field> {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let field = |(name, schema): (&String, &Json)| {
        let choices = choices(root, schema, depth);
        let default = schema.get("default").filter(|default| !default.is_null());
        Field {
            name: name.clone(),
            type_name: type_words(root, schema),
            required: required.contains(&name.as_str()),
            default: default.map(|default| ron_words(default, !choices.is_empty())),
            range: range_words(resolve(root, schema)),
            doc: schema["description"].as_str().unwrap_or_default().to_owned(),
            choices,
        }
    };
    schema["properties"].as_object().into_iter().flatten().map(field).collect()
}

/// The variants of an enum; empty for every other type.
fn choices(root: &Json, schema: &Json, depth: usize) -> Vec<Choice> {
    let schema = resolve(root, schema);
    if let Some(names) = schema["enum"].as_array() {
        let plain = |name: &str| Choice { name: name.to_owned(), doc: String::new(), fields: Vec::new() };
        return names.iter().filter_map(Json::as_str).map(plain).collect();
    }
    let Some(options) = alternatives(schema) else { return Vec::new() };
    let variant = |option: &Json| {
        let name = option["const"].as_str().or_else(|| option["required"][0].as_str())?;
        let content = resolve(root, &option["properties"][name]);
        let fields = depth.checked_sub(1).map(|depth| fields(root, content, depth)).unwrap_or_default();
        let doc = option["description"].as_str().unwrap_or_default().to_owned();
        Some(Choice { name: name.to_owned(), doc, fields })
    };
    options
        .iter()
        .flat_map(|option| match variant(option) {
            Some(named) => vec![named],
            None if option["type"] != "null" => choices(root, option, depth),
            None => Vec::new(),
        })
        .collect()
}

/// A default as a graph file would write it; the name of an enum's variant stands bare.
fn ron_words(default: &Json, is_choice: bool) -> String {
    match default.as_str() {
        Some(variant) if is_choice => variant.to_owned(),
        _ => ron::to_string(default).unwrap_or_else(|_| default.to_string()),
    }
}

/// Every kind that a graph can name.
pub struct Registry {
    /// Version of the numerics behind all nodes; part of every key.
    pub numerics: u32,
    types: Vec<NodeType>,
    by_kind: HashMap<&'static str, usize>,
}

impl Registry {
    /// A registry of some kinds, in the order in which the reference lists them.
    pub fn new(numerics: u32, types: Vec<NodeType>) -> Self {
        let by_kind = types.iter().enumerate().map(|(index, node_type)| (node_type.kind, index)).collect();
        Self { numerics, types, by_kind }
    }

    /// The kind of this name.
    pub fn get(&self, kind: &str) -> Option<&NodeType> {
        self.by_kind.get(kind).map(|&index| &self.types[index])
    }

    /// All kinds, in the order of the reference.
    pub fn types(&self) -> &[NodeType] {
        &self.types
    }

    /// The names of all kinds.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.types.iter().map(|node_type| node_type.kind)
    }

    /// The kinds that give a type, in words for a hint.
    pub(crate) fn kinds_giving(&self, type_name: &str) -> Vec<&'static str> {
        self.types
            .iter()
            .filter(|node_type| node_type.output == type_name)
            .map(|node_type| node_type.kind)
            .collect()
    }
}
