//! A small house for tests of nodes: a folder as the project, and graphs that run in it.

use std::path::Path;

use flow_engine::{
    Cx, Device, Diagnostic, Document, Dtype, Event, Events, Graph, Node, NodeType, Output, Project, Ready,
    Registry, Result, Run, Session, Settings, Wanted, read_ron,
};
use image::{Rgb, RgbImage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{Generation, Images, Picture, generation};
use crate::node::{grid::Grid, load_images::LoadImages, save_images::SaveImages};

/// Made-up pictures of a size, as if sampled with seeds from 0.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dots {
    count: u64,
    width: u32,
    height: u32,
}

impl Node for Dots {
    const KIND: &'static str = "Dots";
    type Output = Images;

    fn run(&self, _: &Cx<'_>) -> Result<Images> {
        Ok(Images { pictures: (0..self.count).map(|seed| dots(seed, self.width, self.height)).collect() })
    }
}

/// A made-up picture.
pub fn dots(seed: u64, width: u32, height: u32) -> Picture {
    let pixels =
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, seed as u8 * 50]));
    let generation = Some(Generation { seed, ..generation::example() });
    Picture { generation, ..Picture::new(format!("seed {seed}"), pixels) }
}

/// A project in a temporary folder.
pub struct House {
    folder: TempDir,
}

/// What came of a graph.
pub struct Ran {
    /// Messages of all mistakes, found before the run or in it, with causes and hints.
    pub mistakes: Vec<String>,
    /// Where each mistake points to.
    pub places: Vec<String>,
    /// The results that no other node reads.
    pub results: std::collections::HashMap<String, Output>,
    /// What was told.
    pub events: Vec<Event>,
}

impl House {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Writes a made-up picture.
    pub fn paint(&self, path: &str, seed: u64) {
        self.write(path, super::png::encode(&dots(seed, 8, 6).pixels, &[]).unwrap());
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root().join(path)).unwrap()
    }

    /// The names in a folder.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root().join(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Checks the nodes, and runs them if they pass.
    pub fn run(&self, nodes: &str) -> Ran {
        self.go(nodes, true)
    }

    /// Runs the nodes without having checked them, as if the world had changed in between.
    pub fn run_unchecked(&self, nodes: &str) -> Ran {
        self.go(nodes, false)
    }

    fn go(&self, nodes: &str, checked: bool) -> Ran {
        let kinds = vec![
            NodeType::of::<Dots>(),
            NodeType::of::<Grid>(),
            NodeType::of::<LoadImages>(),
            NodeType::of::<SaveImages>(),
        ];
        let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
        let session = Session::new(Registry::new(1, kinds), settings, Project::at(self.root()));
        let document = Document::new("graph.ron", format!("Graph(nodes: {{ {nodes} }})"));
        let source = read_ron(document, &[], &session.registry);
        let ready = match checked {
            true => Ready::checked(source, &session),
            false => {
                Graph::new(source, &session.registry).map(|graph| Ready::unchecked(graph, Wanted::default()))
            }
        };
        match ready {
            Ok(ready) => run(&ready, &session),
            Err(diagnostics) => Ran::refused(&diagnostics),
        }
    }
}

fn run(ready: &Ready<'_>, session: &Session) -> Ran {
    let (events, receiver) = Events::channel();
    let outcome = Run { events, ..Run::new(ready, session) }.execute();
    let events: Vec<_> = receiver.iter().map(|record| record.event).collect();
    let mistakes = events.iter().filter_map(|event| match event {
        Event::NodeFailed { diagnostic, .. } => Some(serde_json::to_string(diagnostic).unwrap()),
        _ => None,
    });
    Ran { mistakes: mistakes.collect(), places: Vec::new(), results: outcome.results, events }
}

impl Ran {
    fn refused(diagnostics: &[Diagnostic]) -> Self {
        let message = |diagnostic: &Diagnostic| format!("{} | {:?}", diagnostic.message, diagnostic.hint);
        let place = |diagnostic: &Diagnostic| diagnostic.place.as_ref().unwrap().text().to_owned();
        Self {
            mistakes: diagnostics.iter().map(message).collect(),
            places: diagnostics.iter().map(place).collect(),
            results: std::collections::HashMap::new(),
            events: Vec::new(),
        }
    }

    /// The pictures that a node gave.
    pub fn pictures(&self, node: &str) -> Vec<Picture> {
        assert_eq!(self.mistakes, [""; 0]);
        self.results[node].downcast::<Images>().unwrap().pictures.clone()
    }

    /// The only mistake.
    pub fn mistake(&self) -> &str {
        assert_eq!(self.mistakes.len(), 1, "{:?}", self.mistakes);
        &self.mistakes[0]
    }

    /// How often something was told of.
    pub fn told(&self, what: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| what(event)).count()
    }
}

/// A named pipe, which nobody will ever write into.
#[cfg(unix)]
pub fn pipe(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    let made =
        std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo, which every Unix has");
    assert!(made.success());
    path
}

/// What comes of `work`, which must not wait for anybody.
pub fn at_once<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(std::time::Duration::from_secs(20)).expect("an answer, not a wait")
}
