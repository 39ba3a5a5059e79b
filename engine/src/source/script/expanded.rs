//! What a script made, as a graph file; and the way back from every place in it to the script.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use rhai::{Dynamic, ImmutableString};
use serde_json::Value as Json;

use super::builder::{MadeNode, Origin};
use super::literal::{WrittenField, end_of_call, fields_of_call};
use super::value::{Values, is_identifier, quoted};
use crate::source::{Override, Source, SourceNode};
use crate::{Diagnostic, Document, Place, Registry};

/// A graph file that a script made.
pub(super) struct Expanded {
    /// The file.
    pub document: Arc<Document>,
    names: HashSet<String>,
    /// In the order of the file.
    nodes: Vec<Written>,
}

/// A node of the file, and where it comes from.
struct Written {
    span: Range<usize>,
    name_span: Range<usize>,
    name_place: Place,
    origin: Origin,
    fields: Vec<WrittenPart>,
}

/// A field of the file, and where it comes from.
struct WrittenPart {
    name_span: Range<usize>,
    name_place: Place,
    value_span: Range<usize>,
    value_place: Place,
}

impl Expanded {
    /// Writes nodes under their names. Overrides of their fields take the place of what the script wrote.
    pub fn new(
        nodes: Vec<MadeNode>,
        names: Vec<String>,
        registry: &Registry,
        overrides: &[Override],
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut writer =
            Writer { names: &names, registry, overrides, text: String::from("Graph(nodes: {\n") };
        let mut written = Vec::with_capacity(nodes.len());
        let mut mistakes = Vec::new();
        for (node, name) in nodes.into_iter().zip(&names) {
            match writer.node(node, name) {
                Ok(node) => written.push(node),
                Err(mistake) => mistakes.push(*mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let document = Document::new("the script's graph", writer.text + "})\n");
        Ok(Self { document, names: names.into_iter().collect(), nodes: written })
    }

    /// Whether an override sets a field of a node that was not made.
    pub fn has_no_node_for(&self, set: &Override) -> bool {
        set.node.as_ref().is_some_and(|node| !self.names.contains(node))
    }

    /// The same source with every place in the script.
    pub fn led_back<'r>(&self, mut source: Source<'r>) -> Source<'r> {
        for node in &mut source.nodes {
            self.lead_node_back(node);
        }
        for problem in &mut source.diagnostics {
            if let Some(written) = problem.place.as_ref().and_then(|place| self.written_at(place)) {
                problem.causes.extend(written.origin.functions.iter().cloned());
            }
            let places = problem.place.iter_mut().chain(problem.related.iter_mut().map(|(place, _)| place));
            places.for_each(|place| *place = self.origin_of(place));
        }
        source
    }

    fn lead_node_back(&self, node: &mut SourceNode<'_>) {
        if let Some(written) = self.written_at(&node.place) {
            node.calls = written.origin.functions.clone();
        }
        node.place = self.origin_of(&node.place);
        node.body = whole_call(&node.place);
        for (_, place) in &mut node.fields {
            *place = self.origin_of(place);
        }
    }

    fn written_at(&self, place: &Place) -> Option<&Written> {
        if !Arc::ptr_eq(&place.document, &self.document) {
            return None;
        }
        let index = self.nodes.partition_point(|node| node.span.start <= place.span.start).checked_sub(1)?;
        self.nodes.get(index).filter(|node| place.span.start < node.span.end)
    }

    /// Where the bytes at a place come from.
    fn origin_of(&self, place: &Place) -> Place {
        let Some(node) = self.written_at(place) else { return place.clone() };
        let at = place.span.start;
        if node.name_span.contains(&at) {
            return node.name_place.clone();
        }
        let field =
            node.fields.iter().find(|field| field.name_span.start <= at && at <= field.value_span.end);
        match field {
            Some(field) if field.name_span.contains(&at) => field.name_place.clone(),
            Some(field) => field.value_place.clone(),
            None => node.origin.call.clone(),
        }
    }
}

/// Writes nodes as RON.
struct Writer<'a> {
    names: &'a [String],
    registry: &'a Registry,
    overrides: &'a [Override],
    text: String,
}

impl Writer<'_> {
    fn node(&mut self, node: MadeNode, name: &str) -> Result<Written, Box<Diagnostic>> {
        let MadeNode { kind, name: given, fields, origin } = node;
        let start = self.text.len();
        self.text.push_str("    ");
        let name_start = self.text.len();
        quoted(name, &mut self.text);
        let name_span = name_start..self.text.len();
        self.text.push_str(": ");
        self.text.push_str(kind);
        self.text.push('(');
        let schema = self.registry.get(kind).map(|node_type| &node_type.schema).unwrap_or(&Json::Null);
        let places = FieldPlaces::of(&origin.call);
        let mut parts = Vec::new();
        for (field, value) in in_schema_order(fields, schema) {
            let part = self.field(name, schema, &field, &value, &places);
            let part = part.map_err(|message| {
                let problem = Diagnostic::error(format!("`{field}` {message}")).node(name);
                Box::new(Diagnostic { causes: origin.functions.clone(), ..problem.at(places.get(&field).1) })
            })?;
            parts.push(part);
        }
        self.added_fields(name, &mut parts);
        self.text.push_str("),\n");
        let name_place = given.map_or_else(|| origin.call.clone(), |(_, place)| place);
        Ok(Written { span: start..self.text.len(), name_span, name_place, origin, fields: parts })
    }

    fn field(
        &mut self,
        node: &str,
        schema: &Json,
        field: &str,
        value: &Dynamic,
        places: &FieldPlaces<'_>,
    ) -> Result<WrittenPart, String> {
        if !is_identifier(field) {
            return Err("is no field's name: these have letters, digits and `_` only".to_owned());
        }
        let (name_place, value_place) = places.get(field);
        let name_span = self.field_name(field);
        let start = self.text.len();
        let set = self.overrides.iter().rfind(|set| set.node.as_deref() == Some(node) && set.field == field);
        let value_place = match set {
            Some(set) => {
                self.text.push_str(set.value());
                set.value_place()
            }
            None => {
                let values = Values { names: self.names, root: schema };
                let schema = schema["properties"].get(field).unwrap_or(&Json::Null);
                values.write(value, schema, &mut self.text)?;
                value_place
            }
        };
        Ok(WrittenPart { name_span, name_place, value_span: start..self.text.len(), value_place })
    }

    /// Fields that only the command line sets.
    fn added_fields(&mut self, node: &str, parts: &mut Vec<WrittenPart>) {
        let sets = self.overrides.iter().filter(|set| set.node.as_deref() == Some(node));
        let is_written = |parts: &[WrittenPart], text: &str, field: &str| {
            parts.iter().any(|part| &text[part.name_span.clone()] == field)
        };
        for set in sets.rev() {
            if is_written(parts, &self.text, &set.field) {
                continue;
            }
            let name_span = self.field_name(&set.field);
            let start = self.text.len();
            self.text.push_str(set.value());
            parts.push(WrittenPart {
                name_span,
                name_place: set.target_place(),
                value_span: start..self.text.len(),
                value_place: set.value_place(),
            });
        }
    }

    fn field_name(&mut self, field: &str) -> Range<usize> {
        if !self.text.ends_with('(') {
            self.text.push_str(", ");
        }
        let start = self.text.len();
        self.text.push_str(field);
        let end = self.text.len();
        self.text.push_str(": ");
        start..end
    }
}

/// A call with its arguments.
fn whole_call(call: &Place) -> Place {
    let span = call.span.start..end_of_call(&call.document.text, call.span.end);
    Place { document: Arc::clone(&call.document), span }
}

/// Where the fields of a call stand in the script.
struct FieldPlaces<'a> {
    call: &'a Place,
    written: Vec<WrittenField>,
}

impl<'a> FieldPlaces<'a> {
    fn of(call: &'a Place) -> Self {
        Self { call, written: fields_of_call(&call.document.text, call.span.start) }
    }

    /// The places of a field's name and value; the call's, if they are not written in it.
    fn get(&self, field: &str) -> (Place, Place) {
        let at =
            |span: &Range<usize>| Place { document: Arc::clone(&self.call.document), span: span.clone() };
        match self.written.iter().find(|written| written.name == field) {
            Some(written) => (at(&written.name_span), at(&written.value_span)),
            None => (self.call.clone(), self.call.clone()),
        }
    }
}

/// Fields in the order in which the kind's author wrote them, and those that are not known behind them.
fn in_schema_order(
    mut fields: Vec<(ImmutableString, Dynamic)>,
    schema: &Json,
) -> Vec<(ImmutableString, Dynamic)> {
    let properties = schema["properties"].as_object();
    let position = |name: &str| {
        let known = properties.into_iter().flatten().position(|(property, _)| property == name);
        known.unwrap_or(usize::MAX)
    };
    fields.sort_by_key(|(name, _)| position(name));
    fields
}
