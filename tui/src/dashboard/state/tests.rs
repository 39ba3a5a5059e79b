//! What messages do to the state, told as what a person would see.

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use flow_engine::plan::State as Planned;
use flow_engine::{Event, PlannedNode, Record};

use super::log::MOST_LINES;
use super::problem::MOST_PROBLEMS;
use super::run::MOST_PICTURES;
use super::series::MOST_POINTS;
use super::{Phase, State, View};
use crate::dashboard::kit::{heard, key, keys, press, recorded, tell};
use crate::dashboard::{Effect, Message, Scope};

const SIZE: (u16, u16) = (80, 24);

fn record(seq: u64, t: f64, event: Event) -> Message {
    Message::Record(Box::new(Record { schema: 1, seq, t, event }))
}

pub(super) fn planned(node: &str, kind: &str, inputs: &[&str]) -> PlannedNode {
    PlannedNode {
        node: node.into(),
        kind: kind.into(),
        inputs: inputs.iter().map(ToString::to_string).collect(),
        key: None,
        state: Planned::Run,
        why: String::new(),
        expected: None,
        read_bytes: 0,
        peak_bytes: None,
        written: None,
    }
}

/// Presses what a text is written with.
fn write(state: &mut State, text: &str) {
    for letter in text.chars() {
        assert_eq!(state.update(Message::Key(key(&letter.to_string()))), []);
    }
}

#[test]
fn a_run_is_counted_by_phases() {
    let state = heard("running", Scope::Own, SIZE);
    let counts = Phase::ALL.map(|phase| state.run().count(phase));
    assert_eq!(counts.iter().sum::<usize>(), state.run().nodes.len());
    assert_eq!(state.run().count(Phase::Running), 1);
    assert_eq!(state.run().running().next().unwrap().name.as_ref(), "a rocket in space");
}

#[test]
fn a_key_that_does_nothing_here_says_so() {
    let mut state = heard("running", Scope::Own, SIZE);
    keys(&mut state, "t");
    assert_eq!(state.notice(), Some("`t` does nothing; ? lists the keys that do"));
    keys(&mut state, "l");
    assert_eq!(state.notice(), Some("`l` does nothing in graph: how much the log tells"));
    keys(&mut state, "d");
    assert_eq!(state.notice(), Some("no saved edit has taken effect since the run started"));
    keys(&mut state, "x");
    assert_eq!(state.notice(), Some("`base` is done already"));
}

#[test]
fn the_running_node_is_steered() {
    let mut state = heard("training", Scope::Own, SIZE);
    keys(&mut state, "3");
    assert_eq!(press(&mut state, "s"), [Effect::Checkpoint("bear".into())]);
    assert_eq!(press(&mut state, "S"), [Effect::Sample("bear".into())]);
    assert_eq!(press(&mut state, "p"), [Effect::Pause(true)]);
    assert_eq!(press(&mut state, "x"), [Effect::Cancel("bear".into())]);
    keys(&mut state, "r");
    assert_eq!(state.notice(), Some("`bear` runs: it can run again when it is done, or x stops it"));
    tell(&mut state, record(0, 30.0, Event::Paused));
    assert_eq!(press(&mut state, "p"), [Effect::Pause(false)]);
}

#[test]
fn what_failed_runs_again() {
    let mut state = heard("failed", Scope::Own, SIZE);
    keys(&mut state, "6");
    assert_eq!(press(&mut state, "r"), [Effect::RunAgain(Some("photos".into()))]);
    assert_eq!(press(&mut state, "R"), [Effect::RunAgain(None)]);
}

#[test]
fn a_run_that_is_not_ours_can_only_be_watched_and_left() {
    for (scope, why) in [
        (Scope::Attached, "this run is another process's: it can only be watched"),
        (Scope::Recorded, "this run was recorded: it can only be looked at"),
    ] {
        let mut state = heard("training", scope, SIZE);
        for name in ["x", "r", "R", "p", "s", "S"] {
            keys(&mut state, name);
            assert_eq!(state.notice(), Some(why), "{name}");
        }
        assert_eq!(press(&mut state, "q"), [Effect::Leave]);
        assert_eq!(press(&mut state, "Ctrl-c"), [Effect::Leave]);
    }
}

#[test]
fn leaving_is_a_choice_while_something_runs() {
    let mut state = heard("training", Scope::Own, SIZE);
    keys(&mut state, "q Esc q");
    assert_eq!(press(&mut state, "Enter"), [Effect::StopAfterCheckpoint]);
    keys(&mut state, "q j");
    assert_eq!(press(&mut state, "Enter"), [Effect::StopNow]);
    keys(&mut state, "q G Enter");
    assert!(state.overlay.is_none());
}

#[test]
fn a_run_that_ends_while_somebody_chooses_is_left() {
    for name in ["q", "Enter"] {
        let mut state = heard("training", Scope::Own, SIZE);
        keys(&mut state, "q");
        tell(&mut state, Message::End);
        assert_eq!(press(&mut state, name), [Effect::Leave], "{name}");
    }
}

#[test]
fn control_c_stops_gently_and_then_at_once() {
    let mut state = heard("training", Scope::Own, SIZE);
    assert_eq!(press(&mut state, "Ctrl-c"), [Effect::StopAfterCheckpoint]);
    assert_eq!(press(&mut state, "Ctrl-c"), [Effect::StopNow]);
    tell(&mut state, Message::End);
    assert_eq!(press(&mut state, "Ctrl-c"), [Effect::Leave]);
}

#[test]
fn a_search_goes_to_the_node_and_on_to_the_next() {
    let mut state = heard("running", Scope::Own, SIZE);
    keys(&mut state, "/");
    write(&mut state, "on a");
    keys(&mut state, "Enter");
    assert_eq!(state.here().unwrap().name.as_ref(), "a crab on a beach");
    keys(&mut state, "n");
    assert_eq!(state.here().unwrap().name.as_ref(), "a frog on a skateboard");
    keys(&mut state, "N");
    assert_eq!(state.here().unwrap().name.as_ref(), "a crab on a beach");
    keys(&mut state, "Esc");
    assert!(!state.find.is_on());
}

#[test]
fn the_editor_opens_at_the_node_and_at_the_mistake() {
    let mut state = heard("rejected", Scope::Own, SIZE);
    let file = PathBuf::from("/home/ada/flow/graphs/watched.ron");
    assert_eq!(press(&mut state, "e"), [Effect::Edit { file: file.clone(), line: 4, column: 9 }]);
    keys(&mut state, "6");
    let file = PathBuf::from("graphs/watched.ron");
    let effects = press(&mut state, "e");
    assert!(matches!(&effects[..], [Effect::Edit { line: 9, column: 56, .. }]), "{effects:?} {file:?}");
}

#[test]
fn what_is_selected_is_copied() {
    let mut state = heard("failed", Scope::Own, SIZE);
    assert_eq!(
        press(&mut state, "y"),
        [Effect::Copy(r#""base": LoadSDXL(path: "models/mini-sdxl")"#.into())]
    );
    keys(&mut state, "4");
    assert_eq!(press(&mut state, "y"), [Effect::Copy("out/crabs/00.png".into())]);
    keys(&mut state, "6");
    let copied = press(&mut state, "y");
    assert!(matches!(&copied[..], [Effect::Copy(text)] if text.starts_with("error: `photos`: cannot read")));
}

#[test]
fn a_graph_that_was_refused_from_the_start_is_left_without_a_question() {
    let rejected = recorded("rejected").into_iter().find(|r| matches!(r.event, Event::GraphRejected { .. }));
    let mut state = State::new(Scope::Own, SIZE);
    assert_eq!(press(&mut state, "q"), [], "it may still be planned");
    keys(&mut state, "Esc");
    tell(&mut state, Message::Record(Box::new(rejected.unwrap())));
    assert_eq!(press(&mut state, "q"), [Effect::Leave]);
}

#[test]
fn an_accepted_edit_clears_the_mistakes_of_the_one_before() {
    let mut state = heard("rejected", Scope::Own, SIZE);
    assert_eq!(state.run().mistakes(), 2);
    let (added, changed, removed) = (Vec::new(), Vec::new(), Vec::new());
    tell(&mut state, record(0, 20.0, Event::GraphReloaded { added, changed, removed }));
    assert_eq!(state.run().mistakes(), 0);
}

#[test]
fn an_edit_says_what_changed_why_and_what_kept_running() {
    let state = heard("rejected", Scope::Own, SIZE);
    let reload = state.run().reload.as_ref().unwrap();
    let names = |names: &[(std::sync::Arc<str>, String)]| {
        names.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&reload.added), ["crabs"]);
    assert_eq!(names(&reload.changed), ["a crab on a beach", "contact sheet", "sheet"]);
    assert!(reload.changed.iter().all(|(_, why)| !why.is_empty()));
    assert_eq!(reload.removed.iter().map(|name| name.as_ref()).collect::<Vec<_>>(), ["panda"]);
    assert_eq!(
        reload.kept_running.iter().map(|name| name.as_ref()).collect::<Vec<_>>(),
        ["a photo of a panda"]
    );
    assert!(state.run().node("a photo of a panda").unwrap().ratio().unwrap() > 0.5);
}

#[test]
fn a_held_screen_stays_as_it_is_while_the_run_goes_on() {
    let mut state = State::new(Scope::Own, SIZE);
    let mut records = recorded("running").into_iter();
    records.by_ref().take(60).for_each(|record| tell(&mut state, Message::Record(Box::new(record))));
    keys(&mut state, "z");
    let (done, generation) = (state.run().count(Phase::Done), state.generation());
    records.for_each(|record| tell(&mut state, Message::Record(Box::new(record))));
    assert_eq!((state.run().count(Phase::Done), state.generation()), (done, generation));
    keys(&mut state, "z");
    assert!(state.run().count(Phase::Done) > done);
}

#[test]
fn nothing_is_drawn_again_where_nothing_has_changed() {
    let mut state = heard("failed", Scope::Own, SIZE);
    let generation = state.generation();
    for tenths in 0..100 {
        tell(&mut state, Message::Now(10.0 + f64::from(tenths) / 10.0));
    }
    assert_eq!(state.generation(), generation);
    let mut state = heard("running", Scope::Own, SIZE);
    let generation = state.generation();
    let now = state.run().now;
    tell(&mut state, Message::Now(now + 1.0));
    assert!(state.generation() > generation);
}

#[test]
fn what_runs_is_followed_until_somebody_goes_elsewhere() {
    let mut state = State::new(Scope::Own, SIZE);
    keys(&mut state, "f");
    for record in recorded("running") {
        tell(&mut state, Message::Record(Box::new(record)));
    }
    assert_eq!(state.here().unwrap().name.as_ref(), "a rocket in space");
    keys(&mut state, "j");
    assert!(!state.graph.follows);
}

#[test]
fn a_story_that_never_ends_takes_no_more_than_so_much_memory() {
    let mut state = State::new(Scope::Own, SIZE);
    let nodes = vec![planned("bear", "Train", &[])];
    tell(&mut state, record(0, 0.0, Event::Plan { nodes }));
    let started = Event::NodeStarted { node: "bear".into(), kind: "Train".into(), key: None };
    tell(&mut state, record(1, 0.0, started));
    for step in 0..100_000_u64 {
        let (t, node) = (step as f64 / 1e5, "bear".to_owned());
        let name = format!("number {}", step % 100);
        let what = format!("thing {step}");
        let path = format!("preview-{step}.png");
        let events = [
            Event::Metric {
                node: node.clone(),
                name: "loss".into(),
                value: 1.0,
                step: Some(step),
                unit: "".into(),
            },
            Event::Metric { node: node.clone(), name, value: 1.0, step: Some(step), unit: "".into() },
            Event::Progress {
                node: node.clone(),
                done: step,
                total: 100_000,
                unit: format!("unit {}", step % 50),
            },
            Event::Warning { node: Some(node.clone()), message: "odd".into(), hint: None },
            Event::Kept { node: node.clone(), what, bytes: 1, seconds: 0.1 },
            Event::Preview { node, path, label: "step".into() },
        ];
        // Kept things and pictures are looked up by name: enough of them to overflow will do.
        let few = if step % 10 == 0 { 6 } else { 4 };
        events.into_iter().take(few).for_each(|event| tell(&mut state, record(step, t, event)));
    }
    let run = state.run();
    let bear = run.node("bear").unwrap();
    assert_eq!(run.log.lines().len(), MOST_LINES);
    assert_eq!(run.problems.len(), MOST_PROBLEMS);
    assert_eq!(run.pictures.len(), MOST_PICTURES);
    assert_eq!(run.machine.kept.len(), 1000);
    assert!(bear.series.len() <= 48 && bear.progress.tracks().len() <= 6);
    assert!(bear.series.iter().all(|series| series.points().len() < MOST_POINTS));
}

#[test]
fn numbers_show_the_views_and_tab_goes_round() {
    let mut state = heard("running", Scope::Own, SIZE);
    for (number, view) in ["1", "2", "3", "4", "5", "6", "7"].into_iter().zip(View::ALL) {
        keys(&mut state, number);
        assert_eq!(state.view, view);
    }
    keys(&mut state, "Tab");
    assert_eq!(state.view, View::Graph);
}

#[test]
fn a_node_that_waits_says_for_whom() {
    let state = heard("running", Scope::Own, SIZE);
    let awaited = |name: &str| state.run().awaited(state.run().node(name).unwrap());
    // In the order in which the recorded graph names them.
    assert_eq!(
        awaited("sheet").unwrap(),
        "a frog on a skateboard, a rocket in space, an octopus in the ocean"
    );
    assert_eq!(awaited("a frog on a skateboard").unwrap(), "its turn after a rocket in space");
    assert_eq!(awaited("a photo of a panda"), None);
    let mut sweep = heard("sweep", Scope::Own, SIZE);
    let grid = |state: &State| state.run().awaited(state.run().node("Grid_1").unwrap());
    assert!(grid(&sweep).unwrap().ends_with(" more"), "many names are counted");
    tell(&mut sweep, record(0, 40.0, Event::Paused));
    assert_eq!(grid(&sweep).unwrap(), "the run to go on: p");
}

#[test]
fn only_a_training_is_asked_for_checkpoints_and_previews() {
    let mut state = heard("running", Scope::Own, SIZE);
    keys(&mut state, "/");
    write(&mut state, "rocket");
    keys(&mut state, "Enter s");
    let says = "only a training can save a checkpoint, and `a rocket in space` has told of no step of one";
    assert_eq!(state.notice(), Some(says));
}

#[test]
fn escape_and_a_key_that_arrive_together_are_two_keys() {
    let mut state = heard("running", Scope::Own, SIZE);
    keys(&mut state, "?");
    let both = KeyEvent::new(KeyCode::Char('5'), KeyModifiers::ALT);
    assert_eq!(state.update(Message::Key(both)), []);
    assert_eq!((state.overlay, state.view), (None, View::Logs));
}

#[test]
fn another_view_takes_the_help_away_and_leaves_the_choice_of_leaving() {
    let mut state = heard("running", Scope::Own, SIZE);
    keys(&mut state, "? 5");
    assert_eq!((state.overlay, state.view), (None, View::Logs));
    keys(&mut state, "q 1");
    assert!(state.overlay.is_some() && state.view == View::Logs);
}

#[test]
fn an_edit_that_takes_effect_says_so() {
    let mut state = State::new(Scope::Own, SIZE);
    let until = recorded("rejected").into_iter().take_while(|record| record.t < 7.0);
    until.for_each(|record| tell(&mut state, Message::Record(Box::new(record))));
    let says = "the saved edit took effect: 1 added, 3 changed, 1 removed, 1 kept running; d shows more";
    assert_eq!(state.notice(), Some(says));
}

#[test]
fn a_click_below_the_map_opens_the_selected_node() {
    let mut state = heard("running", Scope::Own, SIZE);
    let row = SIZE.1 - 2;
    let kind = MouseEventKind::Down(MouseButton::Left);
    let click = MouseEvent { kind, column: 5, row, modifiers: KeyModifiers::NONE };
    tell(&mut state, Message::Mouse(click));
    assert_eq!(state.view, View::Node);
}

#[test]
fn what_an_edit_leaves_running_goes_on_under_whatever_key_the_next_plan_gives_it() {
    let mut state = State::new(Scope::Own, SIZE);
    let nodes = |steps: &str| vec![planned("a", "Kind", &[]), planned(steps, "Kind", &[])];
    tell(&mut state, record(0, 0.0, Event::Plan { nodes: nodes("b") }));
    tell(&mut state, record(1, 0.0, Event::NodeStarted { node: "a".into(), kind: "Kind".into(), key: None }));
    let progress = Event::Progress { node: "a".into(), done: 4, total: 8, unit: "step".into() };
    tell(&mut state, record(2, 1.0, progress));
    let (added, changed, removed) = (vec!["c".into()], Vec::new(), vec!["b".into()]);
    tell(&mut state, record(3, 2.0, Event::GraphReloaded { added, changed, removed }));
    tell(&mut state, record(4, 2.0, Event::Plan { nodes: nodes("c") }));
    assert_eq!(state.run().node("a").unwrap().ratio(), Some(0.5));
}
