//! What happens when a graph runs, told by its events.

use proptest::prelude::*;

use crate::kit::{Workshop, number, options, run, run_in, run_with_stop, session, told};
use crate::store::Cost;
use crate::{
    Before, Diagnostic, Document, Event, Events, Graph, KeyParts, Made, Options, Ready, Run, Status, Stop,
    Wanted, read_ron,
};

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
    #![proptest_config(ProptestConfig::with_cases(2000))]

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

// What is stored decides what runs.

const STORY: &str = r#"
    "a": Number(value: 1), "b": Number(value: 2),
    "sum": Add(numbers: ["a", "b"]), "out": Write(number: "sum", path: "out.txt")"#;

#[test]
fn what_ran_once_is_kept_and_an_effect_is_started_again() {
    let shop = Workshop::new();
    assert_eq!(shop.told(STORY), ["ran a", "ran b", "ran out", "ran sum"]);
    assert_eq!(shop.told(STORY), ["kept a", "kept b", "ran out", "kept sum"]);
    assert_eq!(std::fs::read_to_string(shop.path("out.txt")).unwrap(), "3");
}

#[test]
fn a_changed_number_runs_what_depends_on_it_and_says_why() {
    let shop = Workshop::new();
    shop.run(STORY);
    let changed = STORY.replace("value: 2", "value: 5");
    let session = shop.session();
    let ready =
        Ready::unchecked(crate::kit::graph(&changed, &[], &session.registry).unwrap(), Wanted::default());
    let keys = std::collections::HashMap::from([("b", 2.0)]);
    let made = |name: &str| {
        let parameters = serde_json::json!({"value": keys.get(name)?, "file": null});
        Some(Made {
            parts: KeyParts::new("Number", 1, 1, parameters, session.settings),
            cost: Cost::default(),
        })
    };
    let (events, receiver) = Events::channel();
    Run { before: Before::new(made), events, ..Run::new(&ready, &session) }.execute();
    let miss = |record: crate::Record| match record.event {
        Event::CacheMiss { node, why, .. } => Some(format!("{node}: {why}")),
        _ => None,
    };
    let misses: Vec<_> = receiver.iter().filter_map(miss).collect();
    assert_eq!(misses, ["b: `value` is 5.0, was 2.0", "sum: it has not run before"]);
    assert_eq!(shop.told(&changed), ["kept a", "kept b", "ran out", "kept sum"]);
    assert_eq!(std::fs::read_to_string(shop.path("out.txt")).unwrap(), "6");
}

#[test]
fn names_comments_and_order_decide_nothing() {
    let shop = Workshop::new();
    shop.run(STORY);
    let written_otherwise = r#"// the same numbers
        "writer": Write(number: "total", path: "out.txt"),
        "total": Add(more: None, numbers: ["one", "two"]), /* in another order */
        "two": Number(value: 2.0), "one": Number(value: 1)"#;
    assert_eq!(shop.told(written_otherwise), ["kept one", "kept total", "kept two", "ran writer"]);
}

#[test]
fn an_upstream_that_gives_the_same_again_changes_nothing_below() {
    let shop = Workshop::new();
    let graph = |value: i32| {
        format!(r#""a": Number(value: {value}), "s": Sign(number: "a"), "sum": Add(numbers: ["s"])"#)
    };
    assert_eq!(shop.told(&graph(1)), ["ran a", "ran s", "ran sum"]);
    assert_eq!(shop.told(&graph(2)), ["ran a", "ran s", "kept sum"]);
}

#[test]
fn the_bytes_of_a_file_decide_and_not_its_time() {
    let shop = Workshop::new();
    let graph = r#""a": Number(value: 1, file: "note.txt")"#;
    std::fs::write(shop.path("note.txt"), "one").unwrap();
    assert_eq!(shop.told(graph), ["ran a"]);
    std::fs::write(shop.path("note.txt"), "one").unwrap();
    assert_eq!(shop.told(graph), ["kept a"]);
    std::fs::write(shop.path("note.txt"), "two").unwrap();
    assert_eq!(shop.told(graph), ["ran a"]);
}

#[test]
fn what_was_made_from_other_bytes_than_its_key_says_is_not_stored() {
    let shop = Workshop::new();
    std::fs::write(shop.path("note.txt"), "one").unwrap();
    let graph = r#""a": Overtaken(file: "note.txt")"#;
    let (outcome, events) = shop.run(graph);
    assert_eq!(outcome.status, Status::Done);
    let is_told = |event: &Event| matches!(event, Event::Warning { message, .. } if message.contains("was changed while it ran"));
    assert!(events.iter().any(is_told), "{events:?}");
    std::fs::write(shop.path("note.txt"), "one").unwrap();
    assert_eq!(shop.told(graph), ["ran a"]);
    // What it writes is there already now.
    assert_eq!(shop.told(graph), ["ran a"]);
    assert_eq!(shop.told(graph), ["kept a"]);
}

#[test]
fn what_reads_a_large_file_is_stored_even_if_that_was_just_saved() {
    let shop = Workshop::new();
    let graph = r#""a": Number(value: 1, file: "large.bin")"#;
    std::fs::write(shop.path("large.bin"), vec![1; 3 << 20]).unwrap();
    let (_, events) = shop.run(graph);
    let is_warning = |event: &Event| matches!(event, Event::Warning { .. });
    assert!(!events.iter().any(is_warning), "{events:?}");
    assert_eq!(shop.told(graph), ["kept a"]);
}

#[test]
fn raised_numerics_run_everything_again() {
    let mut shop = Workshop::new();
    shop.run(STORY);
    shop.numerics = 2;
    assert_eq!(shop.told(STORY), ["ran a", "ran b", "ran out", "ran sum"]);
}

#[test]
fn two_nodes_of_one_meaning_run_once() {
    let shop = Workshop::new();
    let told = shop.told(r#""a": Number(value: 1), "b": Number(value: 1), "c": Number(value: 1)"#);
    assert_eq!(told.iter().filter(|line| line.starts_with("ran")).count(), 1, "{told:?}");
}

#[test]
fn what_an_instant_node_gives_is_not_stored_and_made_again_without_a_word() {
    let shop = Workshop::new();
    let graph = |more: &str| format!(r#""a": Give(value: 1), "sum": Add(numbers: ["a"]{more})"#);
    assert_eq!(shop.told(&graph("")), ["ran a", "ran sum"]);
    assert_eq!(shop.values().len(), 1);
    assert_eq!(shop.told(&graph(", more: \"a\"")), ["kept a", "ran sum"]);
}

#[test]
fn a_damaged_result_is_found_when_it_is_needed_and_runs_again() {
    let shop = Workshop::new();
    let graph = r#""a": Number(value: 1), "out": Write(number: "a", path: "out.txt")"#;
    shop.run(graph);
    for path in shop.values() {
        std::fs::write(path, [0; 8]).unwrap();
    }
    let (outcome, events) = shop.run(graph);
    assert_eq!(outcome.status, Status::Done);
    let is_told =
        |event: &Event| matches!(event, Event::Warning { message, .. } if message.contains("is damaged"));
    assert!(events.iter().any(is_told), "{events:?}");
    assert_eq!(std::fs::read_to_string(shop.path("out.txt")).unwrap(), "1");
    assert_eq!(shop.told(graph), ["kept a", "ran out"]);
    assert!(!shop.run(graph).1.iter().any(is_told));
}

#[test]
fn a_warning_is_told_again_when_the_result_is_kept() {
    let shop = Workshop::new();
    for _ in 0..2 {
        let (_, events) = shop.run(r#""a": Number(value: -1)"#);
        let warnings = events
            .iter()
            .filter(|event| matches!(event, Event::Warning { message, .. } if message == "it is negative"));
        assert_eq!(warnings.count(), 1);
    }
}

#[test]
fn only_what_a_target_needs_runs_and_what_is_forced_runs_again() {
    let mut shop = Workshop::new();
    shop.wanted.targets = vec!["b".into()];
    assert_eq!(shop.told(STORY), ["ran b"]);
    shop.wanted = Wanted { force: vec!["a".into()], ..Wanted::default() };
    assert_eq!(shop.told(STORY), ["ran a", "kept b", "ran out", "ran sum"]);
    shop.wanted = Wanted { force: vec!["a".into()], ..Wanted::default() };
    assert_eq!(shop.told(STORY), ["ran a", "kept b", "ran out", "kept sum"]);
    shop.wanted = Wanted { from: vec!["a".into()], ..Wanted::default() };
    assert_eq!(shop.told(STORY), ["ran a", "kept b", "ran out", "ran sum"]);
}

#[test]
fn what_does_not_depend_on_a_failure_goes_on_if_it_is_told_to() {
    let nodes = r#""a": Give(value: 1, ending: Failing), "s": Say(number: "a"), "b": Number(value: 2)"#;
    let keep_going = Options { keep_going: true, ..options(1) };
    let (outcome, events) = run_in(&session(), nodes, Wanted::default(), keep_going, Stop::default());
    assert_eq!(outcome.status, Status::Partial);
    let told = story(&events);
    assert!(told.contains(&"finished b".to_owned()), "{told:?}");
    assert!(told.contains(&"skipped s: it reads `a`, which gave no result".to_owned()), "{told:?}");
    let (outcome, _) = run_in(
        &session(),
        r#""a": Give(value: 1, ending: Failing)"#,
        Wanted::default(),
        keep_going,
        Stop::default(),
    );
    assert_eq!(outcome.status, Status::Failed);
}

#[test]
#[cfg(unix)]
fn a_store_that_cannot_be_written_still_serves_and_the_rest_runs() {
    use std::os::unix::fs::PermissionsExt as _;
    let shop = Workshop::new();
    shop.run(r#""a": Number(value: 1)"#);
    let mut folders = vec![shop.path(".flow")];
    let mut at = 0;
    while at < folders.len() {
        folders.extend(
            std::fs::read_dir(&folders[at])
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_dir()),
        );
        at += 1;
    }
    let set = |mode: u32| {
        folders
            .iter()
            .for_each(|path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap());
    };
    set(0o555);
    if std::fs::write(shop.path(".flow/probe"), "").is_ok() {
        println!("skipped: this user may write anywhere; tests/flow_tests/store.rs mounts a read-only store");
        return set(0o755);
    }
    let told = shop.told(r#""a": Number(value: 1), "b": Number(value: 2)"#);
    set(0o755);
    assert_eq!(told, ["kept a", "ran b"]);
}

/// One step of a random graph: which earlier nodes it adds up, and a number of its own.
fn random_graphs() -> impl Strategy<Value = Vec<(Vec<usize>, u8)>> {
    prop::collection::vec((prop::collection::vec(0usize..12, 0..3), 0u8..3), 1..12)
}

/// A graph whose nodes read only earlier ones.
fn graph_of(steps: &[(Vec<usize>, u8)]) -> String {
    let node = |(at, (reads, value)): (usize, &(Vec<usize>, u8))| {
        let reads: Vec<_> =
            reads.iter().filter(|_| at > 0).map(|read| format!("\"n{}\"", read % at)).collect();
        match reads.is_empty() {
            true => format!("\"n{at}\": Number(value: {value})"),
            false => format!("\"n{at}\": Add(numbers: [{}])", reads.join(", ")),
        }
    };
    steps.iter().enumerate().map(node).collect::<Vec<_>>().join(", ")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_edits_never_give_a_stale_result(
        graphs in prop::collection::vec(random_graphs(), 2..5),
        jobs in 1usize..4,
    ) {
        let shop = Workshop::new();
        for graph in graphs {
            let nodes = graph_of(&graph);
            let (with_store, _) = run_in(&shop.session(), &nodes, Wanted::default(), options(jobs), Stop::default());
            let (without, _) = run_in(&session(), &nodes, Wanted::default(), options(jobs), Stop::default());
            prop_assert_eq!(with_store.digests, without.digests);
        }
    }
}
