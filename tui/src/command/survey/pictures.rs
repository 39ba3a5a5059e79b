//! The methods of a survey: a folder for each, or a node of a run, and what all of them have a picture of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_engine::{Problem, Project, Result};
use flow_nodes::picture::find::find;

use super::runs;
use crate::show::out::harmless;

/// A method and its pictures.
#[derive(Debug)]
pub struct Method {
    /// What it is called.
    pub name: String,
    /// Its pictures by the stems of their files.
    pub pictures: BTreeMap<String, PathBuf>,
}

/// The methods that the command line names: folders, and the nodes of runs, which are those of `nodes` if there are any.
///
/// # Errors
/// Fewer than two, a name that two have, what is neither a folder nor a run, a folder without pictures or with two of one
/// name.
pub fn methods(arguments: &[PathBuf], nodes: &[String]) -> Result<Vec<Method>, Problem> {
    let mut methods = Vec::new();
    for argument in arguments {
        let Some(run) = runs::meant(argument) else {
            methods.push(method(argument)?);
            continue;
        };
        for (name, folder) in runs::drawn(&run, nodes)? {
            // Nodes of several runs may be called the same.
            let id = run.file_name().unwrap_or_default().to_string_lossy();
            let name = if arguments.len() == 1 { name } else { format!("{name} of {id}") };
            methods.push(Method { name, pictures: by_stem(&folder)? });
        }
    }
    if methods.len() < 2 {
        return Err(Problem::new("a survey needs two methods to choose from, and this is one")
            .hint("name a folder of pictures for each method, or a run with several nodes that draw"));
    }
    let mut names: Vec<_> = methods.iter().map(|method| method.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Problem::new(format!("two methods are called `{}`", harmless(pair[0])))
            .hint("name them yourself: `NAME=FOLDER` in the place of `FOLDER`")),
        None => Ok(methods),
    }
}

fn method(argument: &Path) -> Result<Method, Problem> {
    let (name, folder) = named(argument)?;
    Ok(Method { name, pictures: by_stem(&folder)? })
}

/// The name and the folder that an argument means: `NAME=FOLDER`, or a folder that names itself.
fn named(argument: &Path) -> Result<(String, PathBuf), Problem> {
    // A folder with such a sign in its path is one nevertheless.
    let parts = argument.to_str().and_then(|text| text.split_once('=')).filter(|_| !argument.is_dir());
    let (name, folder) = match parts {
        Some((name, folder)) => (name.trim().to_owned(), PathBuf::from(folder)),
        None => (folder_name(argument), argument.to_path_buf()),
    };
    let shown = harmless(&argument.to_string_lossy());
    match name.is_empty() {
        true => Err(Problem::new(format!("`{shown}` gives a method no name"))
            .hint("write `NAME=FOLDER`, or a folder that has a name")),
        false => Ok((name, folder)),
    }
}

/// What a folder is called, whichever way its path says it.
fn folder_name(folder: &Path) -> String {
    let full = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    let name = folder.file_name().or_else(|| full.file_name()).unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The pictures of a folder by their stems.
fn by_stem(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Problem> {
    let mut pictures = BTreeMap::new();
    for file in files(folder)? {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = pictures.insert(stem, file.clone()) {
            let (one, two) = (shown(&other), shown(&file));
            return Err(Problem::new(format!("{one} and {two} are pictures of one name"))
                .hint("a name is a question, and a method has one picture for it: move one of them away"));
        }
    }
    Ok(pictures)
}

fn shown(path: &Path) -> String {
    harmless(&path.to_string_lossy())
}

/// The picture files of a folder, in natural order.
///
/// # Errors
/// What is no folder, or one without pictures.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let name = shown(folder);
    if !folder.is_dir() {
        let what = if folder.exists() { "is no folder" } else { "does not exist" };
        return Err(Problem::new(format!("`{name}` {what}"))
            .hint("name folders of pictures, relative to the current directory, such as SaveImages writes, or a run of `flow runs`"));
    }
    find(&folder.to_string_lossy(), &Project::current())
}

/// What every method has a picture of, in the order of its name, and a line on the rest, if there is any.
///
/// # Errors
/// Nothing that every method has.
pub fn common(methods: &[Method]) -> Result<(Vec<String>, Option<String>), Problem> {
    let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
    for stem in methods.iter().flat_map(|method| method.pictures.keys()) {
        *owners.entry(stem).or_default() += 1;
    }
    let (common, missing): (Vec<_>, Vec<_>) =
        owners.into_iter().partition(|&(_, owners)| owners == methods.len());
    if common.is_empty() {
        return Err(Problem::new("there is no picture that every method has")
            .hint("a question is one name that all folders have: `07.png` in each of them"));
    }
    let missing: Vec<_> = missing.into_iter().map(|(stem, _)| missing_from(stem, methods)).collect();
    let note = (!missing.is_empty()).then(|| format!("left out: {}", missing.join("; ")));
    Ok((common.into_iter().map(|(stem, _)| stem.to_owned()).collect(), note))
}

/// `07, which para and lora lack`.
fn missing_from(stem: &str, methods: &[Method]) -> String {
    let lacking = methods.iter().filter(|method| !method.pictures.contains_key(stem));
    let lacking: Vec<_> = lacking.map(|method| harmless(&method.name)).collect();
    let verb = if lacking.len() == 1 { "lacks" } else { "lack" };
    format!("{}, which {} {verb}", harmless(stem), lacking.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, stems: &[&str]) -> Method {
        let pictures = stems.iter().map(|stem| ((*stem).to_owned(), PathBuf::from(stem))).collect();
        Method { name: name.to_owned(), pictures }
    }

    #[test]
    fn a_question_is_what_every_method_has_and_the_rest_is_told_in_a_line() {
        let methods = [with("x", &["1", "2", "3"]), with("y", &["2", "3", "4"]), with("z", &["3", "2"])];
        let (common, note) = common(&methods).unwrap();
        assert_eq!(common, ["2", "3"]);
        assert_eq!(note.unwrap(), "left out: 1, which y and z lack; 4, which x and z lack");
        assert_eq!(super::common(&methods[2..]).unwrap().1, None);
        let error = super::common(&[with("x", &["1"]), with("y", &["2"])]).unwrap_err();
        assert_eq!(error.to_string(), "there is no picture that every method has");
    }

    #[test]
    fn an_argument_names_its_method_by_its_folder_or_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("a=b")).unwrap();
        assert_eq!(named(&path("a=b")).unwrap(), ("a=b".to_owned(), path("a=b")));
        assert_eq!(named(Path::new("out/para/")).unwrap().0, "para");
        let expected = ("my method".to_owned(), PathBuf::from("out/a=c"));
        assert_eq!(named(Path::new("my method=out/a=c")).unwrap(), expected);
        assert_eq!(named(&path("a=b/..")).unwrap().0, folder_name(folder.path()));
        for nameless in ["=out", " =out", "/"] {
            assert!(named(Path::new(nameless)).is_err(), "{nameless}");
        }
    }
}
