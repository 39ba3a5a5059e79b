//! The scheduler: runs a graph's nodes as their inputs become ready, and only those whose result is not stored.
//!
//! `floor` is where workers meet: what is ready, what is done. `step` is what a worker does with one node: find its
//! result, wait for whoever makes it, or run it. Neither knows what a node does, and what happens is told only through
//! events. `values` has what flows on the wires.

mod floor;
mod step;
mod values;

use std::collections::HashMap;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use floor::{Floor, State};

use crate::plan::{Before, Plan};
use crate::{Control, Digest, Event, Events, Output, Ready, Session, Status, Stop};

/// Room for the deepest recursion of a node; only what is used is ever committed.
const STACK_BYTES: usize = 64 << 20;

/// A graph about to run.
pub struct Run<'a> {
    /// The graph, checked.
    pub ready: &'a Ready<'a>,
    /// Settings, files, the store and shared slots.
    pub session: &'a Session,
    /// The last run of the graph, to tell what differs.
    pub before: Before<'a>,
    /// Who is told.
    pub events: Events,
    /// Who may stop it.
    pub stop: Stop,
    /// Who steers it meanwhile.
    pub control: Control,
    /// Who may take its place: nothing more starts then, and what runs for nobody else was stopped already.
    pub retired: Stop,
    /// How it goes about it.
    pub options: Options,
}

/// How a run goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many nodes may run at the same time, from 1.
    pub jobs: usize,
    /// Whether what does not depend on a failed node still runs.
    pub keep_going: bool,
    /// Whether results that no node reads are kept for who asked for the run.
    pub keep_results: bool,
}

/// How a run ended.
pub struct Outcome {
    /// In one word.
    pub status: Status,
    /// Digests of the results of all nodes that finished.
    pub digests: HashMap<String, Digest>,
    /// The results that no other node reads, of the nodes that ran, if they were to be kept.
    pub results: HashMap<String, Output>,
}

impl<'a> Run<'a> {
    /// A run that nobody watches, one node at a time, of a graph that did not run before.
    pub fn new(ready: &'a Ready<'a>, session: &'a Session) -> Self {
        Self {
            ready,
            session,
            before: Before::nothing(),
            events: Events::silent(),
            stop: Stop::default(),
            control: Control::default(),
            retired: Stop::default(),
            options: Options { jobs: 1, keep_going: false, keep_results: true },
        }
    }

    /// Runs every node that has to, and returns when nothing more can happen.
    pub fn execute(&self) -> Outcome {
        let started = Instant::now();
        self.tell_start();
        let _telling = self.control.tell_pauses(&self.events);
        let plan = self.ready.plan(self.session, &self.before, &self.events, &self.stop);
        self.tell_plan(&plan);
        self.execute_plan(&plan, started)
    }

    /// The same for a plan that was made and told already.
    pub(crate) fn execute_plan(&self, plan: &Plan, started: Instant) -> Outcome {
        let floor = Floor::new(self, plan);
        thread::scope(|scope| {
            for worker in 0..self.options.jobs.clamp(1, plan.nodes.len().max(1)) {
                let thread =
                    thread::Builder::new().name(format!("flow-worker-{worker}")).stack_size(STACK_BYTES);
                if thread.spawn_scoped(scope, || floor.work()).is_err() && worker == 0 {
                    floor.work();
                }
            }
        });
        self.tell_end(floor, started)
    }

    pub(crate) fn tell_start(&self) {
        let graph = &self.ready.graph;
        self.events.emit(Event::RunStarted {
            graph: graph.document.name.clone(),
            file: std::path::absolute(&graph.document.name)
                .map_or(String::new(), |file| file.display().to_string()),
            nodes: graph.len(),
            device: self.session.settings.device.to_string(),
            dtype: self.session.settings.dtype.to_string(),
            jobs: self.options.jobs,
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        });
    }

    pub(crate) fn tell_plan(&self, plan: &Plan) {
        self.events.emit(Event::Plan { nodes: plan.told_of(&self.ready.graph) });
    }

    fn tell_end(&self, floor: Floor<'_>, started: Instant) -> Outcome {
        let (state, results) = floor.into_end();
        let State { finished, failed, skipped, cancelled, digests, .. } = state;
        let status = match () {
            () if self.retired.asked() => Status::Cancelled,
            () if failed > 0 && finished > 0 && self.options.keep_going => Status::Partial,
            () if failed > 0 => Status::Failed,
            () if !cancelled.is_empty() && finished > 0 && !self.stop.asked() => Status::Partial,
            () if skipped > 0 => Status::Cancelled,
            () => Status::Done,
        };
        if !self.retired.asked() {
            let seconds = started.elapsed().as_secs_f64();
            self.events.emit(Event::RunFinished { status, seconds, finished, failed, skipped });
        }
        Outcome { status, digests, results }
    }
}

#[cfg(test)]
mod control_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
