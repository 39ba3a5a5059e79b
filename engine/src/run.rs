//! The scheduler: runs a graph's nodes as their inputs become ready.
//!
//! Ready nodes run in parallel up to a budget; nodes that hold the device run one at a time. A
//! panic in a node fails that node and not the program. It does not know what a node does, and
//! tells what happens only through events.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::context::{Outputs, Purpose};
use crate::event::PlannedNode;
use crate::{
    Cancelled, Cx, Diagnostic, Digest, Event, Events, Graph, GraphNode, KeyParts, NotYet, Output, Problem,
    Result, Session, Status, Stop,
};

/// Room for the deepest recursion of a node; only what is used is ever committed.
const STACK_BYTES: usize = 64 << 20;

/// A graph about to run.
pub struct Run<'a> {
    /// The graph, which [`Graph::checked`] has passed.
    pub graph: &'a Graph<'a>,
    /// Settings, files and shared slots.
    pub session: &'a Session,
    /// Who is told.
    pub events: Events,
    /// Who may stop it.
    pub stop: Stop,
    /// How many nodes may run at the same time, from 1.
    pub jobs: usize,
}

/// How a run ended.
pub struct Outcome {
    /// In one word.
    pub status: Status,
    /// Digests of the results of all nodes that finished.
    pub digests: HashMap<String, Digest>,
    /// The results that no other node reads.
    pub results: HashMap<String, Output>,
}

impl Run<'_> {
    /// Runs every node once, and returns when nothing more can happen.
    pub fn execute(&self) -> Outcome {
        let started = Instant::now();
        let nodes: Vec<_> = self.graph.nodes().collect();
        self.tell_start();
        let bases = self.plan(&nodes);
        let floor = Floor::new(self, &nodes, bases);
        thread::scope(|scope| {
            for worker in 0..self.jobs.clamp(1, nodes.len().max(1)) {
                let thread =
                    thread::Builder::new().name(format!("flow-worker-{worker}")).stack_size(STACK_BYTES);
                if thread.spawn_scoped(scope, || floor.work()).is_err() && worker == 0 {
                    floor.work();
                }
            }
        });
        self.tell_end(floor.into_state(), started)
    }

    fn tell_start(&self) {
        self.events.emit(Event::RunStarted {
            graph: self.graph.document.name.clone(),
            nodes: self.graph.len(),
            device: self.session.settings.device.to_string(),
            dtype: self.session.settings.dtype.to_string(),
            jobs: self.jobs,
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        });
    }

    /// The bases of every node's keys, and the recipe keys in the plan event.
    fn plan(&self, nodes: &[&GraphNode<'_>]) -> Vec<Option<Digest>> {
        let mut recipes: HashMap<&str, Digest> = HashMap::with_capacity(nodes.len());
        let mut planned = Vec::with_capacity(nodes.len());
        let mut bases = Vec::with_capacity(nodes.len());
        for node in nodes {
            let base = self.key_base(node);
            let inputs = node.inputs_as(|upstream| recipes.get(upstream).copied());
            let key = base.zip(inputs).map(|(base, inputs)| KeyParts::key_over(base, &inputs));
            if let Some(key) = key {
                recipes.insert(node.name(), key);
            }
            planned.push(PlannedNode {
                node: node.name().to_owned(),
                kind: node.source.node_type.kind.to_owned(),
                inputs: node.upstreams().into_iter().map(ToOwned::to_owned).collect(),
                key,
            });
            bases.push(base);
        }
        self.events.emit(Event::Plan { nodes: planned });
        bases
    }

    /// Reads the node's files for its key. Where that fails the node has none: it will fail on the
    /// same files, at its turn and in its own words, or else this warning was the last of it.
    fn key_base(&self, node: &GraphNode<'_>) -> Option<Digest> {
        if self.stop.asked() {
            return None;
        }
        let parts = key_parts(node, self.session).inspect_err(|error| {
            if error.downcast_ref::<NotYet>().is_some() {
                return;
            }
            let message = format!("it has no key: {error:#}");
            self.events.emit(Event::Warning { node: Some(node.name().to_owned()), message, hint: None });
        });
        Some(parts.ok()?.base())
    }

    fn tell_end(&self, state: State, started: Instant) -> Outcome {
        let status = match () {
            () if state.failed > 0 => Status::Failed,
            () if state.skipped > 0 => Status::Cancelled,
            () => Status::Done,
        };
        self.events.emit(Event::RunFinished {
            status,
            seconds: started.elapsed().as_secs_f64(),
            finished: state.digests.len(),
            failed: state.failed,
            skipped: state.skipped,
        });
        let names = self.graph.nodes().map(|node| node.name().to_owned());
        let results = names.zip(state.outputs).filter_map(|(name, output)| Some((name, output?))).collect();
        Outcome { status, digests: state.digests, results }
    }
}

/// Everything that decides a node's result but for its inputs.
fn key_parts(node: &GraphNode<'_>, session: &Session) -> Result<KeyParts> {
    let node_type = node.source.node_type;
    let numerics = session.registry.numerics;
    let mut parts =
        KeyParts::new(node_type.kind, node_type.version, numerics, node.parameters.clone(), session.settings);
    for file in node.source.node.files(&session.project)? {
        let name = file.strip_prefix(session.project.root()).unwrap_or(&file).display().to_string();
        parts.files.insert(name, session.files.of(&file)?);
    }
    Ok(parts)
}

/// Where the workers meet: what is ready, what is done.
struct Floor<'a> {
    run: &'a Run<'a>,
    nodes: &'a [&'a GraphNode<'a>],
    bases: Vec<Option<Digest>>,
    upstreams: Vec<Vec<usize>>,
    downstreams: Vec<Vec<usize>>,
    state: Mutex<State>,
    something_changed: Condvar,
}

/// Positions are those of the graph's run order.
struct State {
    /// Per node, how many upstreams have not ended.
    waiting_for: Vec<usize>,
    /// Per node, how many readers have not ended; its output is dropped with the last one.
    readers_left: Vec<usize>,
    /// Per node, the upstream because of which it cannot run.
    blocked_by: Vec<Option<usize>>,
    /// Nodes whose upstreams have all ended, first of the order first.
    ready: BinaryHeap<Reverse<usize>>,
    /// The same, of those that hold the device.
    ready_for_device: BinaryHeap<Reverse<usize>>,
    device_is_held: bool,
    outputs: Vec<Option<Output>>,
    digests: HashMap<String, Digest>,
    unfinished: usize,
    failed: usize,
    skipped: usize,
    /// The first node that failed: after it, no node starts.
    first_failure: Option<usize>,
}

/// How a node ended.
enum End {
    Finished(Output),
    Failed,
    Skipped,
}

impl<'a> Floor<'a> {
    fn new(run: &'a Run<'a>, nodes: &'a [&'a GraphNode<'a>], bases: Vec<Option<Digest>>) -> Self {
        let downstreams = run.graph.downstreams();
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
            outputs: vec![None; nodes.len()],
            digests: HashMap::with_capacity(nodes.len()),
            unfinished: nodes.len(),
            failed: 0,
            skipped: 0,
            first_failure: None,
        };
        let floor = Self {
            run,
            nodes,
            bases,
            upstreams,
            downstreams,
            state: Mutex::new(state),
            something_changed: Condvar::new(),
        };
        let mut state = floor.lock();
        for at in (0..nodes.len()).filter(|&at| floor.upstreams[at].is_empty()) {
            floor.queue(&mut state, at);
        }
        drop(state);
        floor
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn into_state(self) -> State {
        self.state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A worker's life: takes ready nodes until none is left.
    fn work(&self) {
        while let Some(at) = self.take() {
            let end = self.run_node(at);
            self.settle(at, end);
        }
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
            state = self.something_changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn run_node(&self, at: usize) -> End {
        let node = self.nodes[at];
        if let Some(because) = self.reason_to_skip(at) {
            self.run.events.emit(Event::NodeSkipped { node: node.name().to_owned(), because });
            return End::Skipped;
        }
        let inputs = self.inputs_of(at);
        let key = self.content_key(at, &inputs);
        self.run.events.emit(Event::NodeStarted {
            node: node.name().to_owned(),
            kind: node.source.node_type.kind.to_owned(),
            key,
        });
        let started = Instant::now();
        match self.call(node, &inputs, key) {
            Ok(output) => {
                self.run.events.emit(Event::NodeFinished {
                    node: node.name().to_owned(),
                    digest: output.digest,
                    seconds: started.elapsed().as_secs_f64(),
                    peak_bytes: peak_bytes(),
                });
                End::Finished(output)
            }
            Err(error) if error.downcast_ref::<Cancelled>().is_some() => {
                let because = "the run was cancelled".to_owned();
                self.run.events.emit(Event::NodeSkipped { node: node.name().to_owned(), because });
                End::Skipped
            }
            Err(error) => {
                let diagnostic =
                    Diagnostic::from_error(&error).node(node.name()).at(node.source.place.clone());
                let diagnostic = diagnostic.report();
                self.run.events.emit(Event::NodeFailed { node: node.name().to_owned(), diagnostic });
                End::Failed
            }
        }
    }

    fn reason_to_skip(&self, at: usize) -> Option<String> {
        let state = self.lock();
        if let Some(upstream) = state.blocked_by[at] {
            return Some(format!("it reads `{}`, which gave no result", self.nodes[upstream].name()));
        }
        if self.run.stop.asked() {
            return Some("the run was cancelled".to_owned());
        }
        state.first_failure.map(|failed| format!("`{}` failed before", self.nodes[failed].name()))
    }

    fn inputs_of(&self, at: usize) -> Outputs {
        let state = self.lock();
        let output = |&upstream: &usize| {
            Some((self.nodes[upstream].name().to_owned(), state.outputs[upstream].clone()?))
        };
        self.upstreams[at].iter().filter_map(output).collect()
    }

    fn content_key(&self, at: usize, inputs: &Outputs) -> Option<Digest> {
        let inputs = self.nodes[at].inputs_as(|upstream| inputs.get(upstream).map(|output| output.digest))?;
        Some(KeyParts::key_over(self.bases[at]?, &inputs))
    }

    /// Calls the node; a panic in it becomes its error.
    fn call(&self, node: &GraphNode<'_>, inputs: &Outputs, key: Option<Digest>) -> Result<Output> {
        let Run { graph, session, events, stop, .. } = self.run;
        let purpose = Purpose::Result { key, graph };
        let cx = Cx { session, node: node.name(), inputs, events, stop, purpose };
        let result = catch_unwind(AssertUnwindSafe(|| node.source.node.run(&cx)));
        result.unwrap_or_else(|panic| {
            let message = format!("the node panicked: {}", panic_message(panic.as_ref()));
            Err(Problem::new(message)
                .hint("this is a mistake in Flow; please report it with the graph")
                .into())
        })
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
            End::Finished(output) => {
                state.digests.insert(self.nodes[at].name().to_owned(), output.digest);
                state.outputs[at] = Some(output);
            }
            End::Failed => {
                state.failed += 1;
                state.first_failure.get_or_insert(at);
            }
            End::Skipped => state.skipped += 1,
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
        for &upstream in &self.upstreams[at] {
            state.readers_left[upstream] -= 1;
            if state.readers_left[upstream] == 0 {
                state.outputs[upstream] = None;
            }
        }
        if state.unfinished == 0 {
            self.something_changed.notify_all();
        }
    }

    fn queue(&self, state: &mut State, at: usize) {
        let node = self.nodes[at];
        if state.blocked_by[at].is_none() {
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

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// The most memory that this process has held so far.
#[cfg(unix)]
fn peak_bytes() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let resident = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    // Linux counts in KiB, macOS in bytes.
    Some(if cfg!(target_os = "macos") { resident } else { resident * 1024 })
}

#[cfg(not(unix))]
fn peak_bytes() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests;
