//! The run, as far as its events have told it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use flow_engine::{PlannedNode, Status};

use super::log::{Level, Line, Log};
use super::machine::Machine;
use super::node::{Node, Phase};
use super::problem::{MOST_PROBLEMS, Origin, Problem};

/// More pictures than this are not listed.
pub const MOST_PICTURES: usize = 2000;
/// How long a node stands out after an edit changed it, in seconds.
pub const FLASH_SECONDS: f64 = 4.0;

/// Everything that is known of a run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// The graph file as it was given.
    pub graph: String,
    /// The same as an absolute path.
    pub file: String,
    /// Device of the run.
    pub device: String,
    /// Precision of the run.
    pub dtype: String,
    /// How many nodes may run at the same time.
    pub jobs: usize,
    /// Seconds of the run by now.
    pub now: f64,
    /// Its nodes, in an order that respects the wires.
    pub nodes: Vec<Node>,
    index: HashMap<Arc<str>, usize>,
    counts: [usize; Phase::ALL.len()],
    /// How often a plan was made.
    pub plans: usize,
    /// What happened.
    pub log: Log,
    /// What went wrong.
    pub problems: Vec<Problem>,
    /// Previews and results, the newest last.
    pub pictures: Vec<Picture>,
    /// How the machine is.
    pub machine: Machine,
    /// The last saved edit that took effect.
    pub reload: Option<Reload>,
    /// Whether every node is held.
    pub is_paused: bool,
    /// How it ended, and how long it took.
    pub outcome: Option<(Status, f64)>,
    /// Whether nothing more will be told.
    pub is_at_end: bool,
    /// The node that started last.
    pub latest: Option<usize>,
}

/// A picture to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The file that holds it.
    pub path: PathBuf,
    /// What it shows.
    pub label: String,
    /// The node that it comes from.
    pub node: Arc<str>,
    /// When it came.
    pub at: f64,
}

/// What a saved edit changed.
#[derive(Debug, Clone, Default)]
pub struct Reload {
    /// When it took effect.
    pub at: f64,
    /// Nodes that are new, each with why it runs.
    pub added: Vec<(Arc<str>, String)>,
    /// Nodes whose key changed, each with why.
    pub changed: Vec<(Arc<str>, String)>,
    /// Nodes that are gone.
    pub removed: Vec<Arc<str>>,
    /// Nodes that ran and went on.
    pub kept_running: Vec<Arc<str>>,
    /// How many other nodes stayed as they were.
    pub unchanged: usize,
    /// Whether the plan that follows it has come.
    pub is_planned: bool,
}

impl Reload {
    /// What it came to, in a line.
    pub fn summary(&self) -> String {
        let counts = [
            (self.added.len(), "added"),
            (self.changed.len(), "changed"),
            (self.removed.len(), "removed"),
            (self.kept_running.len(), "kept running"),
        ];
        let told: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match self.added.len() + self.changed.len() + self.removed.len() {
            0 => "the saved edit changes nothing that decides a result".to_owned(),
            _ => format!("the saved edit took effect: {}; d shows more", told.join(", ")),
        }
    }
}

impl Run {
    /// The position of a node by either of its names.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// A node by either of its names.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.find(name).and_then(|at| self.nodes.get(at))
    }

    /// How many nodes are in a phase.
    pub fn count(&self, phase: Phase) -> usize {
        self.counts[phase as usize]
    }

    /// Whether anything moves on the screen by itself.
    pub fn moves(&self) -> bool {
        !self.is_at_end && (self.count(Phase::Running) > 0 || self.flashes())
    }

    /// Whether a node stands out at the moment.
    pub fn flashes(&self) -> bool {
        let at = self.reload.as_ref().map(|reload| reload.at);
        at.is_some_and(|at| self.now < at + FLASH_SECONDS)
    }

    /// Whether a run is over that can neither be steered nor stopped.
    pub fn is_over(&self) -> bool {
        self.is_at_end || (self.outcome.is_some() && self.count(Phase::Running) == 0)
    }

    /// Whether its file was refused from the start, so that nothing runs before it is mended.
    pub fn waits_for_a_graph(&self) -> bool {
        self.plans == 0 && self.mistakes() > 0
    }

    /// The nodes that run, in the order of the plan.
    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.phase == Phase::Running)
    }

    /// The nodes that have curves, in the order of the plan.
    pub fn trainings(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.trains())
    }

    /// Moves a node from one phase to another.
    pub(super) fn set_phase(&mut self, at: usize, phase: Phase) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        let before = std::mem::replace(&mut node.phase, phase);
        self.counts[before as usize] -= 1;
        self.counts[phase as usize] += 1;
    }

    /// Takes in what will run. Nodes that the plan before had under the same key go on as they are.
    pub(super) fn plan(&mut self, planned: Vec<PlannedNode>, at: f64) {
        self.plans += 1;
        let mut before: HashMap<Arc<str>, Node> =
            self.nodes.drain(..).map(|node| (Arc::clone(&node.raw_name), node)).collect();
        let inputs: Vec<Vec<String>> = planned.iter().map(|node| node.inputs.clone()).collect();
        self.nodes = planned.into_iter().map(Node::new).collect();
        let reload = self.reload.as_ref().filter(|reload| !reload.is_planned);
        let kept_running = reload.map(|reload| reload.kept_running.as_slice()).unwrap_or_default();
        for node in &mut self.nodes {
            match before.remove(&node.raw_name) {
                Some(old) if old.key == node.key && node.key.is_some() => node.go_on_from(old),
                // A plan that does not know the results yet calls it by its recipe, but the edit has left it alone.
                Some(old) if kept_running.contains(&old.name) => node.go_on_from(old),
                _ => {}
            }
        }
        self.index = HashMap::with_capacity(self.nodes.len());
        for (at, node) in self.nodes.iter().enumerate() {
            self.index.entry(Arc::clone(&node.name)).or_insert(at);
            self.index.insert(Arc::clone(&node.raw_name), at);
        }
        self.join(&inputs);
        self.counts = [0; Phase::ALL.len()];
        for node in &self.nodes {
            self.counts[node.phase as usize] += 1;
        }
        (self.latest, self.outcome) = (None, None);
        // What failed is tried again, or is gone.
        self.problems.retain(|problem| problem.origin != Origin::Node);
        self.tell_reload(at);
    }

    fn join(&mut self, inputs: &[Vec<String>]) {
        for (at, names) in inputs.iter().enumerate() {
            // A plan is in an order that respects the wires; one that is not is no reason to go round for ever.
            let read: Vec<usize> =
                names.iter().filter_map(|name| self.find(name)).filter(|&it| it < at).collect();
            read.iter().for_each(|&input| self.nodes[input].outputs.push(at));
            self.nodes[at].inputs = read;
        }
    }

    /// Completes what is known of a saved edit by the plan that follows it.
    fn tell_reload(&mut self, at: f64) {
        let Some(mut reload) = self.reload.take_if(|reload| !reload.is_planned) else { return };
        reload.is_planned = true;
        for (name, why) in reload.added.iter_mut().chain(&mut reload.changed) {
            let Some(found) = self.find(name) else { continue };
            why.clone_from(&self.nodes[found].why);
            self.nodes[found].flash_until = at + FLASH_SECONDS;
        }
        let touched = reload.added.len() + reload.changed.len() + reload.kept_running.len();
        reload.unchanged = self.nodes.len().saturating_sub(touched);
        self.reload = Some(reload);
    }

    /// Adds a line to the log.
    pub(super) fn log(&mut self, level: Level, node: Option<usize>, at: f64, text: String) {
        let node = node.and_then(|at| self.nodes.get(at)).map(|node| Arc::clone(&node.name));
        self.log.push(Line { at, level, node, text });
    }

    /// Adds a problem; of too many, the oldest warning goes first.
    pub(super) fn problem(&mut self, problem: Problem) {
        if self.problems.len() >= MOST_PROBLEMS {
            let warning = self.problems.iter().position(|problem| problem.origin == Origin::Warning);
            self.problems.remove(warning.unwrap_or(0));
        }
        let after = self.problems.iter().rposition(|other| other.origin <= problem.origin);
        self.problems.insert(after.map_or(0, |at| at + 1), problem);
    }

    /// How many mistakes a rejected edit has.
    pub fn mistakes(&self) -> usize {
        self.problems.iter().filter(|problem| problem.origin == Origin::Edit).count()
    }

    /// Adds a picture, or shows the new one of a file in the place of the old.
    pub(super) fn picture(&mut self, picture: Picture) {
        if let Some(same) =
            self.pictures.iter().position(|other| other.path.as_os_str() == picture.path.as_os_str())
        {
            self.pictures.remove(same);
        } else if self.pictures.len() == MOST_PICTURES {
            self.pictures.remove(0);
        }
        self.pictures.push(picture);
    }
}
