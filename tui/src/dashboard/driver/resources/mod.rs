//! How the machine is: looked at once a second, on a thread of its own, until nobody listens.

mod cards;
mod disk;

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use flow_engine::Result;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use self::cards::Cards;
use self::disk::StoreSize;
use crate::dashboard::Resources;

const EVERY: Duration = Duration::from_secs(1);

/// What is looked at.
pub struct Watched {
    /// The folder of the store, if there is one.
    pub store: Option<PathBuf>,
    /// Whether the run is this process.
    pub is_own_process: bool,
}

/// Looks until it is dropped.
pub struct Looking {
    _ends: Sender<()>,
}

impl Looking {
    /// Tells `told` how the machine is, once a second.
    ///
    /// # Errors
    /// A system that gives no thread.
    pub fn begin(watched: Watched, told: impl Fn(Resources) + Send + 'static) -> Result<Self> {
        let (ends, ended) = channel();
        let look = move || {
            let mut machine = Machine::new(watched);
            loop {
                told(machine.look());
                if ended.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        thread::Builder::new().name("resources".into()).spawn(look).context("cannot look at the machine")?;
        Ok(Self { _ends: ends })
    }
}

/// What is kept from look to look: shares of time are differences.
struct Machine {
    system: System,
    process: Option<Pid>,
    store: Option<StoreSize>,
    cards: Cards,
}

impl Machine {
    fn new(watched: Watched) -> Self {
        let process = if watched.is_own_process { sysinfo::get_current_pid().ok() } else { None };
        let store = watched.store.map(StoreSize::new);
        Self { system: System::new(), process, store, cards: Cards::find() }
    }

    fn look(&mut self) -> Resources {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        let (process, memory) = self.process();
        Resources {
            processors: self.system.cpus().iter().map(|cpu| cpu.cpu_usage() / 100.0).collect(),
            process,
            memory,
            machine_memory: (self.system.total_memory(), self.system.used_memory()),
            store: self.store.as_mut().and_then(StoreSize::look),
            disk_free: self.store.as_ref().and_then(|store| disk::free(store.folder())),
            cards: self.cards.look(),
        }
    }

    /// The share of a processor and the memory that the process takes.
    fn process(&mut self) -> (f32, u64) {
        let Some(pid) = self.process else { return (0.0, 0) };
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
        let process = self.system.process(pid);
        process.map_or((0.0, 0), |process| (process.cpu_usage() / 100.0, process.memory()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_look_knows_the_machine_the_process_and_the_store() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("result"), vec![7; 10_000]).unwrap();
        let (told, heard) = channel();
        let watched = Watched { store: Some(folder.path().to_path_buf()), is_own_process: true };
        let looking = Looking::begin(watched, move |resources| drop(told.send(resources))).unwrap();
        let looks: Vec<Resources> = heard.iter().take(3).collect();
        let last = &looks[2];
        assert!(!last.processors.is_empty() && last.memory > 1 << 20, "{last:?}");
        assert!(last.machine_memory.0 > last.machine_memory.1 && last.disk_free > Some(0), "{last:?}");
        assert!(last.store.is_some_and(|bytes| bytes >= 10_000), "{last:?}");
        drop(looking);
        // Whoever told is gone then, after one look at most.
        assert!(heard.iter().count() <= 1);
    }
}
