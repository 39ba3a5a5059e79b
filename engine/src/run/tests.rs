//! What happens when a graph runs, told by its events.

use proptest::prelude::*;

use crate::kit::{number, run, run_with_stop, session, told};
use crate::{Diagnostic, Document, Event, Graph, Status, Stop, read_ron};

/// The story of a run, one word per event that matters.
fn story(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| match event {
        Event::NodeStarted { node, .. } => Some(format!("started {node}")),
        Event::NodeFinished { node, .. } => Some(format!("finished {node}")),
        Event::NodeFailed { node, diagnostic } => Some(format!("failed {node}: {}", diagnostic.message)),
        Event::NodeSkipped { node, because } => Some(format!("skipped {node}: {because}")),
        Event::RunFinished { status, .. } => Some(format!("{status:?}")),
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

#[test]
fn values_flow_along_the_wires() {
    let (outcome, events) =
        run(r#""c": Add(numbers: ["a", "b"], more: "a"), "a": Give(value: 1), "b": Give(value: 2)"#, 1);
    assert_eq!(number(&outcome, "c"), Some(4.0));
    assert_eq!(
        story(&events),
        ["started a", "finished a", "started b", "finished b", "started c", "finished c", "Done"]
    );
}

#[test]
fn the_plan_comes_first_with_keys_and_wires() {
    let (_, events) = run(r#""s": Say(number: "a"), "a": Give(value: 1)"#, 1);
    assert!(matches!(events[0], Event::RunStarted { nodes: 2, .. }));
    let Event::Plan { nodes } = &events[1] else { panic!("{:?}", events[1]) };
    assert_eq!(nodes.iter().map(|node| node.node.as_str()).collect::<Vec<_>>(), ["a", "s"]);
    assert_eq!(nodes[1].inputs, ["a"]);
    assert!(nodes.iter().all(|node| node.key.is_some()));
}

#[test]
fn a_failure_carries_its_place_and_hint_and_skips_what_depends_on_it() {
    let (outcome, events) = run(r#""a": Give(value: 1, ending: Failing), "s": Say(number: "a")"#, 2);
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(
        story(&events),
        [
            "started a",
            "failed a: it was told to fail",
            "skipped s: it reads `a`, which gave no result",
            "Failed"
        ]
    );
    let failed = events.iter().find_map(|event| match event {
        Event::NodeFailed { diagnostic, .. } => Some(diagnostic.clone()),
        _ => None,
    });
    let failed = failed.unwrap();
    assert_eq!((failed.line, failed.column), (Some(2), Some(6)));
    assert_eq!(failed.hint.as_deref(), Some("do not tell it so"));
}

#[test]
fn a_panic_fails_its_node_and_not_the_program() {
    let (outcome, events) = run(r#""a": Give(value: 1, ending: Panicking)"#, 1);
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(story(&events)[1], "failed a: the node panicked: it was told to panic");
}

#[test]
fn after_a_failure_no_node_starts() {
    let (_, events) = run(r#""a": Give(value: 1, ending: Failing), "b": Give(value: 2)"#, 1);
    assert_eq!(story(&events)[2], "skipped b: `a` failed before");
}

#[test]
fn a_run_that_is_stopped_ends_at_the_next_step() {
    let stop = Stop::default();
    let asker = stop.clone();
    let asking = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        asker.ask();
    });
    let (outcome, events) =
        run_with_stop(r#""a": Give(value: 1, ending: Waiting), "s": Say(number: "a")"#, 2, stop);
    asking.join().unwrap();
    assert_eq!(outcome.status, Status::Cancelled);
    assert_eq!(story(&events)[1], "skipped a: the run was cancelled");
}

#[test]
fn a_seed_changes_keys_downstream_and_a_comment_does_not() {
    let key_of = |nodes: &str| {
        let (_, events) = run(nodes, 1);
        events.into_iter().find_map(|event| match event {
            Event::NodeStarted { node, key, .. } if node == "s" => key,
            _ => None,
        })
    };
    let key = key_of(r#""a": Give(value: 1), "s": Say(number: "a")"#);
    assert!(key.is_some());
    assert_eq!(key, key_of("\"s\": Say(number: \"a\"), // said\n\"a\": Give(value: 1.0)"));
    assert_ne!(key, key_of(r#""a": Give(value: 2), "s": Say(number: "a")"#));
    // The upstream differs and gives the same number: the content key stays.
    assert_eq!(key, key_of(r#""a": Give(value: 2, ending: Divided(by: 2)), "s": Say(number: "a")"#));
}

#[test]
fn a_node_is_checked_against_the_results_of_instant_nodes() {
    let nodes = format!(r#""a": Give(value: 100), "b": Add(numbers: [{}])"#, [r#""a""#; 11].join(", "));
    let problems = problems_of(&nodes);
    assert_eq!(problems.len(), 1);
    assert!(told(&problems[0]).ends_with(": that is too much"));
}

#[test]
fn mistakes_of_wires_and_of_values_are_told_together() {
    let nodes = format!(
        r#""a": Give(value: 100), "b": Add(numbers: [{}]), "c": Say(number: "x")"#,
        [r#""a""#; 11].join(", ")
    );
    let problems = problems_of(&nodes);
    assert_eq!(
        problems.iter().map(|problem| problem.node.as_deref()).collect::<Vec<_>>(),
        [Some("b"), Some("c")]
    );
}

/// Everything that is found wrong with a graph before it runs.
fn problems_of(nodes: &str) -> Vec<Diagnostic> {
    let session = session();
    let document = Document::new("test.ron", format!("Graph(nodes: {{{nodes}}})"));
    Graph::checked(read_ron(document, &[], &session.registry), &session).err().unwrap_or_default()
}

#[test]
fn what_is_not_yet_known_is_no_mistake_and_nothing_is_checked_against_it() {
    let eleven = [r#""a""#; 11].join(", ");
    let nodes = format!(r#""a": Give(value: 100, ending: Later), "b": Add(numbers: [{eleven}])"#);
    let session = session();
    let document = Document::new("test.ron", format!("Graph(nodes: {{{nodes}}})"));
    let graph = Graph::checked(read_ron(document, &[], &session.registry), &session)
        .unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(graph.notes.iter().map(told).collect::<Vec<_>>(), ["100: the number comes when it runs"]);
    assert_eq!(number(&run(&nodes, 1).0, "b"), Some(1100.0));
}

#[test]
fn a_mistake_beside_what_is_not_yet_known_is_still_a_mistake() {
    let nodes = r#""a": Give(value: 100, ending: Later), "b": Give(value: 1, ending: Failing)"#;
    assert_eq!(problems_of(nodes).len(), 2);
}

proptest! {
    #[test]
    fn a_random_graph_gives_the_same_numbers_with_any_number_of_jobs(
        wires in proptest::collection::vec((1usize..25, 0usize..25), 0..60),
        jobs in 1usize..6,
    ) {
        let mut inputs = vec![Vec::new(); 25];
        for (reader, upstream) in wires {
            inputs[reader].push(upstream % reader);
        }
        let mut expected: Vec<f64> = Vec::new();
        let mut nodes = Vec::new();
        for (index, inputs) in inputs.iter().enumerate() {
            let names: Vec<_> = inputs.iter().map(|input| format!("\"n{input}\"")).collect();
            nodes.push(match inputs.is_empty() {
                true => format!("\"n{index}\": Give(value: {index})"),
                false => format!("\"n{index}\": Add(numbers: [{}])", names.join(", ")),
            });
            let mut distinct = inputs.clone();
            distinct.sort_unstable();
            let sum = inputs.iter().map(|&input| expected[input]).sum();
            expected.push(if inputs.is_empty() { index as f64 } else { sum });
        }
        let (outcome, events) = run(&nodes.join(",\n"), jobs);
        prop_assert_eq!(outcome.status, Status::Done);
        let started = events.iter().filter(|event| matches!(event, Event::NodeStarted { .. })).count();
        prop_assert_eq!(started, 25);
        for (index, expected) in expected.iter().enumerate() {
            if let Some(found) = number(&outcome, &format!("n{index}")) {
                prop_assert_eq!(found, *expected);
            }
        }
    }
}
