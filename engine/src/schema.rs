//! Walks a node's JSON schema and its value together: one mechanism for wires, ranges and types.
//!
//! It knows the schemas that `schemars` makes for structs and enums, and nothing of graphs.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value as Json;

use crate::node::INPUT_MARK;

/// A wire found in a node's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wire {
    /// JSON pointer of the wire in the value, `/model` or `/images/2`.
    pub pointer: String,
    /// Name of the type that it carries.
    pub type_name: String,
    /// Name of the upstream node.
    pub from: String,
}

impl Wire {
    /// The field of the node that the wire is part of.
    pub fn field(&self) -> &str {
        self.pointer[1..].split('/').next().unwrap_or_default()
    }

    /// The wire as an error names it: `model`, or `images[2]`.
    pub fn label(&self) -> String {
        let mut steps = self.pointer[1..].split('/');
        let field = steps.next().unwrap_or_default().to_owned();
        steps.fold(field, |label, step| match step.parse::<usize>() {
            Ok(index) => format!("{label}[{index}]"),
            Err(_) => format!("{label}.{step}"),
        })
    }
}

/// A value that its schema does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutOfRange {
    /// JSON pointer of the value.
    pub pointer: String,
    /// What is wrong with it: "must be at least 1, and is 0".
    pub message: String,
}

/// All wires of a value, in the order of its fields, and all its numbers that are not finite or lie outside their range.
pub(crate) fn wires_and_mistakes(schema: &Json, value: &Json) -> (Vec<Wire>, Vec<OutOfRange>) {
    let (mut wires, mut mistakes) = (Vec::new(), Vec::new());
    walk(schema, schema, value, &Pointer::Root, &mut |pointer, schema, value| match value {
        Json::String(from) => {
            wires.extend(schema[INPUT_MARK].as_str().map(|type_name| Wire {
                pointer: pointer.to_string(),
                type_name: type_name.to_owned(),
                from: from.clone(),
            }));
        }
        Json::Number(_) | Json::Null => {
            let mistake = range_mistake(schema, value);
            mistakes.extend(mistake.map(|message| OutOfRange { pointer: pointer.to_string(), message }));
        }
        _ => {}
    });
    (wires, mistakes)
}

/// What is wrong with a number, if anything.
fn range_mistake(schema: &Json, value: &Json) -> Option<String> {
    if value.is_null() && matches!(schema["type"].as_str(), Some("number" | "integer")) {
        // serde_json writes NaN and the infinities as null.
        return Some("must be a finite number".to_owned());
    }
    let number = value.as_f64()?;
    let above = |limit: &Json| limit.as_f64().is_some_and(|limit| number < limit);
    let below = |limit: &Json| limit.as_f64().is_some_and(|limit| number > limit);
    let outside = above(&schema["minimum"])
        || below(&schema["maximum"])
        || schema["exclusiveMinimum"].as_f64().is_some_and(|limit| number <= limit)
        || schema["exclusiveMaximum"].as_f64().is_some_and(|limit| number >= limit);
    outside.then(|| format!("must be {}, and is {value}", range_words(schema).unwrap_or_default()))
}

/// The range of a number in words, if its author set one: "at least 1", "from 0 to 1".
///
/// The minimum 0 and the maximum that `schemars` gives to every unsigned integer do not count.
pub(crate) fn range_words(schema: &Json) -> Option<String> {
    let is_unsigned = schema["format"].as_str().is_some_and(|format| format.starts_with("uint"));
    let of_every_unsigned = |limit: &&Json| is_unsigned && limit.as_f64() == Some(0.0);
    let least = schema.get("minimum").filter(|limit| !of_every_unsigned(limit)).map(plain);
    let more_than = schema.get("exclusiveMinimum").map(plain);
    let most = schema.get("maximum").map(plain);
    match (least, more_than, most) {
        (Some(least), _, Some(most)) => Some(format!("from {least} to {most}")),
        (Some(least), _, None) => Some(format!("at least {least}")),
        (None, Some(limit), Some(most)) => Some(format!("more than {limit} and at most {most}")),
        (None, Some(limit), None) => Some(format!("more than {limit}")),
        (None, None, Some(most)) if is_unsigned => Some(format!("from 0 to {most}")),
        (None, None, Some(most)) => Some(format!("at most {most}")),
        (None, None, None) => None,
    }
}

/// A number without a needless fraction.
fn plain(number: &Json) -> String {
    number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
}

/// A JSON pointer that is only written out where something is found.
enum Pointer<'a> {
    Root,
    Field(&'a Pointer<'a>, &'a str),
    Item(&'a Pointer<'a>, usize),
}

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(above, name) => write!(f, "{above}/{name}"),
            Self::Item(above, index) => write!(f, "{above}/{index}"),
        }
    }
}

type Visit<'v> = dyn FnMut(&Pointer<'_>, &Json, &Json) + 'v;

/// Calls `visit` with pointer, schema and value of every part of `value`, outermost first.
fn walk(root: &Json, schema: &Json, value: &Json, pointer: &Pointer<'_>, visit: &mut Visit<'_>) {
    let schema = resolve(root, schema);
    if let Some(branch) = branch_for(root, schema, value) {
        return walk(root, branch, value, pointer, visit);
    }
    visit(pointer, schema, value);
    match value {
        Json::Object(fields) => {
            for (name, part) in fields {
                if let Some(part_schema) =
                    schema["properties"].get(name).or(schema.get("additionalProperties"))
                {
                    walk(root, part_schema, part, &Pointer::Field(pointer, name), visit);
                }
            }
        }
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let item_schema = schema["prefixItems"].get(index).unwrap_or(&schema["items"]);
                walk(root, item_schema, item, &Pointer::Item(pointer, index), visit);
            }
        }
        _ => {}
    }
}

/// Follows a reference to the definitions of the root schema.
pub(crate) fn resolve<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
    let target = schema["$ref"].as_str().and_then(|target| root.pointer(target.trim_start_matches('#')));
    target.map_or(schema, |target| resolve(root, target))
}

/// The alternatives of an enum's or an option's schema.
pub(crate) fn alternatives(schema: &Json) -> Option<&Vec<Json>> {
    schema["oneOf"].as_array().or(schema["anyOf"].as_array())
}

/// Whether a field takes a wire, or a list of them.
pub(crate) fn is_wire(root: &Json, schema: &Json) -> bool {
    let schema = resolve(root, schema);
    if schema.get(INPUT_MARK).is_some() {
        return true;
    }
    let parts = alternatives(schema).into_iter().flatten().chain(schema.get("items"));
    parts.into_iter().any(|part| is_wire(root, part))
}

/// The names of all variants with fields in a schema.
pub(crate) fn variants_with_fields<'a>(schema: &'a Json, names: &mut BTreeSet<&'a str>) {
    names.extend(alternatives(schema).into_iter().flatten().filter_map(variant).map(|(name, _)| name));
    match schema {
        Json::Object(parts) => parts.values().for_each(|part| variants_with_fields(part, names)),
        Json::Array(parts) => parts.iter().for_each(|part| variants_with_fields(part, names)),
        _ => {}
    }
}

/// The schema of what a variant holds, if an alternative is the variant of this name.
pub(crate) fn variant_content<'a>(root: &'a Json, schema: &'a Json, name: &str) -> Option<&'a Json> {
    let mut options = alternatives(resolve(root, schema))?.iter();
    options.find_map(|option| match variant(option) {
        Some((found, content)) => (found == name).then_some(content),
        None => variant_content(root, option, name),
    })
}

/// The name and the content of a variant with fields, as an alternative of an enum has it.
fn variant(option: &Json) -> Option<(&str, &Json)> {
    let (name, content) = option["properties"].as_object().filter(|parts| parts.len() == 1)?.iter().next()?;
    let is_required =
        option["required"].as_array().is_some_and(|required| required.contains(&name.as_str().into()));
    is_required.then_some((name.as_str(), content))
}

/// The alternative that a value is an instance of.
fn branch_for<'a>(root: &'a Json, schema: &'a Json, value: &Json) -> Option<&'a Json> {
    alternatives(schema)?.iter().find(|branch| fits(root, branch, value))
}

/// Whether a value has the outer form that a schema describes.
fn fits(root: &Json, schema: &Json, value: &Json) -> bool {
    let schema = resolve(root, schema);
    if alternatives(schema).is_some() {
        return branch_for(root, schema, value).is_some();
    }
    if let Some(constant) = schema.get("const") {
        return constant == value;
    }
    if let Some(names) = schema["enum"].as_array() {
        return names.contains(value);
    }
    let type_fits = match &schema["type"] {
        Json::String(name) => is_of_type(name, value),
        Json::Array(names) => names.iter().filter_map(Json::as_str).any(|name| is_of_type(name, value)),
        _ => true,
    };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    type_fits && required.into_iter().all(|name| value.get(name).is_some())
}

fn is_of_type(name: &str, value: &Json) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, In, Value};
    use schemars::JsonSchema;
    use serde::Serialize;

    struct Model;

    impl Value for Model {
        const TYPE: &'static str = "Model";
        fn digest(&self) -> Digest {
            Digest::of(b"")
        }
    }

    #[derive(Serialize, JsonSchema)]
    enum Method {
        Plain,
        Given {
            by: In<Model>,
            #[schemars(range(min = 1))]
            rank: u32,
        },
    }

    #[derive(Serialize, JsonSchema)]
    struct Sample {
        model: In<Model>,
        other: Option<In<Model>>,
        all: Vec<In<Model>>,
        method: Method,
        #[schemars(range(min = 0.0, max = 1.0))]
        strength: Option<f64>,
        guidance: f64,
    }

    fn example(method: Method, strength: Option<f64>, guidance: f64) -> (Json, Json) {
        let sample = Sample {
            model: In::from("a"),
            other: None,
            all: vec![In::from("b"), In::from("c")],
            method,
            strength,
            guidance,
        };
        (schemars::schema_for!(Sample).to_value(), serde_json::to_value(sample).unwrap())
    }

    #[test]
    fn wires_are_found_in_options_lists_and_enums() {
        let (schema, value) = example(Method::Given { by: In::from("d"), rank: 1 }, None, 1.0);
        let found: Vec<_> = wires_and_mistakes(&schema, &value)
            .0
            .iter()
            .map(|wire| (wire.label(), wire.from.clone()))
            .collect();
        let expected = [("model", "a"), ("all[0]", "b"), ("all[1]", "c"), ("method.Given.by", "d")];
        assert_eq!(found, expected.map(|(label, from)| (label.to_owned(), from.to_owned())));
    }

    #[test]
    fn ranges_are_checked_where_they_are_nested() {
        let (schema, value) = example(Method::Given { by: In::from("d"), rank: 0 }, Some(1.5), f64::NAN);
        let (_, found) = wires_and_mistakes(&schema, &value);
        let found: Vec<_> = found.into_iter().map(|found| (found.pointer, found.message)).collect();
        let expected = [
            ("/method/Given/rank", "must be at least 1, and is 0"),
            ("/strength", "must be from 0 to 1, and is 1.5"),
            ("/guidance", "must be a finite number"),
        ];
        assert_eq!(found, expected.map(|(pointer, message)| (pointer.to_owned(), message.to_owned())));
    }

    #[test]
    fn an_option_may_be_absent_and_a_unit_variant_has_no_wires() {
        let (schema, value) = example(Method::Plain, None, 5.0);
        let (wires, mistakes) = wires_and_mistakes(&schema, &value);
        assert_eq!((wires.len(), mistakes), (3, vec![]));
    }
}
