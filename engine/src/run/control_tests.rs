//! What happens to a run that a person steers, told by its events.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::kit::{Heard, Workshop, number, options, session, steered};
use crate::{Event, Options, Status, Wish};

/// Longer than anybody's life.
const FOR_EVER: u32 = u32::MAX;
const A_MOMENT: Duration = Duration::from_millis(120);

fn skips(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| match event {
        Event::NodeSkipped { node, because } => Some(format!("{node}: {because}")),
        _ => None,
    };
    let mut skips: Vec<_> = events.iter().filter_map(line).collect();
    skips.sort();
    skips
}

/// Sees that nothing goes on: whoever was between two steps takes the one that it is in to its end.
fn assert_held(run: &mut Heard) {
    let told = run.in_the_next(3 * A_MOMENT);
    let steps = told.iter().filter_map(|event| match event {
        Event::Progress { node, .. } => Some(node),
        _ => None,
    });
    let steps: Vec<_> = steps.collect();
    assert_eq!(steps.len(), steps.iter().collect::<HashSet<_>>().len(), "{told:?}");
    assert_eq!(steps.len(), told.len(), "{told:?}");
}

fn counting(nodes: &str) -> String {
    format!(r#""a": Count(to: {FOR_EVER}), {nodes}"#)
}

#[test]
fn a_node_that_is_cancelled_stops_and_what_reads_it_is_skipped_while_the_rest_goes_on() {
    let nodes = counting(r#""s": Say(number: "a"), "b": Count(to: 200)"#);
    let (outcome, events) = steered(&session(), &nodes, options(2), |run| {
        run.until_counting("a");
        run.control.cancel("a");
    });
    assert_eq!(outcome.status, Status::Partial);
    assert_eq!(
        skips(&events),
        ["a: it was cancelled by hand", "s: it reads `a`, which was cancelled by hand"]
    );
    assert_eq!(number(&outcome, "b"), Some(200.0));
}

#[test]
fn a_node_that_is_cancelled_before_its_turn_does_not_start() {
    let nodes = r#""a": Count(to: 100), "b": Number(value: 1), "s": Say(number: "b")"#;
    let (outcome, events) = steered(&session(), nodes, options(1), |run| {
        run.until_counting("a");
        run.control.cancel("b");
    });
    assert_eq!(outcome.status, Status::Partial);
    assert_eq!(
        skips(&events),
        ["b: it was cancelled by hand", "s: it reads `b`, which was cancelled by hand"]
    );
    assert!(!events.iter().any(|event| matches!(event, Event::NodeStarted { node, .. } if node == "b")));
}

#[test]
fn a_run_of_which_nothing_is_left_is_cancelled_and_a_failure_counts_for_more() {
    let alone = |nodes: &str, keep_going| {
        let options = Options { keep_going, ..options(2) };
        steered(&session(), nodes, options, |run| {
            run.until_counting("a");
            run.control.cancel("a");
        })
    };
    assert_eq!(alone(&counting(""), false).0.status, Status::Cancelled);
    let failing = counting(r#""f": Give(value: 1, ending: Failing)"#);
    assert_eq!(alone(&failing, false).0.status, Status::Failed);
    assert_eq!(alone(&failing, true).0.status, Status::Failed);
}

#[test]
fn of_two_names_for_one_result_one_is_cancelled_and_the_other_gets_it() {
    let nodes = r#""a": Count(to: 600), "b": Count(to: 600)"#;
    for cancelled_is_first in [true, false] {
        let (outcome, events) = steered(&session(), nodes, options(2), |run| {
            run.until(|event| matches!(event, Event::Progress { done: 1.., .. }));
            let Some(Event::Progress { node, .. }) = run.seen.last() else { panic!("{:?}", run.seen) };
            let other = if node == "a" { "b" } else { "a" };
            let cancelled = if cancelled_is_first { node } else { other };
            run.control.cancel(cancelled);
        });
        assert_eq!(outcome.status, Status::Partial);
        assert_eq!(outcome.digests.len(), 1);
        assert_eq!(skips(&events).len(), 1, "{events:?}");
        assert!(skips(&events)[0].ends_with("it was cancelled by hand"));
        let starts = events.iter().filter(|event| matches!(event, Event::NodeStarted { .. })).count();
        assert_eq!(starts, if cancelled_is_first { 2 } else { 1 });
    }
}

#[test]
fn a_cancelled_name_that_waits_for_another_is_told_before_that_one_ends() {
    let nodes = format!(r#""a": Count(to: {FOR_EVER}), "b": Count(to: {FOR_EVER})"#);
    let (outcome, _) = steered(&session(), &nodes, options(2), |run| {
        run.until(|event| matches!(event, Event::Progress { done: 1.., .. }));
        let Some(Event::Progress { node, .. }) = run.seen.last() else { panic!("{:?}", run.seen) };
        let (flying, waiting) = if node == "a" { ("a", "b") } else { ("b", "a") };
        run.control.cancel(waiting);
        run.until(|event| matches!(event, Event::NodeSkipped { node, .. } if node == waiting));
        run.control.cancel(flying);
    });
    assert_eq!(outcome.status, Status::Cancelled);
}

#[test]
fn a_cancelled_node_that_has_its_result_changes_nothing_for_those_who_read_it() {
    // What an instant node gives is made again for who reads it.
    let shop = Workshop::new();
    let nodes = r#""a": Give(value: 1), "c": Count(to: 100), "sum": Add(numbers: ["a", "c"])"#;
    let (outcome, events) = steered(&shop.session(), nodes, options(1), |run| {
        run.until_counting("c");
        run.control.cancel("a");
    });
    assert_eq!(outcome.status, Status::Done, "{events:?}");
    assert_eq!(number(&outcome, "sum"), Some(101.0));
}

#[test]
fn a_pause_holds_nodes_at_their_next_step_and_lets_none_start() {
    let nodes = r#""a": Count(to: 500), "b": Say(number: "a"), "c": Count(to: 501), "d": Number(value: 1)"#;
    let (outcome, events) = steered(&session(), nodes, options(2), |run| {
        run.until_counting("a");
        run.control.pause();
        run.until(|event| *event == Event::Paused);
        assert_held(run);
        run.control.resume();
        run.until(|event| *event == Event::Resumed);
    });
    assert_eq!(outcome.status, Status::Done);
    assert!(events.iter().any(|event| matches!(event, Event::NodeFinished { node, .. } if node == "d")));
}

#[test]
fn a_run_that_begins_in_a_pause_says_so_and_starts_nothing() {
    let ready_nodes = r#""a": Number(value: 1)"#;
    let session = session();
    let ready = crate::kit::ready(&session, ready_nodes, crate::Wanted::default());
    let (events, receiver) = crate::Events::channel();
    let run = super::Run { events, ..super::Run::new(&ready, &session) };
    run.control.pause();
    let control = run.control.clone();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run.execute().status);
        std::thread::sleep(A_MOMENT);
        let told: Vec<_> = receiver.try_iter().map(|record| record.event).collect();
        assert_eq!(told[1], Event::Paused);
        assert!(!told.iter().any(|event| matches!(event, Event::NodeStarted { .. })), "{told:?}");
        control.resume();
        assert_eq!(running.join().unwrap(), Status::Done);
    });
}

#[test]
fn the_time_of_a_pause_is_not_the_nodes() {
    let began = Instant::now();
    let (_, events) = steered(&session(), r#""a": Count(to: 100)"#, options(1), |run| {
        run.until_counting("a");
        run.control.pause();
        std::thread::sleep(Duration::from_secs(2));
        run.control.resume();
    });
    let seconds = events.iter().find_map(|event| match event {
        Event::NodeFinished { seconds, .. } => Some(*seconds),
        _ => None,
    });
    let all = began.elapsed().as_secs_f64();
    assert!(seconds.unwrap() < all - 1.9, "{seconds:?} of {all}");
}

#[test]
fn a_paused_run_stops_at_once_when_it_is_asked_to() {
    let nodes = counting(r#""b": Say(number: "a"), "c": Number(value: 1), "d": Say(number: "c")"#);
    let mut asked = Instant::now();
    let (outcome, events) = steered(&session(), &nodes, options(1), |run| {
        run.until_counting("a");
        run.control.pause();
        let _ = run.in_the_next(A_MOMENT);
        asked = Instant::now();
        run.stop.ask();
    });
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(outcome.status, Status::Cancelled);
    assert_eq!(skips(&events)[0], "a: the run was cancelled");
}

#[test]
fn a_node_is_cancelled_during_a_pause_and_the_others_stay_held() {
    let nodes = counting(r#""b": Say(number: "a"), "c": Count(to: 200)"#);
    let (outcome, _) = steered(&session(), &nodes, options(2), |run| {
        run.until_counting("a");
        run.control.pause();
        let _ = run.in_the_next(A_MOMENT);
        run.control.cancel("a");
        run.until(|event| matches!(event, Event::NodeSkipped { node, .. } if node == "b"));
        assert_held(run);
        run.control.resume();
    });
    assert_eq!((outcome.status, number(&outcome, "c")), (Status::Partial, Some(200.0)));
}

#[test]
fn a_wish_is_met_once_by_the_node_that_it_is_for() {
    let nodes = r#""a": Count(to: 300), "b": Count(to: 301)"#;
    let (_, events) = steered(&session(), nodes, options(2), |run| {
        run.until_counting("a");
        assert!(run.control.ask("a", Wish::Checkpoint));
        run.until(|event| matches!(event, Event::Checkpoint { .. }));
        assert!(run.control.ask("a", Wish::Sample));
        assert!(!run.control.ask("nobody", Wish::Sample));
    });
    let met = events.iter().filter_map(|event| match event {
        Event::Checkpoint { node, .. } => Some(format!("checkpoint of {node}")),
        Event::Preview { node, .. } => Some(format!("preview of {node}")),
        _ => None,
    });
    assert_eq!(met.collect::<Vec<_>>(), ["checkpoint of a", "preview of a"]);
}
