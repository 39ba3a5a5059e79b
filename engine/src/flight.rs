//! The nodes that are running now, by content key: what two ask for at the same time is made once,
//! and an edited graph goes on with what already runs for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::control::HEARTBEAT;
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
    /// Whether nobody needs it any more but those who wait for it.
    retired: Stop,
    state: Mutex<FlightState>,
    has_landed: Condvar,
}

#[derive(Default)]
struct FlightState {
    landed: Option<Landed>,
    /// How many wait for it.
    waiting: usize,
}

/// A node that asks for a key.
pub(crate) struct Passenger<'a> {
    /// Its name.
    pub node: &'a str,
    /// Who may stop the run that it is part of.
    pub stop: &'a Stop,
    /// Who may take that run's place.
    pub retired: &'a Stop,
    /// Whether it is not to have a result any more.
    pub is_cancelled: &'a dyn Fn() -> bool,
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
    /// Somebody does, and whoever asked is to wait no longer.
    GivenUp,
}

/// The one who runs a node. If it says nothing, the node was stopped.
pub(crate) struct Pilot<'a> {
    flights: &'a Flights,
    key: Digest,
    flight: Arc<Flight>,
}

impl Flights {
    /// Runs a key, or waits until whoever runs it has ended.
    pub fn board(&self, key: Digest, passenger: &Passenger<'_>) -> Boarding<'_> {
        let flight = {
            let mut running = lock(&self.running);
            match running.get(&key) {
                Some(flight) => Arc::clone(flight),
                None => {
                    let flight = Arc::new(Flight::of(passenger));
                    running.insert(key, Arc::clone(&flight));
                    return Boarding::First(Pilot { flights: self, key, flight });
                }
            }
        };
        flight.joined(passenger)
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

impl Flight {
    fn of(pilot: &Passenger<'_>) -> Self {
        Self {
            node: pilot.node.to_owned(),
            stop: pilot.stop.child(),
            retired: pilot.retired.clone(),
            state: Mutex::default(),
            has_landed: Condvar::new(),
        }
    }

    /// Waits until it has ended, or until the passenger is not to wait any longer.
    fn joined(&self, passenger: &Passenger<'_>) -> Boarding<'static> {
        let mut state = lock(&self.state);
        state.waiting += 1;
        let boarding = loop {
            if let Some(landed) = &state.landed {
                break Boarding::Joined(landed.clone());
            }
            if (passenger.is_cancelled)() || passenger.retired.asked() {
                break Boarding::GivenUp;
            }
            let woken = self.has_landed.wait_timeout(state, HEARTBEAT);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waiting -= 1;
        // A form of the graph that was overtaken runs it, and the last who needed it was cancelled.
        if (passenger.is_cancelled)() && self.retired.asked() && state.waiting == 0 {
            self.stop.ask();
        }
        boarding
    }
}

impl Pilot<'_> {
    /// Who may stop the node.
    pub fn stop(&self) -> &Stop {
        &self.flight.stop
    }

    /// Says how the node ended.
    pub fn land(self, landed: Landed) {
        lock(&self.flight.state).landed = Some(landed);
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        lock(&self.flights.running).remove(&self.key);
        lock(&self.flight.state).landed.get_or_insert(Landed::Stopped);
        self.flight.has_landed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
