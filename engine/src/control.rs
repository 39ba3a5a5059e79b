//! Steering a run while it goes: holding it, stopping one node of it, asking a node for something, running a part again.
//!
//! Whoever shows a run holds one end, the run the other. What is asked here is done at the next step of whoever it
//! concerns, and what is done is told by events.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Event, Events, Stop};

/// How often whoever waits looks whether to stop: a [`Stop`] wakes nobody.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(50);

/// What a running node may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    /// To save a state to go on from.
    Checkpoint,
    /// To show what it has by now.
    Sample,
}

/// Steers a run; cheap to clone.
#[derive(Clone, Default)]
pub struct Control {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Default)]
struct Asked {
    is_paused: bool,
    /// Nodes that are not to run.
    cancelled: HashSet<String>,
    /// The nodes that run.
    running: HashMap<String, Running>,
    /// The nodes that are to run again whatever is stored, if anything is to run again.
    again: Option<Vec<String>>,
    /// Who is told of pauses.
    events: Option<Events>,
}

/// A node that runs.
#[derive(Default)]
struct Running {
    /// An edited node may start before its old form has stopped.
    times: usize,
    /// What was asked of it since it last looked.
    wishes: Vec<Wish>,
}

impl Control {
    /// Stops a node at its next step, or skips it at its turn. What reads it is skipped, and the rest goes on.
    pub fn cancel(&self, node: &str) {
        self.lock().cancelled.insert(node.to_owned());
        self.shared.changed.notify_all();
    }

    /// Holds every node at its next step, and lets none start.
    pub fn pause(&self) {
        self.set_paused(true);
    }

    /// Lets the nodes go on.
    pub fn resume(&self) {
        self.set_paused(false);
    }

    /// Whether the nodes are held.
    pub fn is_paused(&self) -> bool {
        self.lock().is_paused
    }

    /// Asks a running node for something, once until it looks. Whether the node runs: nobody else is asked.
    pub fn ask(&self, node: &str, wish: Wish) -> bool {
        let mut asked = self.lock();
        let Some(running) = asked.running.get_mut(node) else { return false };
        if !running.wishes.contains(&wish) {
            running.wishes.push(wish);
        }
        true
    }

    /// Has a [live](crate::Live) run go on with whatever has failed, was cancelled or was skipped; with a name, also run
    /// that node and what depends on it, though results are stored. What was cancelled may run again, and what runs goes
    /// on. Without a store there are no results to keep, and everything runs.
    pub fn run_again(&self, node: Option<String>) {
        self.lock().again.get_or_insert_default().extend(node);
    }

    fn set_paused(&self, is_paused: bool) {
        let mut asked = self.lock();
        if asked.is_paused == is_paused {
            return;
        }
        asked.is_paused = is_paused;
        // Nobody goes on before it is told.
        if let Some(events) = &asked.events {
            events.emit(if is_paused { Event::Paused } else { Event::Resumed });
        }
        drop(asked);
        self.shared.changed.notify_all();
    }

    /// Tells pauses to a run's readers until what it gives is dropped; the run may have begun in one.
    pub(crate) fn tell_pauses<'a>(&'a self, events: &Events) -> Telling<'a> {
        let mut asked = self.lock();
        if asked.is_paused {
            events.emit(Event::Paused);
        }
        asked.events = Some(events.clone());
        Telling { control: self }
    }

    /// Whether a node is not to run.
    pub(crate) fn has_cancelled(&self, node: &str) -> bool {
        self.lock().cancelled.contains(node)
    }

    /// Lets every node run again.
    pub(crate) fn forgive(&self) {
        self.lock().cancelled.clear();
    }

    /// The nodes that are to run again whatever is stored, if anything is to run again.
    pub(crate) fn take_again(&self) -> Option<Vec<String>> {
        self.lock().again.take()
    }

    /// What was asked of a node since it last looked.
    pub(crate) fn take_wishes(&self, node: &str) -> Vec<Wish> {
        let mut asked = self.lock();
        asked.running.get_mut(node).map(|running| std::mem::take(&mut running.wishes)).unwrap_or_default()
    }

    /// Lets a node be asked for something until what it gives is dropped.
    pub(crate) fn running<'a>(&'a self, node: &'a str) -> Asking<'a> {
        self.lock().running.entry(node.to_owned()).or_default().times += 1;
        Asking { control: self, node }
    }

    /// Waits while the run is paused, unless the node is cancelled or it is over for another reason. For how long.
    pub(crate) fn hold(&self, node: &str, is_over: impl Fn() -> bool) -> Duration {
        let mut asked = self.lock();
        if !asked.is_paused {
            return Duration::ZERO;
        }
        let began = Instant::now();
        while asked.is_paused && !asked.cancelled.contains(node) && !is_over() {
            let woken = self.shared.changed.wait_timeout(asked, HEARTBEAT);
            asked = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        began.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pauses are told while it lives.
pub(crate) struct Telling<'a> {
    control: &'a Control,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.control.lock().events = None;
    }
}

/// A node may be asked for something while it lives.
pub(crate) struct Asking<'a> {
    control: &'a Control,
    node: &'a str,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut asked = self.control.lock();
        let Some(running) = asked.running.get_mut(self.node) else { return };
        running.times -= 1;
        if running.times == 0 {
            asked.running.remove(self.node);
        }
    }
}

/// Who may hold a node or stop it.
#[derive(Clone, Copy)]
pub(crate) struct Reins<'a> {
    pub stop: &'a Stop,
    pub control: &'a Control,
    /// The node that is run, or the one that needs its value again.
    pub node: &'a str,
}

impl Reins<'_> {
    /// Whether somebody asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.asked() || self.control.has_cancelled(self.node)
    }

    /// Waits while the run is paused, unless somebody asks to stop. For how long.
    pub fn hold(&self) -> Duration {
        self.control.hold(self.node, || self.stop.asked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_told_once_also_to_those_who_come_later() {
        let (control, (events, receiver)) = (Control::default(), Events::channel());
        control.pause();
        let telling = control.tell_pauses(&events);
        control.pause();
        control.resume();
        control.resume();
        drop(telling);
        control.pause();
        drop(events);
        let told: Vec<_> = receiver.iter().map(|record| record.event).collect();
        assert_eq!(told, [Event::Paused, Event::Resumed]);
        assert!(control.is_paused());
    }

    #[test]
    fn a_wish_is_taken_once_and_dropped_with_the_node_that_never_looked() {
        let control = Control::default();
        assert!(!control.ask("a", Wish::Sample));
        let running = control.running("a");
        assert!(control.ask("a", Wish::Sample) && control.ask("a", Wish::Checkpoint));
        assert!(control.ask("a", Wish::Sample));
        assert_eq!(control.take_wishes("a"), [Wish::Sample, Wish::Checkpoint]);
        assert_eq!(control.take_wishes("a"), []);
        control.ask("a", Wish::Sample);
        drop(running);
        let _again = control.running("a");
        assert_eq!(control.take_wishes("a"), []);
    }

    #[test]
    fn the_end_of_a_nodes_old_form_drops_no_wish_of_the_new_one() {
        let control = Control::default();
        let old = control.running("a");
        let _new = control.running("a");
        control.ask("a", Wish::Checkpoint);
        drop(old);
        assert_eq!(control.take_wishes("a"), [Wish::Checkpoint]);
    }

    #[test]
    fn a_held_node_is_woken_at_once_when_it_is_cancelled_or_the_pause_ends() {
        let control = Control::default();
        for wake in [|control: &Control| control.cancel("a"), Control::resume] {
            control.forgive();
            control.pause();
            let held = std::thread::scope(|scope| {
                let holding = scope.spawn(|| control.hold("a", || false));
                std::thread::sleep(Duration::from_millis(20));
                wake(&control);
                holding.join().unwrap()
            });
            assert!(held >= Duration::from_millis(5), "{held:?}");
        }
        assert_eq!(control.hold("a", || false), Duration::ZERO);
    }

    #[test]
    fn what_is_to_run_again_is_taken_at_once() {
        let control = Control::default();
        assert_eq!(control.take_again(), None);
        control.run_again(Some("a".to_owned()));
        control.run_again(None);
        assert_eq!(control.take_again(), Some(vec!["a".to_owned()]));
        control.run_again(None);
        assert_eq!(control.take_again(), Some(Vec::new()));
        assert_eq!(control.take_again(), None);
    }
}
