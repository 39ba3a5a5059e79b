//! The nodes that are running now, by content key: what two ask for at the same time is made once,
//! and an edited graph goes on with what already runs for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Diagnostic, Digest, Output, Stop};

/// What runs now, in a whole session.
#[derive(Default)]
pub(crate) struct Flights {
    running: Mutex<HashMap<Digest, Arc<Flight>>>,
}

/// A node that runs.
struct Flight {
    node: String,
    stop: Stop,
    landed: Mutex<Option<Landed>>,
    has_landed: Condvar,
}

/// How a node that ran ended.
#[derive(Clone)]
pub(crate) enum Landed {
    With(Output),
    Failed(Box<Diagnostic>),
    /// It was stopped.
    Stopped,
}

/// Who asks for a key.
pub(crate) enum Boarding<'a> {
    /// Nobody runs it: whoever asked does, and says how it ended.
    First(Pilot<'a>),
    /// Somebody did, and it has ended.
    Joined(Landed),
}

/// The one who runs a node. If it says nothing, the node was stopped.
pub(crate) struct Pilot<'a> {
    flights: &'a Flights,
    key: Digest,
    flight: Arc<Flight>,
}

impl Flights {
    /// Runs a key, or waits until whoever runs it has ended.
    pub fn board(&self, node: &str, key: Digest, stop: &Stop) -> Boarding<'_> {
        let flight = {
            let mut running = lock(&self.running);
            match running.get(&key) {
                Some(flight) => Arc::clone(flight),
                None => {
                    let (landed, has_landed) = (Mutex::new(None), Condvar::new());
                    let (node, stop) = (node.to_owned(), stop.child());
                    let flight = Arc::new(Flight { node, stop, landed, has_landed });
                    running.insert(key, Arc::clone(&flight));
                    return Boarding::First(Pilot { flights: self, key, flight });
                }
            }
        };
        let mut landed = lock(&flight.landed);
        loop {
            if let Some(landed) = &*landed {
                return Boarding::Joined(landed.clone());
            }
            landed = flight.has_landed.wait(landed).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The names of the nodes that run now under other keys than these.
    pub fn all_but(&self, kept: &HashSet<Digest>) -> Vec<String> {
        let running = lock(&self.running);
        let others = running.iter().filter(|(key, _)| !kept.contains(key));
        let mut names: Vec<_> = others.map(|(_, flight)| flight.node.clone()).collect();
        names.sort();
        names
    }

    /// Asks everything but these keys to stop.
    pub fn stop_all_but(&self, kept: &HashSet<Digest>) {
        let running = lock(&self.running);
        running.iter().filter(|(key, _)| !kept.contains(key)).for_each(|(_, flight)| flight.stop.ask());
    }
}

impl Pilot<'_> {
    /// Who may stop the node.
    pub fn stop(&self) -> &Stop {
        &self.flight.stop
    }

    /// Says how the node ended.
    pub fn land(self, landed: Landed) {
        *lock(&self.flight.landed) = Some(landed);
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        lock(&self.flights.running).remove(&self.key);
        lock(&self.flight.landed).get_or_insert(Landed::Stopped);
        self.flight.has_landed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
