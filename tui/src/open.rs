//! From a path on the command line to a checked graph.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use flow_engine::diagnostic::nearest;
use flow_engine::{
    Before, Device, Diagnostic, Document, Dtype, Graph, GraphNode, Override, Problem, Project, Ready, Result,
    ScriptFolders, Session, Source, Wanted, expand_script, read_ron, read_script,
};

/// Which graph, and what is changed in it.
#[derive(Args)]
pub struct GraphArguments {
    /// The graph: a `.ron` file, or a `.rhai` script that makes one.
    pub graph: PathBuf,
    /// Set a field of a node, or a parameter of a script; the value is read as RON,
    /// and the text of a parameter needs no quotes. May be given several times.
    #[arg(long = "set", value_name = "NODE.FIELD=VALUE", value_parser = parsed_override)]
    pub overrides: Vec<Override>,
}

/// Where a graph runs and how precisely.
#[derive(Args)]
pub struct SettingsArguments {
    /// Device: auto, cpu, cuda, cuda:N or metal. `auto` takes a GPU if this build has one.
    #[arg(long, default_value = "auto", value_parser = auto_or::<Device>)]
    pub device: Auto<Device>,
    /// Precision of the networks: auto, f32, f16 or bf16. `auto` is f32 on a CPU and f16 on a GPU.
    #[arg(long, default_value = "auto", value_parser = auto_or::<Dtype>)]
    pub dtype: Auto<Dtype>,
    /// Memory that networks may take when no node needs them at the moment, in GiB: those used least recently go first.
    #[arg(long, value_name = "GIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(0..=4096))]
    pub memory: u32,
}

/// Where results are kept.
#[derive(Args)]
pub struct StoreArguments {
    /// Neither look for stored results nor store any.
    #[arg(long)]
    pub no_cache: bool,
    /// Read every file again instead of trusting size and time.
    #[arg(long)]
    pub paranoid: bool,
}

/// What is to be run of a graph.
#[derive(Args)]
pub struct WantedArguments {
    /// Only this node and what it needs. May be given several times.
    #[arg(long = "target", value_name = "NODE")]
    targets: Vec<String>,
    /// Run this node and all that depends on it, whatever is stored. May be given several times.
    #[arg(long, value_name = "NODE")]
    from: Vec<String>,
    /// Run this node, whatever is stored. May be given several times.
    #[arg(long, value_name = "NODE")]
    force: Vec<String>,
}

impl WantedArguments {
    /// As the engine wants it.
    pub fn wanted(&self) -> Wanted {
        Wanted { targets: self.targets.clone(), from: self.from.clone(), force: self.force.clone() }
    }
}

/// A setting, or none where the program chooses.
#[derive(Debug, Clone, Copy)]
pub struct Auto<T>(pub Option<T>);

fn auto_or<T: FromStr<Err = Problem>>(text: &str) -> Result<Auto<T>, String> {
    if text == "auto" { Ok(Auto(None)) } else { parsed(text).map(|value| Auto(Some(value))) }
}

/// Reads what is changed in a graph.
pub fn parsed_override(text: &str) -> Result<Override, String> {
    parsed(text)
}

/// Reads an argument; a problem is told with its hint.
fn parsed<T: FromStr<Err = Problem>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|problem: Problem| match Problem::hint_of(&problem.clone().into()) {
        Some(hint) => format!("{problem}; {hint}"),
        None => problem.to_string(),
    })
}

impl GraphArguments {
    /// Reads the file.
    fn document(&self) -> Result<Arc<Document>> {
        let name = self.graph.display().to_string();
        if !is_graph(&self.graph) {
            let hint = "graphs are `.ron` files, or `.rhai` scripts that make them";
            return Err(Problem::new(format!("{name} is no graph")).hint(hint).into());
        }
        match std::fs::read_to_string(&self.graph) {
            // Some editors begin a file with a mark of its encoding, which is no part of the text.
            Ok(text) => Ok(Document::new(name, text.trim_start_matches('\u{feff}'))),
            Err(error) => {
                let hint = graphs_beside(&self.graph);
                Err(Problem::new(format!("cannot read {name}: {error}")).hint(hint).into())
            }
        }
    }

    /// A session for the graph's project.
    pub fn session(&self, arguments: &SettingsArguments) -> Result<Session, Vec<Diagnostic>> {
        let settings = flow_nodes::settle(arguments.device.0, arguments.dtype.0).map_err(one)?;
        let mut session = Session::new(flow_nodes::registry(), settings, Project::of(&self.graph));
        session.memory = u64::from(arguments.memory) << 30;
        Ok(session)
    }

    /// A graph file as it is.
    pub fn of_file(graph: PathBuf) -> Self {
        Self { graph, overrides: Vec::new() }
    }

    /// What ran before of this graph, but for a run that is under way.
    pub fn before<'a>(&self, session: &'a Session, but: Option<PathBuf>) -> Before<'a> {
        Before::runs_of(session, self.graph.clone(), but)
    }

    /// The same with a store, unless there shall be none.
    pub fn session_with(
        &self,
        settings: &SettingsArguments,
        store: &StoreArguments,
    ) -> Result<Session, Vec<Diagnostic>> {
        let session = self.session(settings)?;
        let session = if store.no_cache { session } else { session.with_store() };
        Ok(if store.paranoid { session.paranoid() } else { session })
    }

    /// The nodes of the file as it is now.
    pub fn source<'s>(&self, session: &'s Session) -> Result<Source<'s>, Vec<Diagnostic>> {
        let document = self.document().map_err(one)?;
        if !is_script(&self.graph) {
            return Ok(read_ron(document, &self.overrides, &session.registry));
        }
        let folders = ScriptFolders::of(&self.graph, session.project.root());
        Ok(read_script(document, &folders, &self.overrides, &session.registry))
    }

    /// The graph as RON: what a script wrote, or a graph file with every default.
    pub fn expanded(&self, session: &Session, graph: &Graph<'_>) -> Result<String, Vec<Diagnostic>> {
        let document = self.document().map_err(one)?;
        if !is_script(&self.graph) {
            return graph.to_ron().map_err(one);
        }
        let folders = ScriptFolders::of(&self.graph, session.project.root());
        expand_script(&document, &folders, &self.overrides, &session.registry)
    }

    /// The graph, checked as far as it is wanted and its results are not stored.
    pub fn ready<'s>(&self, session: &'s Session, wanted: Wanted) -> Result<Ready<'s>, Vec<Diagnostic>> {
        Ready::new(self.source(session)?, session, wanted)
    }

    /// The graph, if its nodes and wires fit together.
    pub fn drawable<'s>(&self, session: &'s Session) -> Result<Graph<'s>, Vec<Diagnostic>> {
        Graph::new(self.source(session)?, &session.registry)
    }

    /// The graph, checked as far as it can be without running it.
    pub fn checked<'s>(&self, session: &'s Session) -> Result<Graph<'s>, Vec<Diagnostic>> {
        Graph::checked(self.source(session)?, session)
    }
}

/// Whether a path is called like a graph, in either language.
pub fn is_graph(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "ron" || ending == "rhai")
}

/// Whether a path is called like a script.
fn is_script(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "rhai")
}

/// An error as the only thing that is wrong.
pub fn one(error: anyhow::Error) -> Vec<Diagnostic> {
    vec![Diagnostic::from_error(&error)]
}

/// A problem with a node's name, with the name that may be meant.
pub fn nearest_node(problem: Problem, name: &str, graph: &Graph<'_>) -> Problem {
    match nearest(name, graph.nodes().map(GraphNode::name)) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem,
    }
}

/// The graphs that could have been meant: those in the folder of a path, in `graphs` or in `scripts`.
fn graphs_beside(path: &Path) -> String {
    const MOST: usize = 8;
    let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<String> = [beside, Path::new("graphs"), Path::new("scripts")]
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_graph(path) && path.is_file())
        .map(|path| path.display().to_string())
        .filter(|name| !name.ends_with(".lock.ron"))
        .collect();
    names.sort();
    names.dedup();
    let more = if names.len() > MOST { ", .." } else { "" };
    names.truncate(MOST);
    match names.is_empty() {
        true => "paths are relative to the current directory".to_owned(),
        false => format!("there are {}{more}", names.join(", ")),
    }
}
