//! Diagnostics as a person reads them: the source line, a caret, what was expected, a hint.

use std::io::{IsTerminal, stderr};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use flow_engine::{Diagnostic, DiagnosticReport, Event, Place, Reader, Record, Result, Severity};

use super::out::{harmless, tell};

/// Prints diagnostics on standard error, and how many errors there are if there are several.
pub fn print(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        tell(&format!("{}\n", draw(diagnostic, &renderer())));
    }
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    if errors > 1 {
        tell(&format!("{} in all", count(errors, "error")));
    }
}

/// A count with its noun: "1 node", "3 nodes".
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Whether colours are welcome on standard error.
pub fn colours_are_welcome() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn renderer() -> Renderer {
    if colours_are_welcome() { Renderer::styled() } else { Renderer::plain() }
}

/// A diagnostic as text.
pub fn draw(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()));
    if let Some(place) = &diagnostic.place {
        let related = diagnostic.related.as_ref().filter(|(other, _)| other.document == place.document);
        let related = related
            .map(|(other, label)| AnnotationKind::Context.span(other.span.clone()).label(label.as_str()));
        let primary = AnnotationKind::Primary.span(place.span.clone()).label(diagnostic.label.as_deref());
        group = group.element(snippet(place).annotation(primary).annotations(related));
    }
    for cause in &diagnostic.causes {
        group = group.element(Level::NOTE.message(cause.as_str()));
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.with_name(Some("hint")).message(hint.as_str()));
    }
    renderer.render(&[group])
}

fn snippet(place: &Place) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    Snippet::source(place.document.text.as_str()).path(place.document.name.as_str())
}

/// What went wrong in a node that ran, on a few lines.
pub fn failure(node: &str, report: &DiagnosticReport) -> String {
    told(format!("error: `{}` failed: {}", harmless(node), report.message), report)
}

/// What is wrong with a graph that somebody else draws no carets for, on a few lines.
pub fn rejected(report: &DiagnosticReport) -> String {
    told(format!("error: {}", report.message), report)
}

fn told(mut text: String, report: &DiagnosticReport) -> String {
    for cause in &report.causes {
        text.push_str(&format!("\n   = note: {cause}"));
    }
    if let (Some(file), Some(line), Some(column)) = (&report.file, report.line, report.column) {
        text.push_str(&format!("\n  --> {file}:{line}:{column}"));
    }
    if let Some(hint) = &report.hint {
        text.push_str(&format!("\n   = hint: {hint}"));
    }
    text
}

/// A reader that is silent until a node fails.
pub struct FailuresOnly;

impl Reader for FailuresOnly {
    fn read(&mut self, record: &Record) -> Result<()> {
        if let Event::NodeFailed { node, diagnostic } = &record.event {
            tell(&failure(node, diagnostic));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_engine::Document;

    #[test]
    fn a_diagnostic_shows_the_line_the_caret_and_the_hint() {
        let text = "Graph(\n    nodes: {\n        \"out\": Save(model: \"photo\"),\n    },\n)\n";
        let start = text.find("\"photo\"").unwrap();
        let place = Place { document: Document::new("graphs/a.ron", text), span: start..start + 7 };
        let diagnostic = Diagnostic::error("`model` takes a Model, but `photo` gives Images")
            .at(place)
            .label("read by node `out`")
            .hint("`base` gives a Model");
        insta::assert_snapshot!(draw(&diagnostic, &Renderer::plain()), @r#"
        error: `model` takes a Model, but `photo` gives Images
         --> graphs/a.ron:3:28
          |
        3 |         "out": Save(model: "photo"),
          |                            ^^^^^^^ read by node `out`
          |
          = hint: `base` gives a Model
        "#);
    }
}
