//! A folder with a store, in which graphs run as in processes of their own.

use std::path::PathBuf;

use super::{numbered_registry, options, run_in};
use crate::{Device, Dtype, Event, Outcome, Project, Session, Settings, Status, Stop, Wanted};

/// A folder with a store and some files, in which graphs run as in processes of their own.
pub(crate) struct Workshop {
    folder: PathBuf,
    pub numerics: u32,
    pub wanted: Wanted,
    _temporary: Option<tempfile::TempDir>,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        Self { _temporary: Some(folder), ..Self::at(path) }
    }

    /// In a folder that somebody else looks after.
    pub(crate) fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), numerics: 1, wanted: Wanted::default(), _temporary: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn session(&self) -> Session {
        let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
        Session::new(numbered_registry(self.numerics), settings, Project::at(&self.folder)).with_store()
    }

    pub(crate) fn run(&self, nodes: &str) -> (Outcome, Vec<Event>) {
        run_in(&self.session(), nodes, self.wanted.clone(), options(2), Stop::default())
    }

    /// Which nodes were kept and which ran, sorted by name.
    pub(crate) fn told(&self, nodes: &str) -> Vec<String> {
        let (outcome, events) = self.run(nodes);
        assert_eq!(outcome.status, Status::Done, "{events:?}");
        let word = |event: &Event| match event {
            Event::CacheHit { node, .. } => Some(format!("kept {node}")),
            Event::NodeStarted { node, .. } => Some(format!("ran {node}")),
            _ => None,
        };
        let mut told: Vec<_> = events.iter().filter_map(word).collect();
        told.sort_by_key(|line| line.split_once(' ').map(|(_, name)| name.to_owned()));
        told
    }

    /// The files of the store's values.
    pub(crate) fn values(&self) -> Vec<PathBuf> {
        let shards = std::fs::read_dir(self.path(".flow/store/files")).unwrap();
        shards
            .flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap())
            .map(|file| file.unwrap().path())
            .collect()
    }
}
