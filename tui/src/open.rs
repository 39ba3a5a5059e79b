//! From a path on the command line to a checked graph.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use flow_engine::{
    Device, Diagnostic, Document, Dtype, Graph, Override, Problem, Project, Result, Session, check, read_ron,
};

/// Which graph, and what is changed in it.
#[derive(Args)]
pub struct GraphArguments {
    /// The graph file.
    pub graph: PathBuf,
    /// Set a field of a node; the value is read as RON. May be given several times.
    #[arg(long = "set", value_name = "NODE.FIELD=VALUE", value_parser = parsed::<Override>)]
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
}

/// A setting, or none where the program chooses.
#[derive(Debug, Clone, Copy)]
pub struct Auto<T>(pub Option<T>);

fn auto_or<T: FromStr<Err = Problem>>(text: &str) -> Result<Auto<T>, String> {
    if text == "auto" { Ok(Auto(None)) } else { parsed(text).map(|value| Auto(Some(value))) }
}

/// Reads an argument; a problem is told with its hint.
fn parsed<T: FromStr<Err = Problem>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|problem: Problem| match Problem::hint_of(&problem.clone().into()) {
        Some(hint) => format!("{problem}; {hint}"),
        None => problem.to_string(),
    })
}

/// A graph without mistakes, and warnings of what is only known by running it.
pub type Checked<'s> = (Graph<'s>, Vec<Diagnostic>);

impl GraphArguments {
    /// Reads the file.
    pub fn document(&self) -> Result<Arc<Document>> {
        let name = self.graph.display().to_string();
        if self.graph.extension().is_none_or(|ending| ending != "ron") {
            return Err(Problem::new(format!("{name} is no graph")).hint("graphs are `.ron` files").into());
        }
        match std::fs::read_to_string(&self.graph) {
            Ok(text) => Ok(Document::new(name, text)),
            Err(error) => {
                let hint = graphs_beside(&self.graph);
                Err(Problem::new(format!("cannot read {name}: {error}")).hint(hint).into())
            }
        }
    }

    /// A session for the graph's project.
    pub fn session(&self, settings: &SettingsArguments) -> Result<Session> {
        let settings = flow_nodes::settle(settings.device.0, settings.dtype.0)?;
        Ok(Session::new(flow_nodes::registry(), settings, Project::of(&self.graph)))
    }

    /// The graph, if its nodes and wires fit together.
    pub fn drawable<'s>(&self, session: &'s Session) -> Result<Result<Graph<'s>, Vec<Diagnostic>>> {
        let source = read_ron(self.document()?, &self.overrides, &session.registry);
        Ok(Graph::new(source, &session.registry))
    }

    /// The graph, checked as far as it can be without running it, and what is only known by running.
    pub fn checked<'s>(&self, session: &'s Session) -> Result<Result<Checked<'s>, Vec<Diagnostic>>> {
        Ok(self.drawable(session)?.and_then(|graph| check(&graph, session).map(|later| (graph, later))))
    }
}

/// The graphs that could have been meant: those in the folder of a path, or in `graphs`.
fn graphs_beside(path: &Path) -> String {
    let folders = [path.parent().unwrap_or(Path::new(".")), Path::new("graphs")];
    let mut names: Vec<String> = folders
        .iter()
        .filter_map(|folder| {
            std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }).ok()
        })
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "ron"))
        .map(|path| path.display().to_string())
        .collect();
    names.sort();
    names.dedup();
    match names.is_empty() {
        true => "paths are relative to the current directory".to_owned(),
        false => format!("there are {}", names.join(", ")),
    }
}
