//! `graph.rhai`: runs a script that makes nodes, and reads what it made like a graph file.
//!
//! A script is a program in Rhai whose functions are the registered kinds. What it makes is written as RON, read by the
//! reader of graph files, and then every place is led back to the script: a mistake in a graph that a script made is
//! told where the script made it. A script knows no files, no clock and no chance, so the same text and parameters
//! always make the same graph; it must not know how wires fit.

mod builder;
mod error;
mod expanded;
mod kinds;
mod limits;
mod literal;
mod modules;
mod parameters;
mod value;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhai::{AST, Engine, Scope};

use self::builder::Builder;
use self::error::Documents;
use self::expanded::Expanded;
use self::modules::ProjectModules;
use self::parameters::Parameters;
use super::{Override, Source, read_ron};
use crate::{Diagnostic, Document, Registry, Result};

/// Where a script may look for modules.
#[derive(Debug, Clone)]
pub struct ScriptFolders {
    /// The folder of the script: modules are named from here.
    pub script: PathBuf,
    /// The folder of the project: modules lie in it.
    pub project: PathBuf,
}

impl ScriptFolders {
    /// The folders of a script of a project.
    pub fn of(script: &Path, project: &Path) -> Self {
        let folder = script.parent().unwrap_or(Path::new("")).to_path_buf();
        Self { script: folder, project: project.to_path_buf() }
    }
}

/// Runs a script and reads the graph that it makes. Mistakes are in the source's diagnostics: the one that ended the
/// script, or all of the graph's.
pub fn read_script<'r>(
    document: Arc<Document>,
    folders: &ScriptFolders,
    overrides: &[Override],
    registry: &'r Registry,
) -> Source<'r> {
    let (expanded, files) = expand(&document, folders, overrides, registry);
    let mut source = match expanded {
        Ok(expanded) => {
            let left: Vec<_> =
                overrides.iter().filter(|set| expanded.has_no_node_for(set)).cloned().collect();
            expanded.led_back(read_ron(Arc::clone(&expanded.document), &left, registry))
        }
        Err(mistakes) => Source { diagnostics: mistakes, ..Source::empty(Arc::clone(&document)) },
    };
    source.document = document;
    source.files = files;
    source
}

/// The graph that a script makes, as a graph file with only the fields that are written.
///
/// # Errors
/// What ended the script.
pub fn expand_script(
    document: &Arc<Document>,
    folders: &ScriptFolders,
    overrides: &[Override],
    registry: &Registry,
) -> Result<String, Vec<Diagnostic>> {
    let (expanded, _) = expand(document, folders, overrides, registry);
    expanded.map(|expanded| expanded.document.text.clone())
}

/// The nodes that a script makes, and the modules that were read for it.
fn expand(
    document: &Arc<Document>,
    folders: &ScriptFolders,
    overrides: &[Override],
    registry: &Registry,
) -> (Result<Expanded, Vec<Diagnostic>>, Vec<PathBuf>) {
    let documents = Documents::new(Arc::clone(document));
    let builder = Builder::new();
    let parameters = Parameters::new(overrides);
    let modules = ProjectModules::new(folders.clone(), documents.clone());
    let files = modules.files();
    let mut engine = limits::engine();
    kinds::register(&mut engine, registry, &builder, &parameters, &documents);
    engine.set_module_resolver(modules);
    let made = run(&engine, document).map_err(|error| vec![error::told(&error, &documents, registry)]);
    let expanded = made.and_then(|()| {
        let unknown = parameters.unknown();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        builder.expanded(registry, overrides)
    });
    (expanded, files.all())
}

fn run(engine: &Engine, document: &Document) -> Result<(), Box<rhai::EvalAltResult>> {
    let mut ast: AST = engine.compile(&document.text)?;
    ast.set_source(&document.name);
    engine.run_ast_with_scope(&mut Scope::new(), &ast)
}

#[cfg(test)]
mod tests;
