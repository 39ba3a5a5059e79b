//! An error or a warning with its place: the document, the span, what was expected, a hint.
//!
//! Plain data. It does not know how it is drawn: the program draws carets, the event stream
//! writes it as JSON.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Problem;

/// A text that a place can point into: a graph file, or an override given on the command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    /// How a person knows the text: a path as it was given, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Document {
    /// A document under a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// Line and column, both from 1, of a byte offset; columns count characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
    }
}

/// Walks down a document and counts its lines, each once.
pub(crate) struct Cursor<'a> {
    pub document: &'a Document,
    at: usize,
    line: usize,
    column: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning.
    pub fn new(document: &'a Document) -> Self {
        Self { document, at: 0, line: 1, column: 1 }
    }

    /// Line and column of a byte offset, as [`Document::line_column`] gives them; it must not lie before the last one.
    pub fn line_column(&mut self, offset: usize) -> (usize, usize) {
        let end = offset.min(self.document.text.len());
        let passed = self.document.text.as_bytes().get(self.at..end).unwrap_or_default();
        let lines = passed.iter().filter(|&&byte| byte == b'\n').count();
        let rest = passed.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        let columns = String::from_utf8_lossy(rest).chars().count();
        self.column = if lines > 0 { 1 + columns } else { self.column + columns };
        self.line += lines;
        self.at = end.max(self.at);
        (self.line, self.column)
    }
}

/// The byte offset of a line and a column, both from 1; the end of the text if it is shorter.
pub(crate) fn offset(text: &str, line: usize, column: usize) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = &text[line_start..];
    line_start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}

/// A stretch of a document, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The text that the span is a part of.
    pub document: Arc<Document>,
    /// Byte offsets, on character boundaries.
    pub span: Range<usize>,
}

impl Place {
    /// The text at this place.
    pub fn text(&self) -> &str {
        self.document.text.get(self.span.clone()).unwrap_or_default()
    }

    /// The whole line that it starts in.
    pub fn line(&self) -> &str {
        let text = &self.document.text;
        let start = self.span.start.min(text.len());
        let from = text.as_bytes()[..start].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        text.get(from..).and_then(|rest| rest.lines().next()).unwrap_or_default()
    }

    /// A narrower place: the `nth` (from 0) `part` inside this one, or this one if it is not there.
    #[must_use]
    pub fn narrowed_to(&self, part: &str, nth: usize) -> Self {
        let found = self.text().match_indices(part).nth(nth);
        let Some((at, _)) = found else { return self.clone() };
        let start = self.span.start + at;
        Self { document: Arc::clone(&self.document), span: start..start + part.len() }
    }
}

/// A place as `file:line:column`, for readers that have no carets.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (line, column) = self.document.line_column(self.span.start);
        write!(f, "{}:{line}:{column}", self.document.name)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The graph cannot run.
    Error,
    /// The graph runs, perhaps not as meant.
    Warning,
}

/// One mistake: what, where, what was expected, what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What led to it, outermost first.
    pub causes: Vec<String>,
    /// The node it is about.
    pub node: Option<String>,
    /// Where it is.
    pub place: Option<Place>,
    /// What stands at the place, said under the caret.
    pub label: Option<String>,
    /// A second place that belongs to the mistake, and what stands there.
    pub related: Option<(Place, String)>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error, with nothing said yet but what is wrong.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            causes: Vec::new(),
            node: None,
            place: None,
            label: None,
            related: None,
            hint: None,
        }
    }

    /// What a node's error says, with its causes and the hint that it carries.
    pub fn from_error(error: &anyhow::Error) -> Self {
        let mut diagnostic = Self::error(error.to_string());
        diagnostic.causes = error.chain().skip(1).map(ToString::to_string).collect();
        diagnostic.hint = Problem::hint_of(error).map(ToOwned::to_owned);
        diagnostic
    }

    /// The place of the mistake.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The node that it is about.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// What stands under the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// A second place.
    #[must_use]
    pub fn related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related = Some((place, label.into()));
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do about it, where there is something to say.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// The diagnostic as the event stream carries it: places as file, line and column.
    pub fn report(&self) -> DiagnosticReport {
        let at = self.place.as_ref().map(|place| {
            let (line, column) = place.document.line_column(place.span.start);
            (place.document.name.clone(), line, column)
        });
        DiagnosticReport {
            severity: self.severity,
            message: self.message.clone(),
            causes: self.causes.clone(),
            node: self.node.clone(),
            file: at.as_ref().map(|at| at.0.clone()),
            line: at.as_ref().map(|at| at.1),
            column: at.as_ref().map(|at| at.2),
            source: self.place.as_ref().map(|place| place.line().to_owned()),
            hint: self.hint.clone(),
        }
    }
}

/// A [`Diagnostic`] without its document: what the event stream and its readers get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticReport {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What led to it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// The node it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The file or override it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// That whole line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The nearest of some names to one that does not exist, if any is near enough to be meant.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    names
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 1 + candidate.chars().count().max(lower.chars().count()) / 3
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_columns_agree_where_letters_are_wide() {
        let document = Document::new("g.ron", "a\n\"héé\": x\n");
        let mut cursor = Cursor::new(&document);
        for offset in [0, 2, 3, 3, 4, 6, 8, 11, 13] {
            let (line, column) = document.line_column(offset);
            assert_eq!(cursor.line_column(offset), (line, column));
            assert_eq!(super::offset(&document.text, line, column), offset);
        }
        assert_eq!(document.line_column(8), (2, 5));
    }

    #[test]
    fn the_nearest_name_is_suggested_only_if_it_is_near() {
        assert_eq!(nearest("LoadSdxl", ["LoadSDXL", "DDIMSample"]), Some("LoadSDXL"));
        assert_eq!(nearest("promt", ["prompt", "seed"]), Some("prompt"));
        assert_eq!(nearest("zebra", ["prompt", "seed"]), None);
    }
}
