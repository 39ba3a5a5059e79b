//! Modules: other scripts of the same project.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use super::ScriptFolders;
use super::error::{Documents, thrown};
use crate::{Diagnostic, Document, Place};

/// Finds modules beside the script that imports them, and nowhere outside the project.
pub(super) struct ProjectModules {
    folders: ScriptFolders,
    documents: Documents,
    read: ReadFiles,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    modules: HashMap<PathBuf, Shared<Module>>,
    /// The folder of each module, by the name that the interpreter knows it under.
    folders: HashMap<String, PathBuf>,
    /// Those that are being read, the outermost first.
    under_way: Vec<PathBuf>,
}

/// The files that were looked for.
#[derive(Clone, Default)]
pub(super) struct ReadFiles {
    files: Arc<Mutex<Vec<PathBuf>>>,
}

impl ReadFiles {
    /// All of them, also those that do not exist.
    pub fn all(&self) -> Vec<PathBuf> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, file: &Path) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if !files.iter().any(|known| known == file) {
            files.push(file.to_path_buf());
        }
    }
}

impl ProjectModules {
    pub fn new(folders: ScriptFolders, documents: Documents) -> Self {
        Self { folders, documents, read: ReadFiles::default(), known: Mutex::default() }
    }

    /// The files that will have been looked for.
    pub fn files(&self) -> ReadFiles {
        self.read.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that a module's name means, if it may be read.
    fn file(&self, source: Option<&str>, name: &str) -> Result<(PathBuf, PathBuf), Box<Diagnostic>> {
        let folder = source.and_then(|source| self.known().folders.get(source).cloned());
        let folder = folder.unwrap_or_else(|| self.folders.script.clone());
        let mut shown = folder.join(name.strip_prefix("./").unwrap_or(name));
        if shown.extension().is_none_or(|ending| ending != "rhai") {
            shown.as_mut_os_string().push(".rhai");
        }
        self.read.add(&shown);
        let project =
            fs::canonicalize(&self.folders.project).unwrap_or_else(|_| self.folders.project.clone());
        let outside = || {
            let problem = Diagnostic::error(format!("the module `{name}` lies outside the project"));
            let hint = format!("the project is {}; copy the module into it", project.display());
            Box::new(problem.hint(hint))
        };
        let real = fs::canonicalize(&shown).map_err(|error| {
            // Of what is outside nobody is told whether it exists.
            if !is_below(&shown, &project) {
                return outside();
            }
            let problem =
                Diagnostic::error(format!("there is no module `{name}`: {}: {error}", shown.display()));
            Box::new(problem.hint("modules are named from the folder of the script that imports them"))
        })?;
        if !real.starts_with(&project) {
            return Err(outside());
        }
        Ok((shown, real))
    }

    fn read(
        &self,
        engine: &Engine,
        (shown, real): (PathBuf, PathBuf),
        place: Place,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let name = shown.display().to_string();
        let text = fs::read_to_string(&real)
            .map_err(|error| thrown(Diagnostic::error(format!("cannot read {name}: {error}")).at(place)))?;
        let document = Document::new(&name, text.trim_start_matches('\u{feff}'));
        self.documents.add(Arc::clone(&document));
        let folder = shown.parent().unwrap_or(Path::new("")).to_path_buf();
        self.known().folders.insert(name.clone(), folder);
        let inside = |error: Box<EvalAltResult>| {
            Box::new(EvalAltResult::ErrorInModule(name.clone(), error, Position::NONE))
        };
        let mut ast = engine.compile(&document.text).map_err(|error| inside(error.into()))?;
        ast.set_source(&name);
        let evaluate = || Module::eval_ast_as_new(Scope::new(), &ast, engine);
        let module = self.documents.evaluating(&document, evaluate).map_err(inside)?;
        Ok(module.into())
    }
}

/// Whether a file that need not exist would be in a folder, as far as its nearest folder that does exist tells.
fn is_below(file: &Path, folder: &Path) -> bool {
    let above =
        file.ancestors().skip(1).map(|above| if above == Path::new("") { Path::new(".") } else { above });
    above
        .into_iter()
        .find_map(|above| fs::canonicalize(above).ok())
        .is_some_and(|above| above.starts_with(folder))
}

impl ModuleResolver for ProjectModules {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let place = self.documents.place(source, position);
        let file = self.file(source, path).map_err(|problem| thrown(problem.at(place.clone())))?;
        if let Some(module) = self.known().modules.get(&file.1) {
            return Ok(Shared::clone(module));
        }
        if self.known().under_way.contains(&file.1) {
            let problem =
                Diagnostic::error(format!("the module `{path}` imports itself, by way of others or not"));
            return Err(thrown(problem.at(place)));
        }
        self.known().under_way.push(file.1.clone());
        let read = self.read(engine, file.clone(), place);
        self.known().under_way.pop();
        let module = read.map_err(|mut error| {
            if let EvalAltResult::ErrorInModule(_, _, at) = error.as_mut() {
                *at = position;
            }
            error
        })?;
        self.known().modules.insert(file.1, Shared::clone(&module));
        Ok(module)
    }
}
