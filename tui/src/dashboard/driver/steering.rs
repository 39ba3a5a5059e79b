//! What is asked of the run itself, and how one leaves it: at once, or when it has saved what it did.

use std::collections::HashSet;

use flow_engine::{Control, Event, Stop, Wish};

use crate::dashboard::{Effect, Scope};
use crate::show::out::harmless;

/// The reins of a run, and what has to be known of it to let go of them.
pub struct Steering {
    scope: Scope,
    control: Control,
    stop: Stop,
    running: HashSet<String>,
    /// Whether a plan is being carried out.
    is_busy: bool,
    is_at_end: bool,
    /// What is to happen to the run once its screen is left.
    parting: Parting,
}

/// How a run is left.
#[derive(Debug, PartialEq, Eq)]
enum Parting {
    /// Somebody looks at it.
    None,
    /// It is stopped once these nodes have saved a state, or are done.
    AfterCheckpoint(HashSet<String>),
    /// It is stopped when it is done.
    WhenDone,
    /// It was asked to stop.
    Stopped,
}

impl Steering {
    /// Of a run that has not begun.
    pub fn new(scope: Scope, control: Control, stop: Stop) -> Self {
        let (running, parting) = (HashSet::new(), Parting::None);
        Self { scope, control, stop, running, is_busy: false, is_at_end: false, parting }
    }

    /// Takes in what happened, and stops the run if that was what somebody waited for.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::RunStarted { .. } | Event::Plan { .. } => self.is_busy = true,
            Event::RunFinished { .. } => self.finished(),
            Event::NodeStarted { node, .. } => drop(self.running.insert(node.clone())),
            Event::NodeFinished { node, .. }
            | Event::NodeFailed { node, .. }
            | Event::NodeSkipped { node, .. } => {
                self.running.remove(node);
                self.is_saved(node);
            }
            Event::Checkpoint { node, .. } => self.is_saved(node),
            _ => {}
        }
    }

    fn finished(&mut self) {
        (self.is_busy, self.running) = (false, HashSet::new());
        if matches!(self.parting, Parting::WhenDone | Parting::AfterCheckpoint(_)) {
            self.stop_now();
        }
    }

    fn is_saved(&mut self, node: &str) {
        if let Parting::AfterCheckpoint(awaited) = &mut self.parting
            && awaited.remove(node)
            && awaited.is_empty()
        {
            self.stop_now();
        }
    }

    /// The run tells nothing more.
    pub fn end(&mut self) {
        self.is_at_end = true;
    }

    /// Whether something of the run goes on, and is not only waited for by who watches its files.
    pub fn is_busy(&self) -> bool {
        self.is_busy && !self.is_at_end
    }

    /// Whether the run was asked to end, and has.
    pub fn is_over(&self) -> bool {
        self.is_at_end && self.is_stopping()
    }

    /// Asks the run for what an effect is about. What a person should know of it.
    pub fn ask(&mut self, effect: Effect) -> Option<String> {
        if self.scope != Scope::Own {
            return None;
        }
        match effect {
            Effect::Cancel(node) => self.control.cancel(&node),
            Effect::RunAgain(node) => self.control.run_again(node),
            Effect::Pause(true) => self.control.pause(),
            Effect::Pause(false) => self.control.resume(),
            Effect::Checkpoint(node) => return self.wish(&node, Wish::Checkpoint),
            Effect::Sample(node) => return self.wish(&node, Wish::Sample),
            Effect::StopAfterCheckpoint => return Some(self.stop_after_checkpoint()),
            Effect::StopNow => self.stop_now(),
            _ => {}
        }
        None
    }

    fn wish(&self, node: &str, wish: Wish) -> Option<String> {
        (!self.control.ask(node, wish)).then(|| format!("`{}` does not run", harmless(node)))
    }

    fn stop_now(&mut self) {
        self.parting = Parting::Stopped;
        self.stop.ask();
    }

    /// Has whatever runs save its state, and stops the run then.
    fn stop_after_checkpoint(&mut self) -> String {
        // Who is held never comes to a checkpoint.
        self.control.resume();
        let control = &self.control;
        let asked = self.running.iter().filter(|node| control.ask(node, Wish::Checkpoint)).cloned();
        let asked: HashSet<String> = asked.collect();
        if asked.is_empty() {
            self.stop_now();
            return "nothing runs: stopping".to_owned();
        }
        let mut names: Vec<String> = asked.iter().map(|node| harmless(node)).collect();
        names.sort_unstable();
        let message = format!("stopping when {} has saved a state or is done", names.join(", "));
        self.parting = Parting::AfterCheckpoint(asked);
        message
    }

    /// Whether the run was told to stop at its next step.
    pub fn is_stopping(&self) -> bool {
        self.parting == Parting::Stopped || self.stop.asked()
    }

    /// The screen is left for good. A run of this process that is not done yet is let go on to its end; whoever tells of
    /// another's is to end.
    pub fn let_go(&mut self) {
        match self.parting {
            Parting::None if self.is_busy && self.scope == Scope::Own => self.parting = Parting::WhenDone,
            Parting::None => self.stop_now(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steering(running: &[&str]) -> (Steering, Stop) {
        let stop = Stop::default();
        let mut steering = Steering::new(Scope::Own, Control::default(), stop.clone());
        steering.hear(&Event::Plan { nodes: Vec::new() });
        for node in running {
            steering.hear(&Event::NodeStarted { node: (*node).into(), kind: "Train".into(), key: None });
        }
        (steering, stop)
    }

    fn checkpoint(node: &str) -> Event {
        Event::Checkpoint { node: node.into(), path: "a".into(), step: 1 }
    }

    #[test]
    fn without_anything_to_save_a_run_stops_at_once() {
        let (mut steering, stop) = steering(&[]);
        steering.ask(Effect::StopAfterCheckpoint);
        assert!(stop.asked());
    }

    #[test]
    fn a_run_stops_when_everybody_who_was_asked_has_saved_or_ended() {
        let (mut steering, stop) = steering(&["a", "b", "c"]);
        steering.parting = Parting::AfterCheckpoint(["a".to_owned(), "b".to_owned()].into());
        steering.hear(&checkpoint("a"));
        steering.hear(&checkpoint("c"));
        assert!(!stop.asked());
        steering.hear(&Event::NodeSkipped { node: "b".into(), because: "cancelled".into() });
        assert!(stop.asked());
    }

    #[test]
    fn a_run_that_is_left_alone_goes_on_to_its_end() {
        let (mut steering, stop) = steering(&["a"]);
        steering.let_go();
        assert!(!stop.asked());
        let status = flow_engine::Status::Done;
        steering.hear(&Event::RunFinished { status, seconds: 1.0, finished: 1, failed: 0, skipped: 0 });
        assert!(stop.asked());
        let (mut over, stop) = self::steering(&[]);
        over.hear(&Event::RunFinished { status, seconds: 1.0, finished: 1, failed: 0, skipped: 0 });
        over.let_go();
        assert!(stop.asked());
    }

    #[test]
    fn nothing_is_asked_of_another_processes_run() {
        let stop = Stop::default();
        let mut attached = Steering::new(Scope::Attached, Control::default(), stop.clone());
        for effect in [Effect::StopNow, Effect::StopAfterCheckpoint, Effect::Cancel("a".into())] {
            assert_eq!(attached.ask(effect), None);
        }
        assert!(!stop.asked());
    }
}
