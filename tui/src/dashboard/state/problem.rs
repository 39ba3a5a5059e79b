//! What went wrong, and where.

use std::sync::Arc;

use flow_engine::{DiagnosticReport, Severity};

use super::text::harmless;

/// More problems than this are not kept.
pub const MOST_PROBLEMS: usize = 500;

/// Where a problem comes from; the order in which they are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A saved edit was rejected.
    Edit,
    /// A node failed.
    Node,
    /// Something that a person should know.
    Warning,
}

/// One mistake or warning.
#[derive(Debug, Clone)]
pub struct Problem {
    /// When, in seconds of the run.
    pub at: f64,
    /// Where it comes from.
    pub origin: Origin,
    /// How bad it is.
    pub severity: Severity,
    /// Which node it is about.
    pub node: Option<Arc<str>>,
    /// What is wrong.
    pub message: String,
    /// What led to it, outermost first.
    pub causes: Vec<String>,
    /// The file it stands in, the line and the column, both from 1.
    pub place: Option<(String, usize, usize)>,
    /// The line that it stands in.
    pub source: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// What a report says.
    pub fn new(origin: Origin, at: f64, report: DiagnosticReport) -> Self {
        let place = report.file.zip(report.line).map(|(file, line)| (file, line, report.column.unwrap_or(1)));
        Self {
            at,
            origin,
            severity: report.severity,
            node: report.node.map(|node| harmless(&node).into()),
            message: report.message,
            causes: report.causes,
            place,
            source: report.source,
            hint: report.hint,
        }
    }

    /// A warning of a node or of the run.
    pub fn warning(at: f64, node: Option<String>, message: String, hint: Option<String>) -> Self {
        let node = node.map(|node| harmless(&node).into());
        let (origin, severity) = (Origin::Warning, Severity::Warning);
        Self { at, origin, severity, node, message, causes: Vec::new(), place: None, source: None, hint }
    }

    /// The whole of it as a text, the way the program prints it.
    pub fn text(&self) -> String {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let about = self.node.as_deref().filter(|_| self.origin != Origin::Edit);
        let about = about.map(|node| format!("`{node}`: ")).unwrap_or_default();
        let mut text = format!("{word}: {about}{}\n", self.message);
        for cause in &self.causes {
            text += &format!("   = note: {cause}\n");
        }
        if let Some((file, line, column)) = &self.place {
            text += &format!("  --> {file}:{line}:{column}\n");
        }
        if let Some(hint) = &self.hint {
            text += &format!("   = hint: {hint}\n");
        }
        text
    }

    /// Whether it holds a text in lower case.
    pub fn matches(&self, needle: &str) -> bool {
        let node = self.node.as_deref().unwrap_or_default();
        super::log::contains(&self.message, needle) || super::log::contains(node, needle)
    }
}
