//! What a plan says of a graph before anything starts.

use super::*;
use crate::kit::{Workshop, ready};
use crate::store::Cost;
use crate::{Events, Stop};

const NODES: &str = r#"
    "a": Number(value: 1), "b": Number(value: 2),
    "sum": Add(numbers: ["a", "b"]), "out": Write(number: "sum", path: "out.txt")"#;

/// Per node: its name, its state and why.
fn lines(plan: &Plan) -> Vec<String> {
    let state = |node: &PlannedNode| format!("{:?}", node.state).to_lowercase();
    plan.nodes.iter().map(|node| format!("{} {}: {}", node.node, state(node), node.why)).collect()
}

fn plan(shop: &Workshop, nodes: &str, before: &Before<'_>) -> Plan {
    let session = shop.session();
    ready(&session, nodes, shop.wanted.clone()).plan(&session, before, &Events::silent(), &Stop::default())
}

fn planned(shop: &Workshop, nodes: &str) -> Vec<String> {
    lines(&plan(shop, nodes, &Before::nothing()))
}

#[test]
fn what_never_ran_runs_and_what_reads_it_depends_on_it() {
    let expected = [
        "a run: it has not run before",
        "b run: it has not run before",
        "sum depends: on what `a` and `b` give",
        "out volatile: it writes, and only where bytes differ",
    ];
    assert_eq!(planned(&Workshop::new(), NODES), expected);
}

#[test]
fn what_is_stored_is_a_hit_and_a_change_is_followed_downwards_as_far_as_it_may_go() {
    let shop = Workshop::new();
    shop.run(NODES);
    let kept =
        ["a hit: its result is stored", "b hit: its result is stored", "sum hit: its result is stored"];
    assert_eq!(planned(&shop, NODES)[..3], kept);
    let changed = planned(&shop, &NODES.replace("value: 2", "value: 3"));
    assert_eq!(changed[0], kept[0]);
    assert_eq!(changed[2], "sum depends: on what `b` gives");
}

#[test]
fn a_reason_names_what_changed_from_what_to_what() {
    let shop = Workshop::new();
    let made = |name: &str| {
        let parts = plan(&shop, NODES, &Before::nothing()).explanation(name)?.parts.clone();
        Some(Made { parts, cost: Cost::default() })
    };
    let changed = NODES.replace("value: 1", "value: 4");
    let lines = lines(&plan(&shop, &changed, &Before::new(made)));
    assert_eq!(lines[0], "a run: `value` is 4.0, was 1.0");
    assert_eq!(lines[1], "b run: its result is not stored any more");
}

#[test]
fn only_what_a_target_needs_is_planned_and_what_is_forced_runs() {
    let mut shop = Workshop::new();
    shop.run(NODES);
    shop.wanted = Wanted { targets: vec!["sum".into()], from: vec!["b".into()], ..Wanted::default() };
    let expected = ["a hit: its result is stored", "b run: it is told to", "sum run: it is told to"];
    assert_eq!(planned(&shop, NODES), expected);
}

#[test]
fn a_file_that_cannot_be_read_yet_leaves_its_node_without_a_key() {
    let shop = Workshop::new();
    let plan = plan(&shop, r#""a": Number(value: 1, file: "missing")"#, &Before::nothing());
    assert_eq!(lines(&plan), ["a run: its files are not read yet"]);
    assert_eq!(plan.nodes[0].key, None);
    assert!(!plan.is_settled());
}

#[test]
fn a_settled_plan_is_the_one_that_would_be_made_again() {
    let shop = Workshop::new();
    shop.run(NODES);
    let session = shop.session();
    let ready = crate::kit::ready_to_run(&session, NODES);
    let plans =
        [(); 2].map(|()| ready.plan(&session, &Before::nothing(), &Events::silent(), &Stop::default()));
    assert!(plans[0].is_settled());
    assert_eq!(plans[0].nodes, plans[1].nodes);
    assert_eq!(plans[0].steps.len(), plans[1].steps.len());
}

#[test]
fn an_explanation_has_every_part_of_the_key_and_where_inputs_come_from() {
    let shop = Workshop::new();
    shop.run(NODES);
    let plan = plan(&shop, NODES, &Before::nothing());
    let explained = plan.explanation("sum").unwrap();
    assert_eq!(explained.parts.kind, "Add");
    let inputs: Vec<_> =
        explained.inputs.iter().map(|(input, from, _)| format!("{input} from {from}")).collect();
    assert_eq!(inputs, ["numbers[0] from a", "numbers[1] from b"]);
    assert!(explained.inputs.iter().all(|(_, _, digest)| digest.is_some()) && explained.content.is_some());
    assert!(plan.explanation("nothing").is_none());
}
