//! `flow nodes [KIND]`: the reference, from the registry.

use std::fmt::Write as _;

use clap::Args;
use flow_engine::diagnostic::nearest;
use flow_engine::{Choice, Field, NodeType, Problem, Registry, Result};

use crate::open::one;
use crate::show::out;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct NodesArguments {
    /// The kind to say everything about.
    kind: Option<String>,
}

pub fn nodes(arguments: &NodesArguments) -> Ending {
    let registry = flow_nodes::registry();
    let text = match &arguments.kind {
        Some(kind) => manual(find(&registry, kind).map_err(one)?),
        None => list(&registry),
    };
    out::print(&text).map_err(one)?;
    Ok(Exit::Done)
}

fn find<'r>(registry: &'r Registry, kind: &str) -> Result<&'r NodeType> {
    registry.get(kind).ok_or_else(|| {
        let hint = nearest(kind, registry.kinds()).map(|near| format!("did you mean `{near}`?"));
        let hint = hint.unwrap_or_else(|| "`flow nodes` lists the kinds".to_owned());
        Problem::new(format!("there is no kind of node named `{kind}`")).hint(hint).into()
    })
}

/// A line per kind.
fn list(registry: &Registry) -> String {
    let width = registry.kinds().map(str::len).max().unwrap_or(0);
    let mut text = String::new();
    for node_type in registry.types() {
        let summary = node_type.doc().lines().next().unwrap_or_default();
        let _ = writeln!(text, "{:width$}  -> {:<12}  {summary}", node_type.kind, node_type.output);
    }
    text.push_str("\n`flow nodes KIND` says everything about one.\n");
    text
}

/// Everything about one kind.
fn manual(node_type: &NodeType) -> String {
    let mut text = format!("{} -> {}\n\n", node_type.kind, node_type.output);
    indent(&mut text, node_type.doc(), 2);
    for field in node_type.fields() {
        text.push('\n');
        describe(&mut text, &field, 2, &mut Vec::new());
    }
    text
}

/// Appends what a field takes, with the fields of its choices. Choices that were told already are not told again.
fn describe(text: &mut String, field: &Field, by: usize, told: &mut Vec<Vec<Choice>>) {
    indent(text, &format!("{}: {}", field.name, summary(field)), by);
    indent(text, &field.doc, by + 4);
    if told.contains(&field.choices) {
        return indent(text, "The choices are those above.", by + 6);
    }
    for choice in &field.choices {
        let Choice { name, doc, fields } = choice;
        indent(text, &if doc.is_empty() { name.clone() } else { format!("{name}: {doc}") }, by + 6);
        fields.iter().for_each(|field| describe(text, field, by + 8, told));
    }
    if !field.choices.is_empty() {
        told.push(field.choices.clone());
    }
}

/// Type, range, and what happens if a graph does not set the field.
fn summary(field: &Field) -> String {
    let range = field.range.as_ref().map(|range| format!(", {range}")).unwrap_or_default();
    let absence = match (&field.default, field.required) {
        (_, true) => ", required".to_owned(),
        (Some(default), false) => format!(", default {default}"),
        (None, false) => ", optional".to_owned(),
    };
    format!("{}{range}{absence}", field.type_name)
}

/// Appends a text with every line moved to the right.
fn indent(text: &mut String, block: &str, by: usize) {
    for line in block.lines() {
        let line = format!("{:by$}{line}", "");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
