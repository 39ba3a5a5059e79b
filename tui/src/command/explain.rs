//! `flow explain GRAPH NODE`: everything that decides a node's result.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use flow_engine::store::Entry;
use flow_engine::{Problem, Result, Session};
use indicatif::HumanBytes;

use crate::command::plan::planned;
use crate::open::{GraphArguments, SettingsArguments, StoreArguments, WantedArguments, nearest_node, one};
use crate::show::out::{self, harmless};
use crate::show::plan::word;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    graph: GraphArguments,
    /// The node.
    node: String,
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    wanted: WantedArguments,
}

pub fn explain(arguments: &ExplainArguments) -> Ending {
    let session = arguments.graph.session_with(&arguments.settings, &arguments.store)?;
    let ready = arguments.graph.ready(&session, arguments.wanted.wanted())?;
    let plan = planned(&arguments.graph, &ready, &session);
    let name = &arguments.node;
    let Some(node) = plan.node(name) else {
        if ready.graph.nodes().any(|node| node.name() == name) {
            let problem = Problem::new(format!("`{name}` is not needed for what `--target` names"));
            return Err(one(problem.hint("leave out `--target`").into()));
        }
        let problem = Problem::new(format!("there is no node `{name}`"));
        return Err(one(nearest_node(problem, name, &ready.graph).into()));
    };
    let mut text =
        format!("{} ({}): {}, {}\n", harmless(name), node.kind, word(node.state), harmless(&node.why));
    // Writing to a String cannot fail.
    if let Some(explanation) = plan.explanation(name) {
        let _ = writeln!(text, "\nrecipe key   {}", digest(node.key));
        let _ = writeln!(text, "content key  {}", digest(explanation.content));
        let parts = &explanation.parts;
        let _ = writeln!(text, "\nwhat decides it:");
        let _ = writeln!(text, "  version {} of {}, numerics {}", parts.version, parts.kind, parts.numerics);
        let _ = writeln!(text, "  {} on {}", parts.dtype, parts.device_class);
        for (field, value) in parts.parameters.as_object().into_iter().flatten() {
            if !value.is_null() {
                let _ = writeln!(text, "  {field}: {value}");
            }
        }
        for (path, digest) in &parts.files {
            let _ = writeln!(text, "  file {}: {}", harmless(path), digest.short());
        }
        for (input, from, result) in explanation.inputs {
            let result = result.map_or("not known before it runs".to_owned(), |result| result.short());
            let _ = writeln!(text, "  {input}, from {}: {result}", harmless(from));
        }
        text += &stored(&session, explanation.content).map_err(one)?;
    }
    out::print(&text).map_err(one)?;
    Ok(Exit::Done)
}

fn digest(digest: Option<flow_engine::Digest>) -> String {
    digest.map_or("not known yet".to_owned(), |digest| digest.to_string())
}

/// What is stored under a key.
fn stored(session: &Session, key: Option<flow_engine::Digest>) -> Result<String> {
    let Some(store) = &session.store else { return Ok("\nno store is asked (--no-cache)\n".to_owned()) };
    let entry = match key {
        Some(key) => store.entry(&key)?,
        None => None,
    };
    Ok(entry.map_or("\nnothing is stored under its key\n".to_owned(), |entry| entry_lines(store, &entry)))
}

fn entry_lines(store: &flow_engine::Store, entry: &Entry) -> String {
    let made = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(entry.time));
    let digest = entry.digest.short();
    let mut text =
        format!("\nstored: {} {digest}, made {made} in {:.2} s\n", entry.type_name, entry.cost.seconds);
    for file in entry.files.iter().flatten() {
        let path = store.file_path(&file.digest);
        text += &format!("  {} ({}): {}\n", harmless(&file.name), HumanBytes(file.bytes), path.display());
    }
    if entry.files.is_none() {
        text += "  its digest alone: the value is put together again when it is needed\n";
    }
    text
}
