//! One file per side of the program, and the tools that they share.

mod adapters;
mod broken_adapters;
mod broken_graphs;
mod broken_models;
mod commands;
mod dash;
mod evaluate;
mod events;
mod fuzz;
mod hub;
mod inspect;
mod page;
mod pictures;
mod samplers;
mod saving;
mod scripts;
mod store;
mod survey;
mod tmux;
mod train;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder with the whole project in it.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// What a call of the program left behind.
pub(crate) struct Call {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Call {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// The program, about to be called from a folder.
pub(crate) fn flow_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flow"));
    command.current_dir(folder).args(arguments).env_remove("NO_COLOR");
    command
}

/// Calls the program from a folder.
pub(crate) fn flow(folder: &Path, arguments: &[&str]) -> Call {
    flow_in(folder, arguments).output().expect("the program starts").into()
}

/// A project of its own in a temporary folder, with the embedded model in it by reference.
pub(crate) struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("graphs")).expect("a folder in it");
        Self { folder }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a graph of these nodes. `MODEL` stands for the embedded model.
    pub(crate) fn graph(&self, nodes: &str) -> &Self {
        let model = format!("LoadSDXL(path: {:?})", root().join("models/mini-sdxl"));
        let text = format!("Graph(nodes: {{\n{}\n}})\n", nodes.replace("MODEL", &model));
        std::fs::write(self.path("graphs/test.ron"), text).expect("a graph");
        self
    }

    /// Calls a verb on the graph.
    pub(crate) fn call(&self, verb: &str, more: &[&str]) -> Call {
        let arguments: Vec<&str> =
            [verb, "graphs/test.ron"].into_iter().chain(more.iter().copied()).collect();
        flow(self.folder.path(), &arguments)
    }

    /// Runs the graph, which must end well.
    pub(crate) fn run(&self, more: &[&str]) -> Call {
        let call = self.call("run", more);
        assert_eq!(call.code, Some(0), "{}", call.stderr);
        call
    }

    /// A copy of the embedded model to break.
    pub(crate) fn model_copy(&self) -> PathBuf {
        let copy = self.path("model");
        copy_folder(&root().join("models/mini-sdxl"), &copy);
        copy
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the model's folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a copy");
        }
    }
}
