//! Run folders: what every run leaves behind under `runs/<id>`, and reading it again.
//!
//! ```text
//! graph.ron        the graph with defaults and overrides filled in
//! graph.lock.ron   the digest of every file it read, versions, seeds
//! events.ndjson    everything that happened
//! results/<node>/  links to what is stored
//! running          there, and locked, while the run's process is
//! ```
//!
//! Who writes the events is not decided here.

mod alive;
mod follow;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;

use alive::Alive;
pub use alive::{RUNNING, is_running};
pub use follow::{Batch, Follow, follow};

use crate::{Digest, Event, Problem, Project, Reader, Record, Result, Status, Store, file};

/// The file of events in a run folder.
pub const EVENTS: &str = "events.ndjson";
/// The graph in a run folder.
pub const GRAPH: &str = "graph.ron";
/// The lock in a run folder.
pub const LOCK: &str = "graph.lock.ron";

/// The folder of a run that is about to start. Whoever [follows](follow()) the run sees it end when this is dropped.
pub struct RunFolder {
    path: PathBuf,
    _alive: Option<Alive>,
}

impl RunFolder {
    /// A new folder for a run of the graph of this file.
    ///
    /// # Errors
    /// A project that cannot be written to.
    pub fn create(project: &Project, graph_file: &Path) -> Result<Self> {
        let runs = runs_of(project);
        fs::create_dir_all(&runs).with_context(|| format!("cannot write to {}", runs.display()))?;
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let time = time.trim_end_matches('Z').replace(':', "-");
        let stem = graph_file.file_stem().unwrap_or_default().to_string_lossy();
        for attempt in 1.. {
            let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
            let path = runs.join(format!("{time}-{stem}{suffix}"));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made.with_context(|| format!("cannot write to {}", runs.display()))?;
                    // Before there is an event, so that nobody takes a run that has just begun for one that is over.
                    let alive = Alive::in_folder(&path);
                    return Ok(Self { path, _alive: alive });
                }
            }
        }
        Err(Problem::new("there is no name left for a run").into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a text into it.
    ///
    /// # Errors
    /// A full disk.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        file::write_if_changed(&self.path.join(name), text.as_bytes()).map(drop)
    }

    /// A reader of the run's events that links every stored result into the folder.
    pub fn links(&self, store: &Store) -> Links {
        let store =
            Store::at(std::path::absolute(store.root()).unwrap_or_else(|_| store.root().to_path_buf()));
        Links { folder: self.path.join("results"), store, keys: HashMap::new() }
    }
}

/// Links stored results into a run folder as they come.
pub struct Links {
    folder: PathBuf,
    store: Store,
    /// The keys of the nodes that run.
    keys: HashMap<String, Digest>,
}

impl Reader for Links {
    fn read(&mut self, record: &Record) -> Result<()> {
        match &record.event {
            Event::NodeStarted { node, key: Some(key), .. } => drop(self.keys.insert(node.clone(), *key)),
            Event::CacheHit { node, key, .. } => self.link(node, key),
            Event::NodeFinished { node, .. } => {
                if let Some(key) = self.keys.remove(node) {
                    self.link(node, &key);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Links {
    /// Links the files of a result. Where links cannot be made, the results are still in the store.
    fn link(&self, node: &str, key: &Digest) {
        let Ok(Some(entry)) = self.store.entry(key) else { return };
        let folder = self.folder.join(path_of(node));
        for stored in entry.files.iter().flatten() {
            let _ = fs::create_dir_all(&folder);
            let link = folder.join(path_of(&stored.name));
            let _ = fs::remove_file(&link);
            let _ = link_to(&self.store.file_path(&stored.digest), &link);
        }
    }
}

#[cfg(unix)]
fn link_to(file: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(file, link)
}

#[cfg(not(unix))]
fn link_to(file: &Path, link: &Path) -> std::io::Result<()> {
    fs::hard_link(file, link)
}

/// A node's name as a path that stays inside its folder: slashes make folders.
fn path_of(name: &str) -> PathBuf {
    let part = |part: &str| match Path::new(part).components().next() {
        Some(Component::Normal(_)) => part.replace(['\\', ':', '\0'], "_"),
        _ => format!("_{}", part.replace('.', "_")),
    };
    name.split('/').map(part).collect()
}

/// What a run folder tells of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRun {
    /// Its folder.
    pub path: PathBuf,
    /// The graph file, as it was given.
    pub graph: String,
    /// Number of nodes.
    pub nodes: usize,
    /// Seconds since 1970 when it started.
    pub time: f64,
    /// How it ended; none if it was killed, or still goes on: [`is_running`] tells.
    pub end: Option<PastEnd>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PastEnd {
    /// In one word.
    pub status: Status,
    /// How long it took.
    pub seconds: f64,
    /// Nodes that gave a result.
    pub finished: usize,
    /// Nodes that failed.
    pub failed: usize,
}

impl PastRun {
    /// The name of its folder.
    pub fn id(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What a folder tells, if it is a run's.
    pub fn read(path: PathBuf) -> Option<Self> {
        let (mut run, mut end) = (None, None);
        for record in records(&path).ok()? {
            match record.event {
                Event::RunStarted { graph, nodes, time, .. } => {
                    run.get_or_insert(Self { path: path.clone(), graph, nodes, time, end: None });
                }
                Event::RunFinished { status, seconds, finished, failed, .. } => {
                    end = Some(PastEnd { status, seconds, finished, failed });
                }
                _ => {}
            }
        }
        Some(Self { end, ..run? })
    }
}

/// The latest runs of a project, latest first, `most` of them. Folders that are no runs are left out.
pub fn list(project: &Project, most: usize) -> Vec<PastRun> {
    folders(project).into_iter().filter_map(PastRun::read).take(most).collect()
}

/// The folder that is meant by an id, the beginning of one, a path, or `last`.
///
/// # Errors
/// A run that does not exist, or a beginning that several have.
pub fn find(project: &Project, name: &str) -> Result<PathBuf> {
    if Path::new(name).join(EVENTS).is_file() {
        return Ok(PathBuf::from(name));
    }
    let all = folders(project);
    let id = |path: &&PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let meant: Vec<_> = match name {
        "last" => all.iter().take(1).collect(),
        _ => all.iter().filter(|path| id(path) == name).collect(),
    };
    let begin = || all.iter().filter(|path| id(path).starts_with(name)).collect();
    let meant: Vec<_> = if meant.is_empty() { begin() } else { meant };
    match meant[..] {
        [run] => Ok(run.clone()),
        [] => Err(Problem::new(format!("there is no run `{name}`")).hint("`flow runs` lists them").into()),
        _ => {
            let names: Vec<_> = meant.iter().take(4).map(|path| format!("`{}`", id(path))).collect();
            let problem = Problem::new(format!("several runs begin with `{name}`"));
            Err(problem.hint(format!("write more of one of {}", names.join(", "))).into())
        }
    }
}

/// The runs of a graph file, latest first.
pub fn of_graph(project: &Project, graph_file: &Path) -> impl Iterator<Item = PathBuf> {
    let wanted = std::path::absolute(graph_file).unwrap_or_default();
    let is_of_graph = move |path: &PathBuf| {
        // A file that was digested for the first plan is told before.
        let started = |record: Record| match record.event {
            Event::RunStarted { file, .. } => Some(file),
            _ => None,
        };
        let file = records(path).ok().and_then(|mut records| records.find_map(started));
        file.is_some_and(|file| Path::new(&file) == wanted)
    };
    folders(project).into_iter().filter(is_of_graph)
}

/// The content key of each node that a run found or ran.
pub fn keys(run: &Path) -> HashMap<String, Digest> {
    let key = |record: Record| match record.event {
        Event::CacheHit { node, key, .. } | Event::NodeStarted { node, key: Some(key), .. } => {
            Some((node, key))
        }
        _ => None,
    };
    records(run).into_iter().flatten().filter_map(key).collect()
}

/// The events of a run. A line that was cut off, as the last one is when the run was killed, is passed over.
///
/// # Errors
/// A folder without events.
pub fn records(run: &Path) -> Result<impl Iterator<Item = Record>> {
    let path = run.join(EVENTS);
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    Ok(lines.filter_map(|line| serde_json::from_slice(&line).ok()))
}

/// The run folders, latest first.
fn folders(project: &Project) -> Vec<PathBuf> {
    let entries = fs::read_dir(runs_of(project)).into_iter().flatten().flatten();
    let mut folders: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.join(EVENTS).is_file()).collect();
    folders.sort();
    folders.reverse();
    folders
}

fn runs_of(project: &Project) -> PathBuf {
    project.root().join("runs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> (tempfile::TempDir, Project) {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::at(folder.path());
        (folder, project)
    }

    fn started(graph: &str) -> Event {
        Event::RunStarted {
            graph: graph.to_owned(),
            file: std::path::absolute(graph).unwrap().display().to_string(),
            nodes: 1,
            device: "cpu".into(),
            dtype: "f32".into(),
            jobs: 1,
            time: 7.0,
        }
    }

    fn run(project: &Project, graph: &str, events: &[Event], torn: &str) -> PathBuf {
        let folder = RunFolder::create(project, Path::new(graph)).unwrap();
        let line = |(seq, event): (usize, &Event)| {
            let record = Record { schema: 1, seq: seq as u64, t: 0.0, event: event.clone() };
            serde_json::to_string(&record).unwrap() + "\n"
        };
        let text: String = events.iter().enumerate().map(line).collect();
        folder.write(EVENTS, &(text + torn)).unwrap();
        folder.path().to_path_buf()
    }

    #[test]
    fn runs_in_the_same_second_have_folders_of_their_own_and_are_found_by_name() {
        let (_folder, project) = project();
        let end =
            Event::RunFinished { status: Status::Done, seconds: 1.0, finished: 1, failed: 0, skipped: 0 };
        let first = run(&project, "a.ron", &[started("a.ron"), end], "");
        let second = run(&project, "a.ron", &[started("a.ron")], "{\"schema\":1,\"se");
        let third = run(&project, "bear.ron", &[started("bear.ron")], "");
        let id = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        for path in [&first, &second, &third] {
            assert_eq!(&find(&project, &id(path)).unwrap(), path);
        }
        assert_eq!(find(&project, "last").unwrap(), third);
        assert_eq!(find(&project, third.to_str().unwrap()).unwrap(), third);
        let beginning = &id(&third)[..id(&third).len() - 1];
        assert_eq!(find(&project, beginning).unwrap(), third);
        let several = format!("{:#}", find(&project, "2").unwrap_err());
        assert!(several.starts_with("several runs begin with `2`"), "{several}");
        let of = |graph: &str| of_graph(&project, Path::new(graph)).collect::<Vec<_>>();
        assert_eq!((of("a.ron"), of("c.ron")), (vec![second, first], vec![]));
        let ends: Vec<_> = list(&project, 9).iter().map(|run| run.end.map(|end| end.status)).collect();
        assert_eq!(ends.iter().filter(|end| end.is_some()).count(), 1);
        assert_eq!(ends.len(), 3);
    }

    #[test]
    fn a_node_cannot_be_named_out_of_its_folder() {
        for name in ["../../etc", "/etc", "..", ".", "a/../b", ""] {
            let path = path_of(name);
            let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
            assert!(is_inside && path.is_relative(), "{name} -> {}", path.display());
        }
        assert_eq!(path_of("grid/3 x"), Path::new("grid/3 x"));
    }
}
