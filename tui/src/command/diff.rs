//! `flow diff A B`: two graphs or two runs, by what they mean.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use flow_engine::{
    Comparison, Diagnostic, Document, Lock, Meaning, Project, Ready, Session, Wanted, read_ron, runs,
};

use crate::open::{GraphArguments, SettingsArguments, is_graph, one};
use crate::show::out::{self, harmless};
use crate::{Ending, Exit};

#[derive(Args)]
pub struct DiffArguments {
    /// A graph file, a script, or a run: its id, its folder, or `last`.
    before: String,
    /// The same, to compare with.
    after: String,
    #[command(flatten)]
    settings: SettingsArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn diff(arguments: &DiffArguments) -> Ending {
    let meaning = |name: &str| meaning(name, &arguments.settings);
    let comparison = meaning(&arguments.before)?.compared_to(&meaning(&arguments.after)?);
    let json = || Ok(serde_json::to_string_pretty(&comparison)? + "\n");
    let text = if arguments.json { json().map_err(one)? } else { told(&comparison) };
    out::print(&text).map_err(one)?;
    Ok(Exit::Done)
}

/// What a graph file, a script or a run means.
fn meaning(name: &str, settings: &SettingsArguments) -> Result<Meaning, Vec<Diagnostic>> {
    let path = Path::new(name);
    if is_graph(path) {
        let graph = GraphArguments::of_file(path.to_path_buf());
        let session = graph.session(settings)?.with_store();
        let ready = Ready::unchecked(graph.drawable(&session)?, Wanted::default());
        return Ok(Meaning::of(&ready, &session, None));
    }
    let run = runs::find(&Project::here(), name).map_err(one)?;
    of_run(&run, settings)
}

fn of_run(run: &Path, settings: &SettingsArguments) -> Result<Meaning, Vec<Diagnostic>> {
    let read = |file: &str| {
        let path = run.join(file);
        std::fs::read_to_string(&path).map_err(|error| {
            one(anyhow::Error::new(error).context(format!("cannot read {}", path.display())))
        })
    };
    let graph = GraphArguments::of_file(run.join(runs::GRAPH));
    let session: Session = graph.session(settings)?.with_store();
    let document = Document::new(graph.graph.display().to_string(), read(runs::GRAPH)?);
    let graph = flow_engine::Graph::new(read_ron(document, &[], &session.registry), &session.registry)?;
    let ready = Ready::unchecked(graph, Wanted::default());
    let lock = Lock::from_ron(&read(runs::LOCK)?).map_err(one)?;
    Ok(Meaning::of(&ready, &session, Some(&lock)))
}

fn told(comparison: &Comparison) -> String {
    let Comparison { added, removed, renamed, changed, affected } = comparison;
    let mut text = String::new();
    // Writing to a String cannot fail.
    for (before, after) in renamed {
        let _ = writeln!(text, "= {} is named {} now", harmless(before), harmless(after));
    }
    for name in removed {
        let _ = writeln!(text, "- {}", harmless(name));
    }
    for name in added {
        let _ = writeln!(text, "+ {}", harmless(name));
    }
    for (name, changes) in changed {
        let _ = writeln!(text, "~ {}", harmless(name));
        for change in changes {
            let _ = writeln!(text, "    {}", harmless(change));
        }
    }
    for name in affected {
        let _ = writeln!(text, "> {} reads something that gives another result", harmless(name));
    }
    if comparison.is_same_meaning() {
        text.push_str("the same meaning\n");
    }
    text
}
