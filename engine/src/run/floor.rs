//! Where the workers meet: what is ready, what is done, what is still needed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Run;
use crate::plan::{Plan, PlannedNode, Step};
use crate::{Digest, Event, GraphNode, Output};

/// Positions are those of the plan.
pub(super) struct Floor<'a> {
    pub run: &'a Run<'a>,
    pub nodes: Vec<&'a GraphNode<'a>>,
    pub steps: &'a [Step],
    pub planned: &'a [PlannedNode],
    pub upstreams: Vec<Vec<usize>>,
    downstreams: Vec<Vec<usize>>,
    /// The values in memory: whoever needs one that is not there brings it from the store, or makes it again.
    pub values: Vec<Mutex<Option<Output>>>,
    /// How long the nodes took that ran here.
    pub seconds: Vec<Mutex<Option<f64>>>,
    /// Whether a person was told that nothing can be stored.
    pub is_told_read_only: AtomicBool,
    state: Mutex<State>,
    something_changed: Condvar,
}

/// What changes while the nodes run.
pub(super) struct State {
    /// Per node, how many upstreams have not ended.
    waiting_for: Vec<usize>,
    /// Per node, how many readers have not ended; its value is dropped with the last one.
    readers_left: Vec<usize>,
    /// Per node, the upstream because of which it cannot run.
    blocked_by: Vec<Option<usize>>,
    /// Nodes whose upstreams have all ended, first of the order first.
    ready: BinaryHeap<Reverse<usize>>,
    /// The same, of those that hold the device.
    ready_for_device: BinaryHeap<Reverse<usize>>,
    device_is_held: bool,
    /// Per node, the digest of its result.
    results: Vec<Option<Digest>>,
    pub digests: HashMap<String, Digest>,
    unfinished: usize,
    pub finished: usize,
    pub failed: usize,
    pub skipped: usize,
    /// Those of the skipped that somebody cancelled by hand.
    pub cancelled: HashSet<usize>,
    /// The first node that failed: after it, no node starts, unless the run keeps going.
    first_failure: Option<usize>,
}

/// How a node ended.
pub(super) enum End {
    /// With a result, which is in memory or in the store.
    Finished(Digest),
    Failed,
    Skipped,
    /// Somebody cancelled it by hand.
    Cancelled,
}

/// Why a node is skipped.
pub(super) enum Why {
    /// Somebody cancelled it by hand.
    Cancelled,
    /// Something else was, or failed: in words.
    Because(String),
}

impl Why {
    pub fn run_was_cancelled() -> Self {
        Self::Because("the run was cancelled".to_owned())
    }
}

impl<'a> Floor<'a> {
    pub fn new(run: &'a Run<'a>, plan: &'a Plan) -> Self {
        let all: Vec<_> = run.ready.graph.nodes().collect();
        let nodes: Vec<_> = plan.steps.iter().map(|step| all[step.at]).collect();
        let downstreams = wanted_downstreams(&run.ready.graph.downstreams(), plan);
        let mut upstreams = vec![Vec::new(); nodes.len()];
        for (upstream, readers) in downstreams.iter().enumerate() {
            for &reader in readers {
                upstreams[reader].push(upstream);
            }
        }
        let state = State {
            waiting_for: upstreams.iter().map(Vec::len).collect(),
            readers_left: downstreams.iter().map(Vec::len).collect(),
            blocked_by: vec![None; nodes.len()],
            ready: BinaryHeap::new(),
            ready_for_device: BinaryHeap::new(),
            device_is_held: false,
            results: vec![None; nodes.len()],
            digests: HashMap::with_capacity(nodes.len()),
            unfinished: nodes.len(),
            finished: 0,
            failed: 0,
            skipped: 0,
            cancelled: HashSet::new(),
            first_failure: None,
        };
        let floor = Self {
            values: nodes.iter().map(|_| Mutex::default()).collect(),
            seconds: nodes.iter().map(|_| Mutex::default()).collect(),
            run,
            nodes,
            steps: &plan.steps,
            planned: &plan.nodes,
            upstreams,
            downstreams,
            is_told_read_only: AtomicBool::new(false),
            state: Mutex::new(state),
            something_changed: Condvar::new(),
        };
        {
            let mut state = floor.lock();
            for at in 0..floor.nodes.len() {
                if state.waiting_for[at] == 0 {
                    floor.queue(&mut state, at);
                }
            }
        }
        floor
    }

    /// What is left when all workers have gone: the state, and the values that were to be kept.
    pub fn into_end(self) -> (State, HashMap<String, Output>) {
        let value = |value: Mutex<Option<Output>>| value.into_inner().unwrap_or_else(PoisonError::into_inner);
        let named = self.nodes.iter().map(|node| node.name().to_owned());
        let results = named.zip(self.values.into_iter().map(value));
        let results = results.filter_map(|(name, value)| Some((name, value?))).collect();
        (self.state.into_inner().unwrap_or_else(PoisonError::into_inner), results)
    }

    /// What one worker does until all nodes have ended.
    pub fn work(&self) {
        while let Some(at) = self.take() {
            let end = self.step(at);
            self.settle(at, end);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next node that may run; waits for one, and gives none when all have ended.
    fn take(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.unfinished == 0 {
                return None;
            }
            if let Some(at) = state.pop() {
                if state.has_work() {
                    self.something_changed.notify_one();
                }
                return Some(at);
            }
            state = self.something_changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn reason_to_skip(&self, at: usize) -> Option<Why> {
        let state = self.lock();
        if let Some(upstream) = state.blocked_by[at] {
            let was_cancelled = state.cancelled.contains(&upstream);
            let what = if was_cancelled { "was cancelled by hand" } else { "gave no result" };
            return Some(Why::Because(format!("it reads `{}`, which {what}", self.nodes[upstream].name())));
        }
        if self.run.stop.asked() {
            return Some(Why::run_was_cancelled());
        }
        if self.run.control.has_cancelled(self.nodes[at].name()) {
            return Some(Why::Cancelled);
        }
        let failed = state.first_failure.filter(|_| !self.run.options.keep_going)?;
        Some(Why::Because(format!("`{}` failed before", self.nodes[failed].name())))
    }

    /// The digest of a node's result, once it has one.
    pub fn result(&self, at: usize) -> Option<Digest> {
        self.lock().results[at]
    }

    /// The digests of the results above a node, by name of the node.
    pub fn results_above(&self, at: usize) -> HashMap<&'a str, Digest> {
        let state = self.lock();
        let result = |&upstream: &usize| Some((self.nodes[upstream].name(), state.results[upstream]?));
        self.upstreams[at].iter().filter_map(result).collect()
    }

    /// Books a node's end, and makes ready what waited for it alone.
    fn settle(&self, at: usize, end: End) {
        let mut state = self.lock();
        state.unfinished -= 1;
        if self.nodes[at].source.node_type.holds_device {
            state.device_is_held = false;
        }
        let succeeded = matches!(end, End::Finished(_));
        match end {
            End::Finished(digest) => {
                state.finished += 1;
                state.digests.insert(self.nodes[at].name().to_owned(), digest);
                state.results[at] = Some(digest);
                self.steps[at].is_made.store(true, Ordering::Relaxed);
            }
            End::Failed => {
                state.failed += 1;
                state.first_failure.get_or_insert(at);
            }
            End::Skipped => state.skipped += 1,
            End::Cancelled => {
                state.skipped += 1;
                state.cancelled.insert(at);
            }
        }
        for &reader in &self.downstreams[at] {
            if !succeeded {
                state.blocked_by[reader].get_or_insert(at);
            }
            state.waiting_for[reader] -= 1;
            if state.waiting_for[reader] == 0 {
                self.queue(&mut state, reader);
            }
        }
        let mut unneeded: Vec<usize> = Vec::new();
        for &upstream in &self.upstreams[at] {
            state.readers_left[upstream] -= 1;
            if state.readers_left[upstream] == 0 {
                unneeded.push(upstream);
            }
        }
        if state.readers_left[at] == 0 && !self.run.options.keep_results {
            unneeded.push(at);
        }
        if state.unfinished == 0 {
            self.something_changed.notify_all();
        }
        drop(state);
        for unneeded in unneeded {
            *self.values[unneeded].lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn queue(&self, state: &mut State, at: usize) {
        let node = self.nodes[at];
        if state.blocked_by[at].is_none() && !self.run.retired.asked() {
            self.run.events.emit(Event::NodeQueued { node: node.name().to_owned() });
        }
        let heap =
            if node.source.node_type.holds_device { &mut state.ready_for_device } else { &mut state.ready };
        heap.push(Reverse(at));
    }
}

impl State {
    /// Takes a ready node; one that needs the device comes first while the device is free.
    fn pop(&mut self) -> Option<usize> {
        if !self.device_is_held
            && let Some(Reverse(at)) = self.ready_for_device.pop()
        {
            self.device_is_held = true;
            return Some(at);
        }
        self.ready.pop().map(|Reverse(at)| at)
    }

    fn has_work(&self) -> bool {
        !self.ready.is_empty() || (!self.device_is_held && !self.ready_for_device.is_empty())
    }
}

/// Per planned node, the planned nodes that read it.
fn wanted_downstreams(downstreams: &[Vec<usize>], plan: &Plan) -> Vec<Vec<usize>> {
    let planned: HashMap<usize, usize> =
        plan.steps.iter().enumerate().map(|(position, step)| (step.at, position)).collect();
    let readers =
        |step: &Step| downstreams[step.at].iter().filter_map(|at| planned.get(at).copied()).collect();
    plan.steps.iter().map(readers).collect()
}
