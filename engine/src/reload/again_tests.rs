//! What happens to a live run when somebody cancels a part of it and asks for it again.

use super::tests::{Edited, live};
use super::*;

/// Runs a graph that nobody edits.
fn steered(nodes: &str, test: impl FnOnce(&mut Edited<'_>)) {
    live(nodes, true, Wanted::default(), |_| true, test);
}

fn counting(to: u32) -> String {
    format!(r#""a": Count(to: {to}), "b": Number(value: 2), "sum": Add(numbers: ["a", "b"])"#)
}

/// Waits until a node takes steps.
fn until_counting(graph: &mut Edited<'_>, name: &str) {
    graph.until(|event| matches!(event, Event::Progress { node, done: 1.., .. } if node == name));
}

#[test]
fn what_was_cancelled_and_skipped_runs_again_and_the_rest_is_kept() {
    steered(&counting(400), |graph| {
        until_counting(graph, "a");
        graph.control.cancel("a");
        let told = graph.until_finished();
        assert_eq!(told.last().unwrap(), "Partial");
        graph.control.run_again(None);
        assert_eq!(graph.until_finished(), ["ran a", "kept b", "ran sum", "Done"]);
    });
}

#[test]
fn what_failed_runs_again() {
    let nodes = r#""b": Number(value: 2), "a": Add(numbers: ["b"], fail: true), "s": Say(number: "a")"#;
    steered(nodes, |graph| {
        assert_eq!(graph.until_finished(), ["ran a", "ran b", "skipped s", "Failed"]);
        graph.control.run_again(None);
        assert_eq!(graph.until_finished(), ["ran a", "kept b", "skipped s", "Failed"]);
    });
}

#[test]
fn a_node_that_is_named_runs_again_with_what_depends_on_it_though_results_are_stored() {
    let nodes = r#""a": Number(value: 1), "b": Number(value: 2), "sum": Add(numbers: ["a", "b"])"#;
    steered(nodes, |graph| {
        graph.until_finished();
        graph.control.run_again(Some("a".to_owned()));
        assert_eq!(graph.until_finished(), ["ran a", "kept b", "ran sum", "Done"]);
        // Once, and not in every generation from now on.
        graph.control.run_again(None);
        assert_eq!(graph.until_finished(), ["kept a", "kept b", "kept sum", "Done"]);
        graph.control.run_again(Some("nobody".to_owned()));
        graph.until(|event| matches!(event, Event::Warning { message, .. } if message.contains("`nobody`")));
    });
}

#[test]
fn what_was_forced_and_cancelled_is_forced_again() {
    steered(&counting(400), |graph| {
        graph.until_finished();
        graph.control.run_again(Some("a".to_owned()));
        until_counting(graph, "a");
        graph.control.cancel("a");
        assert_eq!(graph.until_finished().last().unwrap(), "Partial");
        graph.control.run_again(None);
        assert_eq!(graph.until_finished(), ["ran a", "kept b", "ran sum", "Done"]);
    });
}

#[test]
fn an_edit_elsewhere_lets_a_forced_node_go_on() {
    steered(&counting(1500), |graph| {
        graph.until_finished();
        graph.control.run_again(Some("a".to_owned()));
        until_counting(graph, "a");
        graph.save(&counting(1500).replace("value: 2", "value: 3"));
        graph.until(|event| matches!(event, Event::GraphReloaded { .. }));
        graph.until(|event| matches!(event, Event::NodeFinished { node, .. } if node == "a"));
        assert_eq!(graph.until_finished().last().unwrap(), "Done");
    });
}

#[test]
fn what_runs_goes_on_while_what_was_cancelled_starts_again() {
    let nodes = r#""a": Count(to: 4000000000), "b": Count(to: 300)"#;
    steered(nodes, |graph| {
        until_counting(graph, "b");
        graph.control.cancel("a");
        graph.until(|event| matches!(event, Event::NodeSkipped { node, .. } if node == "a"));
        graph.control.run_again(None);
        graph.until_started("a");
        graph.until(|event| matches!(event, Event::CacheHit { node, .. } if node == "b"));
        let starts = |event: &&Event| matches!(event, Event::NodeStarted { node, .. } if node == "b");
        assert_eq!(graph.seen.iter().filter(starts).count(), 1);
    });
}

#[test]
fn an_edit_that_takes_effect_lets_a_cancelled_node_run_again() {
    steered(&counting(400), |graph| {
        until_counting(graph, "a");
        graph.control.cancel("a");
        graph.until_finished();
        graph.save(&counting(400).replace("value: 2", "value: 3"));
        assert_eq!(graph.until_finished(), ["edited +[] ~[b sum] -[]", "ran a", "ran b", "ran sum", "Done"]);
    });
}

#[test]
fn a_pause_lasts_over_an_edit_and_ends_in_the_new_generation() {
    steered(&counting(4_000_000_000), |graph| {
        until_counting(graph, "a");
        graph.control.pause();
        graph.until(|event| *event == Event::Paused);
        graph.save(&counting(5));
        graph.until(|event| matches!(event, Event::GraphReloaded { .. }));
        thread::sleep(Duration::from_millis(150));
        graph.control.resume();
        let told = graph.until_finished();
        assert!(told.contains(&"ran sum".to_owned()), "{told:?}");
        let at = |is_it: &dyn Fn(&Event) -> bool| graph.seen.iter().position(is_it).unwrap();
        let of_sum = |event: &Event| matches!(event, Event::NodeStarted { node, .. } if node == "sum");
        assert!(at(&|event| *event == Event::Resumed) < at(&of_sum));
    });
}

#[test]
fn a_node_that_an_edit_has_renamed_can_be_cancelled_under_its_new_name() {
    steered(r#""old": Count(to: 4000000000)"#, |graph| {
        until_counting(graph, "old");
        graph.save(r#""new": Count(to: 4000000000)"#);
        graph.until(|event| matches!(event, Event::NodeQueued { node } if node == "new"));
        thread::sleep(Duration::from_millis(100));
        graph.control.cancel("new");
        assert_eq!(graph.until_finished(), ["skipped new", "Cancelled"]);
        // What ran it for nobody else stops too.
        graph.control.run_again(None);
        graph.until_started("new");
    });
}

#[test]
fn a_graph_that_nobody_watches_is_read_when_somebody_asks_to_run_again() {
    let numbers = |value: u32| format!(r#""a": Number(value: {value})"#);
    live(
        &numbers(1),
        false,
        Wanted::default(),
        |_| true,
        |graph| {
            assert_eq!(graph.until_finished(), ["ran a", "Done"]);
            graph.save(&numbers(2));
            thread::sleep(4 * DEBOUNCE);
            graph.control.run_again(None);
            assert_eq!(graph.until_finished(), ["edited +[] ~[a] -[]", "ran a", "Done"]);
            for _ in 0..2 {
                graph.save("\"a\": Number(");
                graph.control.run_again(None);
                graph.until(|event| matches!(event, Event::GraphRejected { .. }));
            }
            graph.save(&numbers(2));
            graph.control.run_again(None);
            assert_eq!(graph.until_finished(), ["kept a", "Done"]);
        },
    );
}

#[test]
fn a_node_that_is_no_target_runs_when_it_is_named() {
    let nodes = r#""a": Number(value: 1), "b": Number(value: 2)"#;
    let wanted = Wanted { targets: vec!["a".to_owned()], ..Wanted::default() };
    live(
        nodes,
        true,
        wanted,
        |_| true,
        |graph| {
            assert_eq!(graph.until_finished(), ["ran a", "Done"]);
            graph.control.run_again(Some("b".to_owned()));
            assert_eq!(graph.until_finished(), ["kept a", "ran b", "Done"]);
        },
    );
}
