//! `flow dag GRAPH`: the graph for Graphviz or Mermaid.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use flow_engine::Graph;

use crate::open::{GraphArguments, SettingsArguments, one};
use crate::show::out;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct DagArguments {
    #[command(flatten)]
    graph: GraphArguments,
    #[command(flatten)]
    settings: SettingsArguments,
    /// The language of the picture.
    #[arg(long, value_enum, default_value = "mermaid")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For Graphviz.
    Dot,
    /// For Mermaid, which GitHub draws in Markdown.
    Mermaid,
}

pub fn dag(arguments: &DagArguments) -> Ending {
    let session = arguments.graph.session(&arguments.settings)?;
    let graph = arguments.graph.drawable(&session)?;
    out::print(&draw(&graph, arguments.format)).map_err(one)?;
    Ok(Exit::Done)
}

fn draw(graph: &Graph<'_>, format: Format) -> String {
    let index_of: std::collections::HashMap<_, _> =
        graph.nodes().enumerate().map(|(index, node)| (node.name(), index)).collect();
    let mut picture = match format {
        Format::Dot => "digraph flow {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n".to_owned(),
        Format::Mermaid => "flowchart LR\n".to_owned(),
    };
    for (index, node) in graph.nodes().enumerate() {
        let (name, kind) = (node.name(), node.source.node_type.kind);
        // Writing to a String cannot fail.
        let _ = match format {
            Format::Dot => writeln!(picture, "  n{index} [label=\"{}\\n{kind}\"];", dot_text(name)),
            Format::Mermaid => writeln!(picture, "  n{index}[\"{}<br/>{kind}\"]", mermaid_text(name)),
        };
        for (input, upstream) in &node.inputs {
            let Some(from) = index_of.get(upstream.as_str()) else { continue };
            let _ = match format {
                Format::Dot => writeln!(picture, "  n{from} -> n{index} [label=\"{}\"];", dot_text(input)),
                Format::Mermaid => writeln!(picture, "  n{from} -- \"{}\" --> n{index}", mermaid_text(input)),
            };
        }
    }
    if let Format::Dot = format {
        picture.push_str("}\n");
    }
    picture
}

/// Text inside Graphviz's quotes.
fn dot_text(text: &str) -> String {
    out::harmless(text).replace('\\', "\\\\").replace('"', "\\\"")
}

/// Text inside Mermaid's quotes, where signs of its own are written by name.
fn mermaid_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in out::harmless(text).chars() {
        match letter {
            '#' => escaped.push_str("#35;"),
            '"' => escaped.push_str("#quot;"),
            '<' => escaped.push_str("#lt;"),
            '>' => escaped.push_str("#gt;"),
            '&' => escaped.push_str("#amp;"),
            other => escaped.push(other),
        }
    }
    escaped
}
