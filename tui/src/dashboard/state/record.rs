//! What each event of the engine does to the run.

use std::path::PathBuf;
use std::sync::Arc;

use flow_engine::{DiagnosticReport, Event, Record, Status};

use super::log::Level;
use super::machine::Kept;
use super::node::Phase;
use super::problem::{Origin, Problem};
use super::run::{Picture, Reload, Run};
use super::text::{bytes, count, harmless, took};

impl Run {
    /// Takes in what happened.
    pub fn apply(&mut self, record: Record) {
        let at = record.t;
        self.now = self.now.max(at);
        match record.event {
            Event::Progress { node, done, total, unit } => self.progress(&node, done, total, &unit, at),
            Event::Metric { node, name, value, step, unit } => {
                if let Some(found) = self.find(&node) {
                    self.nodes[found].measure(&name, value, step, &unit);
                }
            }
            event => self.happened(event, at),
        }
    }

    fn progress(&mut self, node: &str, done: u64, total: u64, unit: &str, at: f64) {
        let Some(found) = self.find(node) else { return };
        // A node that an edit left alone goes on without being started again.
        if self.nodes[found].phase != Phase::Running {
            self.start(found, at);
        }
        self.nodes[found].progress.note(done, total, unit, at);
    }

    fn happened(&mut self, event: Event, at: f64) {
        match event {
            Event::RunStarted { graph, file, device, dtype, jobs, nodes, .. } => {
                self.log(Level::Info, None, at, format!("{}: {}", harmless(&graph), count(nodes, "node")));
                self.graph = harmless(&graph).into_owned();
                (self.file, self.jobs) = (file, jobs);
                (self.device, self.dtype) = (harmless(&device).into_owned(), harmless(&dtype).into_owned());
            }
            Event::Plan { nodes } => self.plan(nodes, at),
            Event::Paused => {
                self.is_paused = true;
                self.log(Level::Info, None, at, "paused".to_owned());
            }
            Event::Resumed => {
                self.is_paused = false;
                self.log(Level::Info, None, at, "goes on".to_owned());
            }
            Event::GraphReloaded { added, changed, removed } => self.reloaded(added, changed, removed, at),
            Event::GraphRejected { diagnostics } => self.rejected(diagnostics, at),
            Event::RunFinished { status, seconds, finished, failed, skipped } => {
                self.finished(status, seconds, [finished, failed, skipped], at);
            }
            event => self.happened_to_node(event, at),
        }
    }

    fn happened_to_node(&mut self, event: Event, at: f64) {
        match event {
            Event::NodeQueued { node } => {
                if let Some(found) =
                    self.find(&node).filter(|&found| self.nodes[found].phase != Phase::Running)
                {
                    self.set_phase(found, Phase::Queued);
                    self.log(Level::Detail, Some(found), at, "has all its inputs".to_owned());
                }
            }
            Event::NodeStarted { node, kind, key } => {
                let Some(found) = self.find(&node) else { return };
                self.start(found, at);
                self.nodes[found].key = key.or(self.nodes[found].key);
                self.log(Level::Info, Some(found), at, format!("starts ({})", harmless(&kind)));
            }
            Event::CacheHit { node, digest, .. } => {
                let Some(found) = self.find(&node) else { return };
                self.set_phase(found, Phase::Stored);
                self.nodes[found].digest = Some(digest);
                self.log(Level::Info, Some(found), at, "is stored".to_owned());
            }
            Event::CacheMiss { node, why, .. } => {
                let Some(found) = self.find(&node) else { return };
                let why = harmless(&why).into_owned();
                self.log(Level::Detail, Some(found), at, format!("runs: {why}"));
                self.nodes[found].why = why;
            }
            Event::NodeFinished { node, digest, seconds, peak_bytes } => {
                let Some(found) = self.find(&node) else { return };
                self.set_phase(found, Phase::Done);
                let node = &mut self.nodes[found];
                (node.digest, node.seconds, node.peak_bytes) = (Some(digest), Some(seconds), peak_bytes);
                node.progress.finish();
                self.log(Level::Info, Some(found), at, format!("is done in {}", took(seconds)));
            }
            Event::NodeFailed { node, diagnostic } => self.failed(&node, diagnostic, at),
            Event::NodeSkipped { node, because } => {
                let Some(found) = self.find(&node) else { return };
                self.set_phase(found, Phase::Skipped);
                let because = harmless(&because).into_owned();
                self.log(Level::Warning, Some(found), at, format!("is skipped: {because}"));
                self.nodes[found].why = because;
            }
            event => self.told(event, at),
        }
    }

    /// What a node tells of itself on the way.
    fn told(&mut self, event: Event, at: f64) {
        match event {
            Event::Preview { node, path, label } => {
                let found = self.find(&node);
                let label = harmless(&label).into_owned();
                self.log(Level::Info, found, at, format!("{label}: {}", harmless(&path)));
                let node: Arc<str> = harmless(&node).into();
                self.picture(Picture { path: PathBuf::from(path), label, node, at });
            }
            Event::Checkpoint { node, path, step } => {
                let found = self.find(&node);
                self.log(
                    Level::Info,
                    found,
                    at,
                    format!("checkpoint after step {step}: {}", harmless(&path)),
                );
                if let Some(found) = found {
                    self.nodes[found].checkpoint = Some((step, PathBuf::from(path)));
                }
            }
            Event::Warning { node, message, hint } => {
                let found = node.as_deref().and_then(|node| self.find(node));
                let hinted = hint.as_ref().map(|hint| format!(" ({})", harmless(hint))).unwrap_or_default();
                self.log(Level::Warning, found, at, format!("{}{hinted}", harmless(&message)));
                self.problem(Problem::warning(at, node, message, hint));
            }
            Event::FileDigested { path, bytes: size, seconds } => {
                let text = format!("read {}, {}, in {}", harmless(&path), bytes(size), took(seconds));
                self.log(Level::Detail, None, at, text);
            }
            Event::Kept { node, what, bytes: size, seconds } => {
                let (found, what) = (self.find(&node), harmless(&what).into_owned());
                self.log(
                    Level::Detail,
                    found,
                    at,
                    format!("keeps {what}, {}, made in {}", bytes(size), took(seconds)),
                );
                self.machine.keep(Kept { what, bytes: size, seconds, node: harmless(&node).into() });
            }
            Event::Evicted { node, what, bytes: size } => {
                let (found, what) = (self.find(&node), harmless(&what).into_owned());
                self.log(Level::Detail, found, at, format!("needs room: lets go of {what}, {}", bytes(size)));
                self.machine.let_go(&what);
            }
            _ => {}
        }
    }

    fn start(&mut self, found: usize, at: f64) {
        self.latest = Some(found);
        self.outcome = None;
        // What an edit left alone is told to start once more.
        if self.nodes[found].phase == Phase::Running {
            return;
        }
        self.set_phase(found, Phase::Running);
        let node = &mut self.nodes[found];
        (node.started, node.seconds, node.progress) = (Some(at), None, Default::default());
        let name = Arc::clone(&node.name);
        self.problems
            .retain(|problem| problem.origin != Origin::Node || problem.node.as_ref() != Some(&name));
    }

    fn failed(&mut self, node: &str, mut diagnostic: DiagnosticReport, at: f64) {
        let found = self.find(node);
        if let Some(found) = found {
            self.set_phase(found, Phase::Failed);
            self.nodes[found].why = harmless(&diagnostic.message).into_owned();
            self.nodes[found].seconds = self.nodes[found].started.map(|started| at - started);
        }
        self.log(Level::Error, found, at, format!("failed: {}", harmless(&diagnostic.message)));
        diagnostic.node.get_or_insert_with(|| node.to_owned());
        self.problem(Problem::new(Origin::Node, at, diagnostic));
    }

    fn rejected(&mut self, diagnostics: Vec<DiagnosticReport>, at: f64) {
        self.problems.retain(|problem| problem.origin != Origin::Edit);
        let what = count(diagnostics.len(), "mistake");
        let says = match self.plans {
            0 => format!("the graph has {what}; nothing runs until they are mended"),
            _ => format!("the saved edit has {what}; the run goes on without it"),
        };
        self.log(Level::Error, None, at, says);
        for report in diagnostics {
            self.problem(Problem::new(Origin::Edit, at, report));
        }
    }

    fn reloaded(&mut self, added: Vec<String>, changed: Vec<String>, removed: Vec<String>, at: f64) {
        self.problems.retain(|problem| problem.origin != Origin::Edit);
        let is_touched = |name: &str| changed.iter().chain(&removed).any(|other| other == name);
        let running = self.running().filter(|node| !is_touched(&node.raw_name));
        let kept_running = running.map(|node| Arc::clone(&node.name)).collect();
        let shown = |names: Vec<String>| names.into_iter().map(|name| -> Arc<str> { harmless(&name).into() });
        let with_why = |names| shown(names).map(|name| (name, String::new())).collect::<Vec<_>>();
        let text = match (added.len(), changed.len(), removed.len()) {
            (0, 0, 0) => "a saved edit: nothing that decides a result".to_owned(),
            (added, changed, removed) => {
                format!("a saved edit: {added} added, {changed} changed, {removed} removed")
            }
        };
        self.log(Level::Info, None, at, text);
        // Where nothing changed, no plan follows.
        let is_planned = added.is_empty() && changed.is_empty() && removed.is_empty();
        let unchanged = if is_planned { self.nodes.len() } else { 0 };
        let (added, changed, removed) = (with_why(added), with_why(changed), shown(removed).collect());
        self.reload = Some(Reload { at, added, changed, removed, kept_running, unchanged, is_planned });
    }

    fn finished(&mut self, status: Status, seconds: f64, [finished, failed, skipped]: [usize; 3], at: f64) {
        self.outcome = Some((status, seconds));
        self.is_paused = false;
        let rest = match (failed, skipped) {
            (0, 0) => String::new(),
            _ => format!(", {failed} failed, {skipped} skipped"),
        };
        let text = format!("{} in {}: {}{rest}", outcome(status), took(seconds), count(finished, "node"));
        self.log(if status == Status::Done { Level::Info } else { Level::Warning }, None, at, text);
    }
}

/// The word for how a run ended.
pub fn outcome(status: Status) -> &'static str {
    match status {
        Status::Done => "done",
        Status::Partial => "done in part",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}
