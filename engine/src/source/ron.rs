//! `graph.ron`: reads a graph file, keeping the place of every node and every field.
//!
//! The file is read twice. First its outline: names, kinds and fields as stretches of the text,
//! in which unknown, missing and doubled names are found all at once. Then each node on its own
//! into its type, with the overrides of the command line spliced into its text; large graphs
//! have thousands of nodes, so this is done on all cores.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use ::ron::error::SpannedResult;
use ::ron::extensions::Extensions;
use ::ron::value::RawValue;
use rayon::prelude::*;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, VariantAccess, Visitor};
use serde_json::Value as Json;

use super::outline::{GraphFile, Identifier, Outline, offset_in, outline};
use super::ron_error::{Mistake, mistake};
use super::splice::{FieldPlaces, Spliced};
use super::{BrokenNode, Override, Source, SourceNode};
use crate::diagnostic::nearest;
use crate::node::{AnyNode, Node};
use crate::{Diagnostic, Document, NodeType, Place, Registry};

/// Reads a graph file. Its mistakes are in the source's diagnostics, all of them.
pub fn read_ron<'r>(document: Arc<Document>, overrides: &[Override], registry: &'r Registry) -> Source<'r> {
    let source = Source::empty(Arc::clone(&document));
    let mut reader = Reader { document: &document, overrides, registry, source };
    match ron_options().from_str::<GraphFile<'_>>(&document.text) {
        Ok(file) => reader.read_entries(&file.nodes.0),
        Err(error) => {
            let mut found = mistake(&error, &document.text);
            found.hint.get_or_insert_with(|| "write Graph(nodes: {\"name\": Kind(..), ..})".to_owned());
            let refusal = reader.refusal(&found, 0);
            reader.source.diagnostics.push(refusal);
        }
    }
    reader.source
}

/// How graph files are written: `method: Para(rank: 4)` for a newtype variant, options without
/// `Some`.
pub(crate) fn ron_options() -> ::ron::Options {
    ::ron::Options::default()
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES | Extensions::IMPLICIT_SOME)
}

struct Reader<'a, 'r> {
    document: &'a Arc<Document>,
    overrides: &'a [Override],
    registry: &'r Registry,
    source: Source<'r>,
}

/// A node as it was read, or what is left of it with its mistakes.
type ReadNode<'r> = Result<SourceNode<'r>, (BrokenNode<'r>, Vec<Diagnostic>)>;

impl<'r> Reader<'_, 'r> {
    fn read_entries(&mut self, entries: &[(&RawValue, &RawValue)]) {
        let mut first_of: HashMap<String, Place> = HashMap::with_capacity(entries.len());
        let mut named = Vec::with_capacity(entries.len());
        for (key, body) in entries {
            let place = self.place_of(key.get_ron());
            let Ok(name) = ::ron::from_str::<String>(key.get_ron()) else {
                let problem = Diagnostic::error("a node's name is text in quotes").at(place);
                self.source.diagnostics.push(problem.hint("write \"name\": Kind(..)"));
                continue;
            };
            match first_of.get(&name) {
                Some(first) => self.source.diagnostics.push(doubled_name(&name, place, first.clone())),
                None => {
                    named.push((name.clone(), body.get_ron()));
                    first_of.insert(name, place);
                }
            }
        }
        let read: Vec<_> = named.par_iter().map(|(name, body)| self.read_node(name, body)).collect();
        for node in read {
            match node {
                Ok(node) => self.source.nodes.push(node),
                Err((broken, problems)) => {
                    let problems = problems.into_iter().map(|problem| problem.node(&broken.name));
                    self.source.diagnostics.extend(problems);
                    self.source.broken.push(broken);
                }
            }
        }
        self.refuse_overrides_of_nothing(&first_of);
    }

    fn read_node(&self, name: &str, body: &str) -> ReadNode<'r> {
        let broken = |node_type| BrokenNode { name: name.to_owned(), node_type };
        let outline = outline(body).map_err(|error| {
            let mut found = mistake(&error, body);
            found.hint = Some("a node is written as Kind(field: value, ..)".to_owned());
            (broken(None), vec![self.refusal(&found, offset_in(&self.document.text, body))])
        })?;
        let node_type = self.registry.get(outline.kind).ok_or_else(|| {
            let problem = unknown_kind(outline.kind, self.registry).at(self.place_of(outline.kind));
            (broken(None), vec![problem])
        })?;
        self.read_fields(name, body, &outline, node_type)
            .map_err(|problems| (broken(Some(node_type)), problems))
    }

    fn read_fields(
        &self,
        name: &str,
        body: &str,
        outline: &Outline<'_>,
        node_type: &'r NodeType,
    ) -> Result<SourceNode<'r>, Vec<Diagnostic>> {
        let place = self.place_of(outline.kind);
        let overrides: Vec<_> =
            self.overrides.iter().filter(|set| set.node.as_deref() == Some(name)).collect();
        let spliced = Spliced::new(self.document, body, outline, &overrides);
        let problems = wrong_fields(node_type, &spliced.fields, &place);
        if !problems.is_empty() {
            return Err(problems);
        }
        let node = (node_type.read_ron)(&spliced.text)
            .map_err(|error| vec![spliced.field_diagnostic(mistake(&error, &spliced.text), node_type)])?;
        let fields = spliced.fields.into_iter().map(|field| (field.name, field.value)).collect();
        let written = &body[offset_in(body, outline.kind)..];
        let body = self.place_of(written.trim_end());
        Ok(SourceNode { name: name.to_owned(), node_type, place, body, fields, node, calls: Vec::new() })
    }

    fn refuse_overrides_of_nothing(&mut self, names: &HashMap<String, Place>) {
        for set in self.overrides {
            let problem = match &set.node {
                Some(node) if names.contains_key(node) => continue,
                Some(node) => {
                    let near = nearest(node, names.keys().map(String::as_str));
                    let problem = Diagnostic::error(format!("there is no node `{node}` to set"));
                    problem.maybe_hint(near.map(|name| format!("did you mean `{name}`?")))
                }
                None => Diagnostic::error(format!(
                    "`{}` would be a parameter, and only scripts have any",
                    set.field
                ))
                .hint(format!("set a field of a node: node.{}=..", set.field)),
            };
            self.source.diagnostics.push(problem.at(set.target_place()));
        }
    }

    /// A mistake in a part of the document that starts at an offset.
    fn refusal(&self, found: &Mistake, start: usize) -> Diagnostic {
        let span = found.span.start + start..found.span.end + start;
        let place = Place { document: Arc::clone(self.document), span };
        Diagnostic::error(&found.message).at(place).maybe_hint(found.hint.clone())
    }

    fn place_of(&self, part: &str) -> Place {
        let start = offset_in(&self.document.text, part);
        let span: Range<usize> = start..start + part.len();
        Place { document: Arc::clone(self.document), span }
    }
}

fn doubled_name(name: &str, place: Place, first: Place) -> Diagnostic {
    Diagnostic::error(format!("two nodes are named `{name}`"))
        .node(name)
        .at(place)
        .label("the second")
        .related(first, "the first")
        .hint("give one of them another name")
}

fn unknown_kind(kind: &str, registry: &Registry) -> Diagnostic {
    let hint = match nearest(kind, registry.kinds()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`flow nodes` lists the kinds".to_owned(),
    };
    Diagnostic::error(format!("there is no kind of node named `{kind}`")).hint(hint)
}

/// Unknown, doubled and missing fields, all of them.
fn wrong_fields(node_type: &NodeType, fields: &[FieldPlaces], node_place: &Place) -> Vec<Diagnostic> {
    let kind = node_type.kind;
    let known: Vec<&str> = property_names(&node_type.schema).collect();
    let mut problems = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let place = field.name_place.clone();
        if !known.contains(&field.name.as_str()) {
            let hint = match nearest(&field.name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its fields are {}", known.join(", ")),
            };
            problems.push(
                Diagnostic::error(format!("`{kind}` has no field `{}`", field.name)).at(place).hint(hint),
            );
        } else if let Some(first) = fields[..index].iter().find(|first| first.name == field.name) {
            let problem = Diagnostic::error(format!("`{}` is written twice", field.name)).at(place);
            problems.push(problem.label("the second").related(first.name_place.clone(), "the first"));
        }
    }
    let required = node_type.schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    for name in required.filter(|name| !fields.iter().any(|field| field.name == *name)) {
        let problem = Diagnostic::error(format!("`{kind}` needs the field `{name}`")).at(node_place.clone());
        problems.push(problem.hint(format!("write `{name}: ..`; `flow nodes {kind}` says what it means")));
    }
    problems
}

fn property_names(schema: &Json) -> impl Iterator<Item = &str> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str())
}

/// Reads `Kind(field: value, ..)` into the type of that kind.
pub(crate) fn read_node<N: Node>(text: &str) -> SpannedResult<Box<dyn AnyNode>> {
    let node = ron_options().from_str_seed(text, NodeSeed::<N>(PhantomData))?;
    Ok(Box::new(node))
}

/// An enum of one variant, whose name the outline has already told.
struct NodeSeed<N>(PhantomData<N>);

impl<'de, N: Node> DeserializeSeed<'de> for NodeSeed<N> {
    type Value = N;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<N, D::Error> {
        deserializer.deserialize_enum("Node", &[], self)
    }
}

impl<'de, N: Node> Visitor<'de> for NodeSeed<N> {
    type Value = N;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", N::KIND)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<N, A::Error> {
        let (Identifier(_), body) = data.variant()?;
        body.newtype_variant()
    }
}
