//! The kinds for editors: a JSON schema of every node, and definitions for scripts.
//!
//! Both are made from the registry, so a new node is in them at once.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::schema::is_wire;
use crate::{NodeType, Registry};

/// The schema of a graph as JSON would write it: nodes by name, each an object of one kind with its fields.
pub fn json_schema(registry: &Registry) -> Json {
    let kinds: serde_json::Map<String, Json> = registry
        .types()
        .iter()
        .map(|node_type| (node_type.kind.to_owned(), node_type.schema.clone()))
        .collect();
    let one_of: Vec<Json> = kinds
        .keys()
        .map(|kind| {
            let properties = json!({ kind: { "$ref": format!("#/$defs/{kind}") } });
            json!({ "type": "object", "properties": properties, "required": [kind], "additionalProperties": false })
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Graph",
        "type": "object",
        "properties": { "nodes": { "type": "object", "additionalProperties": { "oneOf": one_of } } },
        "required": ["nodes"],
        "$defs": kinds,
    })
}

/// A Rhai definition file: every kind as a function with its manual, for editors that read such files.
pub fn script_definitions(registry: &Registry) -> String {
    let mut text = String::from("module static;\n");
    text.push_str(
        "\n/// Give a node its name; the result is the node.\nfn named(node: ?, name: String) -> ?;\n",
    );
    text.push_str("\n/// What `--set name=value` gives; without it, the default.\nfn param(name: String, default: ?) -> ?;\n");
    for node_type in registry.types() {
        let manual = manual(node_type);
        let (kind, output) = (node_type.kind, node_type.output);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n{manual}fn {kind}(fields: Map) -> {output};");
        if let Some(first) = first_input(node_type) {
            let _ = writeln!(text, "\n{manual}fn {kind}({first}: ?, fields: Map) -> {output};");
        }
    }
    text
}

/// What a kind does and takes, as doc comments.
fn manual(node_type: &NodeType) -> String {
    let mut lines: Vec<String> = node_type.doc().lines().map(ToOwned::to_owned).collect();
    lines.push(String::new());
    for field in node_type.fields() {
        let first_paragraph: Vec<&str> =
            field.doc.lines().take_while(|line| !line.trim().is_empty()).collect();
        let doc = first_paragraph.join(" ");
        lines.push(format!("- `{}` ({}): {doc}", field.name, field.type_name));
    }
    lines.iter().map(|line| format!("{}\n", format!("/// {line}").trim_end())).collect()
}

/// The field of the first input of a kind, in the order in which its author wrote them.
pub(crate) fn first_input(node_type: &NodeType) -> Option<&String> {
    let properties = node_type.schema["properties"].as_object()?;
    properties.iter().find(|(_, schema)| is_wire(&node_type.schema, schema)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::registry;

    #[test]
    fn every_kind_is_in_the_schema_with_its_fields() {
        let schema = json_schema(&registry());
        assert!(schema["$defs"]["Add"]["properties"]["how"].is_object());
        let one_of = schema["properties"]["nodes"]["additionalProperties"]["oneOf"].as_array().unwrap();
        assert_eq!(one_of.len(), registry().types().len());
    }

    #[test]
    fn every_kind_is_defined_for_scripts_with_its_manual() {
        let text = script_definitions(&registry());
        assert!(
            text.contains("/// Add numbers up.\n///\n/// - `numbers` (list of Number): The numbers."),
            "{text}"
        );
        assert!(text.contains("fn Add(fields: Map) -> Number;\n"));
        assert!(text.contains("fn Say(number: ?, fields: Map) -> Text;\n"));
    }
}
