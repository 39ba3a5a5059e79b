//! Every view at the sizes that people have, from recorded runs.

use std::collections::HashSet;

use flow_engine::{Event, Record};
use ratatui::style::{Color, Modifier};

use super::Theme;
use crate::dashboard::kit::{frame, heard, keys, machine, press, recorded, tell, text};
use crate::dashboard::state::State;
use crate::dashboard::{Effect, Message, Scope};

const SIZES: [(u16, u16); 4] = [(40, 12), (80, 24), (120, 40), (200, 60)];

/// The screens of a recording at all sizes, once some keys were pressed.
fn shots(name: &str, recording: &str, pressed: &str) {
    for size in SIZES {
        let state = pressed_on(recording, size, pressed);
        shot(&format!("{name}_{}x{}", size.0, size.1), &state);
    }
}

fn pressed_on(recording: &str, size: (u16, u16), pressed: &str) -> State {
    let mut state = heard(recording, Scope::Own, size);
    for busy in [0.1, 0.4, 0.9, 0.95, 0.7, 0.3] {
        tell(&mut state, machine(busy));
    }
    if !pressed.is_empty() {
        keys(&mut state, pressed);
    }
    state
}

fn shot(name: &str, state: &State) {
    shot_of(name, &text(state));
}

fn shot_of(name: &str, screen: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, screen));
}

#[test]
fn the_graph_of_a_run() {
    shots("graph", "running", "");
}

#[test]
fn the_graph_of_a_training() {
    shots("graph_training", "training", "f f");
}

#[test]
fn the_graph_of_a_sweep_folds_its_groups() {
    shots("graph_sweep", "sweep", "Right Right");
}

#[test]
fn a_group_of_a_sweep_unfolds() {
    shots("graph_unfolded", "sweep", "Right Right Right o");
}

#[test]
fn a_node_that_trains() {
    shots("node", "training", "/ b e a r Enter Esc 2");
}

#[test]
fn a_node_that_failed() {
    shots("node_failed", "failed", "/ p h o t o s Enter Esc 2");
}

#[test]
fn the_curves_of_a_training() {
    shots("training", "training", "3");
}

#[test]
fn the_pictures_of_a_run() {
    shots("pictures", "training", "4");
}

#[test]
fn one_picture() {
    shots("picture", "training", "4 Enter");
}

#[test]
fn two_pictures_side_by_side() {
    shots("pictures_pair", "training", "4 Space Left Space Enter");
}

#[test]
fn the_log_of_a_run() {
    shots("logs", "failed", "5");
}

#[test]
fn the_problems_of_a_failed_node() {
    shots("problems_failed", "failed", "6");
}

#[test]
fn the_problems_of_a_rejected_edit() {
    shots("problems_rejected", "rejected", "6");
}

#[test]
fn the_graph_of_a_rejected_edit() {
    shots("graph_rejected", "rejected", "");
}

#[test]
fn the_machine() {
    shots("resources", "failed", "7");
}

#[test]
fn a_graph_without_nodes() {
    shots("graph_empty", "empty", "");
}

/// The screens of all views below each other, so that none of them is forgotten for any kind of run.
#[test]
fn every_view_of_every_kind_of_run() {
    for recording in ["running", "training", "failed", "rejected", "sweep", "empty"] {
        for size in SIZES.into_iter().take(2) {
            let screens = ('1'..='7').map(|view| text(&pressed_on(recording, size, &view.to_string())));
            let name = format!("all_{recording}_{}x{}", size.0, size.1);
            shot_of(&name, &screens.collect::<Vec<_>>().join("\n"));
        }
    }
}

#[test]
fn the_keys() {
    shots("help", "running", "?");
}

#[test]
fn what_an_edit_changed() {
    shots("diff", "rejected", "d");
}

#[test]
fn how_to_leave() {
    shots("quit", "training", "q j");
}

#[test]
fn a_screen_that_is_too_small_says_so() {
    for size in [(39, 12), (40, 11), (12, 6)] {
        let state = heard("running", Scope::Own, size);
        shot(&format!("too_small_{}x{}", size.0, size.1), &state);
    }
}

#[test]
fn a_search_on_the_graph() {
    shot("search_80x24", &pressed_on("running", (80, 24), "/ f r o g"));
}

#[test]
fn a_recorded_run_that_cannot_be_steered_says_so() {
    let mut state = heard("failed", Scope::Recorded, (80, 24));
    keys(&mut state, "x");
    shot("recorded_80x24", &state);
}

#[test]
fn without_colours_there_are_none_and_with_them_only_the_terminals_own() {
    let sixteen =
        |colour: Color| !matches!(colour, Color::Rgb(..) | Color::Indexed(_) | Color::Black | Color::White);
    for recording in ["running", "training", "failed", "rejected", "sweep"] {
        for view in ["1", "2", "3", "4", "5", "6", "7", "?", "d"] {
            for theme in [Theme::colour(), Theme::plain()] {
                let mut state = heard(recording, Scope::Own, (80, 24)).themed(theme);
                tell(&mut state, machine(0.9));
                keys(&mut state, view);
                for cell in frame(&state, state.size).content() {
                    assert!(sixteen(cell.fg) && cell.bg == Color::Reset, "{recording} {view}: {cell:?}");
                    assert!(
                        theme == Theme::colour() || cell.fg == Color::Reset,
                        "{recording} {view}: {cell:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_an_edit_changed_stands_out_for_a_while() {
    let mut state = State::new(Scope::Own, (80, 24)).themed(Theme::plain());
    let until_edit = recorded("rejected").into_iter().take_while(|record| record.t < 6.3);
    until_edit.for_each(|record| tell(&mut state, Message::Record(Box::new(record))));
    let reversed = |state: &State| {
        let buffer = frame(state, state.size);
        let cells = buffer.content().iter().filter(|cell| cell.modifier.contains(Modifier::REVERSED));
        cells.map(|cell| cell.symbol().to_owned()).collect::<String>()
    };
    let at = state.run().reload.as_ref().unwrap().at;
    let shown: HashSet<bool> = (0..8)
        .map(|beat| {
            tell(&mut state, Message::Now(at + 0.1 + f64::from(beat) / 4.0));
            reversed(&state).contains("a crab on a beach")
        })
        .collect();
    assert_eq!(shown.len(), 2, "it is lit, and it is not");
    tell(&mut state, Message::Now(at + 10.0));
    assert!(!reversed(&state).contains("a crab on a beach"));
}

#[test]
fn a_run_whose_process_is_gone_says_so() {
    let mut state = heard("running", Scope::Attached, (80, 24));
    tell(&mut state, Message::End);
    assert!(text(&state).lines().next().unwrap().contains("broken off"));
}

#[test]
fn a_paused_and_stopping_run_says_so() {
    let mut state = heard("training", Scope::Own, (80, 24));
    tell(&mut state, Message::Record(Box::new(Record { schema: 1, seq: 0, t: 26.0, event: Event::Paused })));
    assert_eq!(press(&mut state, "Ctrl-c"), [Effect::StopAfterCheckpoint]);
    shot("paused_80x24", &state);
}

#[test]
fn a_graph_with_mistakes_from_the_beginning_says_that_nothing_runs() {
    let mut state = State::new(Scope::Own, (80, 24));
    let rejected =
        recorded("rejected").into_iter().find(|record| matches!(record.event, Event::GraphRejected { .. }));
    tell(&mut state, Message::Record(Box::new(rejected.unwrap())));
    shot("rejected_at_first_80x24", &state);
}

#[test]
fn names_that_would_break_the_frame_do_not() {
    let mut state = State::new(Scope::Own, (80, 24));
    let text = include_str!("../recordings/running.ndjson")
        .replace("a rocket in space", "宇宙のロケット宇宙のロケット宇宙のロケット")
        .replace("a crab on a beach", "a crab\\u001b[31m\\u202e on a beach with a name that goes on and on");
    for line in text.lines() {
        tell(&mut state, Message::Record(Box::new(serde_json::from_str(line).unwrap())));
    }
    shot("odd_names_80x24", &state);
}
