//! What happens to a run while its graph is edited, in the ways in which editors save.

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use super::*;
use crate::kit::{options, registry};
use crate::{Device, Document, Dtype, Project, Record, Settings, read_ron};

/// Longer than any machine takes, so that a test which waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A graph that is edited while it runs, seen from its events.
pub(super) struct Edited<'a> {
    pub path: &'a Path,
    pub control: Control,
    events: Receiver<Record>,
    pub seen: Vec<Event>,
}

impl Edited<'_> {
    /// Saves the graph as most programs do: into the file itself.
    pub fn save(&self, nodes: &str) {
        std::fs::write(self.path, text(nodes)).unwrap();
    }

    /// Waits for an event; gives the words of everything up to it.
    pub fn until(&mut self, is_it: impl Fn(&Event) -> bool) -> Vec<String> {
        let mut told = Vec::new();
        let end = Instant::now() + PATIENCE;
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Record { event, .. }) => {
                    told.extend(word(&event));
                    self.seen.push(event.clone());
                    if is_it(&event) {
                        return told;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("it never came; seen: {:?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("the run ended; seen: {:?}", self.seen),
            }
        }
    }

    /// The words up to the end of a run. Nodes that may run side by side are told in the order of their names.
    pub fn until_finished(&mut self) -> Vec<String> {
        let mut told = self.until(|event| matches!(event, Event::RunFinished { .. }));
        let name =
            |word: &String| word.strip_prefix("ran ").or(word.strip_prefix("kept ")).map(str::to_owned);
        for nodes in told.chunk_by_mut(|one, other| name(one).is_some() && name(other).is_some()) {
            nodes.sort_by_key(name);
        }
        told
    }

    pub fn until_started(&mut self, name: &str) -> Vec<String> {
        self.until(|event| matches!(event, Event::NodeStarted { node, .. } if node == name))
    }
}

fn text(nodes: &str) -> String {
    format!("Graph(nodes: {{\n{nodes}\n}})")
}

/// One word per event that matters.
fn word(event: &Event) -> Option<String> {
    match event {
        Event::NodeStarted { node, .. } => Some(format!("ran {node}")),
        Event::CacheHit { node, .. } => Some(format!("kept {node}")),
        Event::NodeSkipped { node, .. } => Some(format!("skipped {node}")),
        Event::GraphReloaded { added, changed, removed } => {
            Some(format!("edited +[{}] ~[{}] -[{}]", added.join(" "), changed.join(" "), removed.join(" ")))
        }
        Event::GraphRejected { diagnostics } => {
            Some(format!("rejected {}:{:?}", diagnostics[0].message, diagnostics[0].line))
        }
        Event::RunFinished { status, .. } => Some(format!("{status:?}")),
        _ => None,
    }
}

/// Asks to stop also where a test fails, which would wait for the run for ever.
struct AskAtEnd(Stop);

impl Drop for AskAtEnd {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// Runs a graph that is edited by a test.
fn edited(nodes: &str, allow: impl Fn(&Change) -> bool + Sync, test: impl FnOnce(&mut Edited<'_>)) {
    live(nodes, true, Wanted::default(), allow, test);
}

/// Runs a graph that a test steers, and edits if it is watched.
pub(super) fn live(
    nodes: &str,
    is_watched: bool,
    wanted: Wanted,
    allow: impl Fn(&Change) -> bool + Sync,
    test: impl FnOnce(&mut Edited<'_>),
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.ron");
    std::fs::write(&path, text(nodes)).unwrap();
    let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
    let session = Session::new(registry(), settings, Project::at(folder.path())).with_store();
    let (events, receiver) = Events::channel();
    let (stop, control) = (Stop::default(), Control::default());
    let live = Live {
        session: &session,
        read: &|| match std::fs::read_to_string(&path) {
            Ok(text) => Ok(read_ron(Document::new("graph.ron", text), &[], &session.registry)),
            Err(error) => Err(vec![Diagnostic::error(error.to_string())]),
        },
        files: vec![path.clone()],
        wanted,
        before: &Before::nothing,
        allow: &allow,
        events,
        stop: stop.clone(),
        control: control.clone(),
        options: Options { keep_results: false, ..options(2) },
        is_watched,
        poll: None,
    };
    thread::scope(|scope| {
        let running = scope.spawn(move || live.run().unwrap());
        let ending = AskAtEnd(stop);
        test(&mut Edited { path: &path, control, events: receiver, seen: Vec::new() });
        drop(ending);
        running.join().unwrap();
    });
}

const SUM: &str = r#""sum": Add(numbers: ["a", "b"])"#;

fn numbers(a: &str, b: &str) -> String {
    format!(r#""a": Number(value: {a}), "b": Number(value: {b}), {SUM}"#)
}

#[test]
fn a_changed_number_runs_what_depends_on_it_and_keeps_the_rest() {
    edited(
        &numbers("1", "2"),
        |_| true,
        |graph| {
            assert_eq!(graph.until_finished(), ["ran a", "ran b", "ran sum", "Done"]);
            graph.save(&numbers("1", "3"));
            let told = graph.until_finished();
            assert_eq!(told, ["edited +[] ~[b sum] -[]", "kept a", "ran b", "ran sum", "Done"]);
            graph.save(&numbers("1", "2"));
            let told = graph.until_finished();
            assert_eq!(told, ["edited +[] ~[b sum] -[]", "kept a", "kept b", "kept sum", "Done"]);
        },
    );
}

#[test]
fn a_comment_changes_nothing_and_says_so() {
    edited(
        &numbers("1", "2"),
        |_| true,
        |graph| {
            graph.until_finished();
            graph.save(&format!("// two numbers\n{}", numbers("1", "2")));
            let told = graph.until(|event| matches!(event, Event::GraphReloaded { .. }));
            assert_eq!(told, ["edited +[] ~[] -[]"]);
            graph.save(&numbers("1", "3"));
            assert_eq!(graph.until_finished()[0], "edited +[] ~[b sum] -[]");
        },
    );
}

#[test]
fn a_mistake_is_told_with_its_place_while_the_last_good_graph_runs_on() {
    let waiting = |more: &str| format!(r#""w": Wait(until: 1), {more}"#);
    edited(
        &waiting(r#""a": Number(value: 1)"#),
        |_| true,
        |graph| {
            graph.until_started("w");
            graph.save(&waiting(r#""a": Number(value: "#));
            let told = graph.until(|event| matches!(event, Event::GraphRejected { .. }));
            assert!(told.last().unwrap().starts_with("rejected "), "{told:?}");
            // Putting it right changes nothing: `w` was never stopped.
            graph.save(&waiting(r#""a": Number(value: 1)"#));
            graph.until(|event| matches!(event, Event::GraphReloaded { .. }));
            let stopped = |event: &Event| matches!(event, Event::NodeSkipped { .. });
            assert!(!graph.seen.iter().any(stopped), "{:?}", graph.seen);
        },
    );
}

#[test]
fn a_running_node_goes_on_if_the_edit_is_elsewhere_and_stops_if_it_is_changed() {
    let graph_of =
        |until: u32, value: u32| format!(r#""w": Wait(until: {until}), "a": Number(value: {value})"#);
    edited(
        &graph_of(1, 1),
        |_| true,
        |graph| {
            graph.until_started("w");
            graph.save(&graph_of(1, 2));
            graph.until(|event| matches!(event, Event::GraphReloaded { .. }));
            graph.until(|event| matches!(event, Event::NodeFinished { node, .. } if node == "a"));
            let starts = |graph: &Edited<'_>| {
                graph
                    .seen
                    .iter()
                    .filter(|event| matches!(event, Event::NodeStarted { node, .. } if node == "w"))
                    .count()
            };
            assert_eq!(starts(graph), 1);
            // The edit that changes it stops it, and its second form ends at once.
            graph.save(&graph_of(0, 2));
            assert_eq!(graph.until_finished().last().unwrap(), "Done");
            assert_eq!(starts(graph), 2);
        },
    );
}

#[test]
fn a_node_that_is_taken_out_while_it_runs_is_stopped() {
    edited(
        r#""w": Wait(until: 1), "a": Number(value: 1)"#,
        |_| true,
        |graph| {
            graph.until_started("w");
            graph.save(r#""a": Number(value: 1)"#);
            let told = graph.until_finished();
            assert!(told.contains(&"edited +[] ~[] -[w]".to_owned()), "{told:?}");
            assert_eq!(told.last().unwrap(), "Done");
        },
    );
}

#[test]
fn every_way_in_which_editors_save_is_seen_once() {
    edited(
        &numbers("1", "2"),
        |_| true,
        |graph| {
            graph.until_finished();
            let beside = graph.path.with_file_name("graph.ron~");
            std::fs::write(&beside, text(&numbers("1", "3"))).unwrap();
            std::fs::rename(&beside, graph.path).unwrap();
            assert_eq!(graph.until_finished()[0], "edited +[] ~[b sum] -[]");
            std::fs::remove_file(graph.path).unwrap();
            graph.save(&numbers("1", "4"));
            let told = graph.until_finished();
            assert!(told.contains(&"edited +[] ~[b sum] -[]".to_owned()), "{told:?}");
            graph.save(&numbers("1", "5"));
            graph.save(&numbers("1", "6"));
            assert_eq!(graph.until_finished()[0], "edited +[] ~[b sum] -[]");
            graph.save(&numbers("7", "6"));
            assert_eq!(graph.until_finished()[0], "edited +[] ~[a sum] -[]");
        },
    );
}

#[test]
fn a_file_that_a_node_reads_counts_like_the_graph() {
    edited(
        r#""a": Number(value: 1, file: "note.txt")"#,
        |_| true,
        |graph| {
            let note = graph.path.with_file_name("note.txt");
            let told = graph.until(|event| matches!(event, Event::RunFinished { .. }));
            assert_eq!(told.last().unwrap(), "Done");
            std::fs::write(&note, "one").unwrap();
            assert_eq!(graph.until_finished(), ["edited +[] ~[a] -[]", "ran a", "Done"]);
            std::fs::write(&note, "two").unwrap();
            assert_eq!(graph.until_finished(), ["edited +[] ~[a] -[]", "ran a", "Done"]);
            std::fs::write(&note, "one").unwrap();
            assert_eq!(graph.until_finished(), ["edited +[] ~[a] -[]", "kept a", "Done"]);
        },
    );
}

#[test]
fn an_edit_that_would_stop_something_may_be_refused() {
    let asked = Mutex::new(Vec::new());
    let allow = |change: &Change| {
        asked.lock().unwrap().push(change.clone());
        false
    };
    edited(r#""w": Wait(until: 1)"#, allow, |graph| {
        graph.until_started("w");
        graph.save(r#""w": Wait(until: 0)"#);
        let end = Instant::now() + PATIENCE;
        while asked.lock().unwrap().is_empty() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let asked = asked.into_inner().unwrap();
    assert_eq!(
        (asked[0].changed.clone(), asked[0].stopped.clone()),
        (vec!["w".to_owned()], vec!["w".to_owned()])
    );
}
