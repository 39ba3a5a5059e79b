//! A node's text with overrides in it, which still knows where every byte came from.

use std::ops::Range;
use std::sync::Arc;

use super::Override;
use super::outline::{Outline, offset_in};
use super::ron_error::Mistake;
use crate::{Diagnostic, Document, NodeType, Place};

/// A node's text as it will be read, and the places of its fields.
pub(super) struct Spliced {
    pub text: String,
    pub fields: Vec<FieldPlaces>,
    /// Stretches of `text` in order: where each starts, and the document and offset it came from.
    pieces: Vec<(usize, Arc<Document>, usize)>,
}

/// Where a field stands.
pub(super) struct FieldPlaces {
    pub name: String,
    pub name_place: Place,
    pub value: Place,
    /// The value in the spliced text.
    span: Range<usize>,
}

impl Spliced {
    /// The node's `body`, a part of `document`, with the values of `overrides` in place of its own.
    pub fn new(document: &Arc<Document>, body: &str, outline: &Outline<'_>, overrides: &[&Override]) -> Self {
        let mut spliced = Self { text: String::new(), fields: Vec::new(), pieces: Vec::new() };
        let mut copied = 0;
        let start = offset_in(&document.text, body);
        for (name, value) in &outline.fields {
            let value_start = offset_in(body, value);
            spliced.push(document, start + copied, &body[copied..value_start]);
            copied = value_start + value.len();
            let name_start = start + offset_in(body, name);
            let name_place =
                Place { document: Arc::clone(document), span: name_start..name_start + name.len() };
            match overrides.iter().rfind(|set| set.field == *name) {
                Some(set) => spliced.push_override(name_place, set),
                None => {
                    let span = spliced.push(document, start + value_start, value);
                    let place =
                        Place { document: Arc::clone(document), span: start + value_start..start + copied };
                    spliced.fields.push(FieldPlaces {
                        name: (*name).to_owned(),
                        name_place,
                        value: place,
                        span,
                    });
                }
            }
        }
        let is_new = |set: &Override| !outline.fields.iter().any(|(name, _)| set.field == *name);
        let is_last = |at: usize| !overrides[at + 1..].iter().any(|later| later.field == overrides[at].field);
        let additions: Vec<_> = (0..overrides.len())
            .filter(|&at| is_new(overrides[at]) && is_last(at))
            .map(|at| overrides[at])
            .collect();
        if outline.fields.is_empty() && !additions.is_empty() {
            let after_kind = offset_in(body, outline.kind) + outline.kind.len();
            let opening = body[after_kind..].find('(').map_or(body.len(), |at| after_kind + at + 1);
            spliced.push(document, start + copied, &body[copied..opening]);
            copied = opening;
        }
        for (index, set) in additions.into_iter().enumerate() {
            let comma = if index + outline.fields.len() > 0 { ", " } else { "" };
            let target = set.target_place();
            spliced.push(&target.document, target.span.start, &format!("{comma}{}: ", set.field));
            spliced.push_override(target, set);
        }
        spliced.push(document, start + copied, &body[copied..]);
        spliced
    }

    fn push(&mut self, document: &Arc<Document>, offset: usize, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.pieces.push((start, Arc::clone(document), offset));
        self.text.push_str(text);
        start..self.text.len()
    }

    fn push_override(&mut self, name_place: Place, set: &Override) {
        let value = set.value_place();
        let span = self.push(&value.document, value.span.start, set.value());
        self.fields.push(FieldPlaces { name: set.field.clone(), name_place, value, span });
    }

    /// A mistake in the spliced text, at the place that its bytes came from. A wrong name inside a
    /// value is told itself; of any other value the whole is told, and what was expected there.
    pub fn field_diagnostic(&self, found: Mistake, node_type: &NodeType) -> Diagnostic {
        let at = found.span.start;
        let Some(field) = self.fields.iter().find(|field| field.span.start <= at && at <= field.span.end)
        else {
            return Diagnostic::error(found.message).at(self.place(found.span)).maybe_hint(found.hint);
        };
        let (place, message) = match node_type.field(&field.name) {
            _ if found.is_name => (self.place(found.span), None),
            Some(described) if described.choices.is_empty() => (field.value.clone(), Some(described.takes())),
            Some(described) if field.value.text().starts_with('"') => {
                (field.value.clone(), Some(described.takes()))
            }
            _ => (field.value.clone(), None),
        };
        match message {
            Some(takes) => Diagnostic::error(format!("`{}` takes {takes}", field.name)).at(place),
            None => {
                let message = format!("`{}`: {}", field.name, found.message);
                Diagnostic::error(message).at(place).maybe_hint(found.hint)
            }
        }
    }

    fn place(&self, span: Range<usize>) -> Place {
        let index = self.pieces.partition_point(|(start, ..)| *start <= span.start).saturating_sub(1);
        let (start, document, offset) = &self.pieces[index];
        let from = (offset + span.start - start).min(document.text.len());
        let to = (from + span.len()).min(document.text.len());
        Place { document: Arc::clone(document), span: from..to }
    }
}
