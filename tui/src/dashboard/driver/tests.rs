//! The driver without a graph: a run that is made up, and a terminal that is real.

use std::panic::catch_unwind;
use std::time::Duration;

use flow_engine::{Event, Record, Status};

use super::*;

#[expect(dead_code, reason = "the tests of the program use the rest")]
#[path = "../../../../tests/flow_tests/tmux.rs"]
mod tmux;

use tmux::Tmux;

/// Tells the stand-in below what to do.
const SCENE: &str = "FLOW_TEST_SCENE";

fn world(stop: &Stop) -> World {
    World { scope: Scope::Own, stop: stop.clone(), control: Control::default(), store: None }
}

fn record(seq: u64, event: Event) -> Record {
    Record { schema: 1, seq, t: seq as f64 * 1e-5, event }
}

/// Not a test of its own: what the tests below run in a terminal, by the name of a scene.
#[test]
#[ignore = "it needs a terminal, which another test gives it"]
fn a_scene() {
    let scene = std::env::var(SCENE).unwrap();
    let stop = Stop::default();
    let dashboard = Dashboard::open(world(&stop)).unwrap();
    let mut reader = dashboard.reader();
    reader.read(&record(0, Event::NodeQueued { node: "a".to_owned() })).unwrap();
    wait_for_a_file("go");
    match &*scene {
        "panic" => panic!("the run broke"),
        "caught" => {
            // Before, so that `q` asks nothing.
            drop(reader);
            drop(catch_unwind(|| panic!("a node broke")).unwrap_err());
        }
        "broken" => {
            let broken = || -> Result<()> { anyhow::bail!("it cannot go on") };
            assert!(broken().is_err());
            return;
        }
        other => panic!("there is no scene `{other}`"),
    }
    dashboard.wait();
}

fn wait_for_a_file(name: &str) {
    while !std::path::Path::new(name).exists() {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Begins a scene in a terminal.
fn begin(scene: &str) -> Option<(tempfile::TempDir, Tmux)> {
    let folder = tempfile::tempdir().unwrap();
    let tmux = Tmux::open(folder.path(), 120, 30)?;
    let program = std::env::current_exe().unwrap();
    let (_, test) = concat!(module_path!(), "::a_scene").split_once("::").unwrap();
    tmux.line(&format!("{SCENE}={scene} {} --ignored --exact {test} --nocapture", program.display()));
    tmux.wait_until("the dashboard", |_| tmux.is_on_alternate_screen());
    Some((folder, tmux))
}

#[test]
fn a_panic_gives_the_terminal_back_and_then_says_what_it_has_to_say() {
    let Some((folder, tmux)) = begin("panic") else { return };
    std::fs::write(folder.path().join("go"), "").unwrap();
    let screen = tmux.wait_for_shell();
    assert!(screen.contains("the run broke"), "{screen}");
    assert!(tmux.ask("stty -a").contains(" echo "), "the terminal echoes again");
}

#[test]
fn a_panic_that_was_caught_leaves_its_message_below_the_screen() {
    let Some((folder, tmux)) = begin("caught") else { return };
    std::fs::write(folder.path().join("go"), "").unwrap();
    tmux.wait_for("something panicked");
    tmux.press(&["q"]);
    let screen = tmux.wait_for_shell();
    assert!(screen.contains("a node broke"), "{screen}");
}

#[test]
fn an_error_takes_the_screen_with_it() {
    let Some((folder, tmux)) = begin("broken") else { return };
    std::fs::write(folder.path().join("go"), "").unwrap();
    let screen = tmux.wait_for_shell();
    assert!(screen.contains("1 passed"), "{screen}");
}

#[test]
fn a_run_that_is_over_is_left_at_once() {
    let stop = Stop::default();
    let stage = Stage::new(Scope::Own, Steering::new(Scope::Own, Control::default(), stop.clone()));
    let status = Status::Done;
    stage.hear(&record(0, Event::RunFinished { status, seconds: 1.0, finished: 1, failed: 0, skipped: 0 }));
    stage.end();
    assert!(!stage.lock().steering.is_over(), "somebody looks at it");
    stage.go_on_in_lines();
    assert!(stop.asked() && stage.lock().steering.is_over());
}
