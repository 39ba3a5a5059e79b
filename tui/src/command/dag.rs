//! `flow dag GRAPH`: the graph for Graphviz or Mermaid.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use flow_engine::{Graph, Result};

use crate::Exit;
use crate::open::{GraphArguments, SettingsArguments};
use crate::show::diagnostics;

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

pub fn dag(arguments: &DagArguments) -> Result<Exit> {
    let session = arguments.graph.session(&arguments.settings)?;
    let graph = match arguments.graph.drawable(&session)? {
        Ok(graph) => graph,
        Err(problems) => {
            diagnostics::print(&problems);
            return Ok(Exit::Invalid);
        }
    };
    print!("{}", draw(&graph, arguments.format));
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
            Format::Dot => writeln!(picture, "  n{index} [label={:?}];", format!("{name}\n{kind}")),
            Format::Mermaid => writeln!(picture, "  n{index}[\"{}<br/>{kind}\"]", mermaid_text(name)),
        };
        for (input, upstream) in &node.inputs {
            let Some(from) = index_of.get(upstream.as_str()) else { continue };
            let _ = match format {
                Format::Dot => writeln!(picture, "  n{from} -> n{index} [label={input:?}];"),
                Format::Mermaid => writeln!(picture, "  n{from} -- \"{}\" --> n{index}", mermaid_text(input)),
            };
        }
    }
    if let Format::Dot = format {
        picture.push_str("}\n");
    }
    picture
}

/// Text inside Mermaid's quotes, where `#quot;` stands for a quote.
fn mermaid_text(text: &str) -> String {
    text.replace('"', "#quot;")
}
