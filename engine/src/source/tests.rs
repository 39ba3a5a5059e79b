//! What a graph file may look like, and what is said of one that is wrong.

use crate::kit::{graph, mistakes, registry};

#[test]
fn an_unknown_kind_is_told_with_the_nearest_one() {
    assert_eq!(
        mistakes(r#""a": Giv(value: 1)"#, &[]),
        ["Giv: there is no kind of node named `Giv` (did you mean `Give`?)"]
    );
}

#[test]
fn unknown_missing_and_doubled_fields_are_told_together() {
    assert_eq!(
        mistakes(r#""a": Give(valu: 1, file: "x", file: "y")"#, &[]),
        [
            "Give: `Give` needs the field `value` (write `value: ..`; `flow nodes Give` says what it means)",
            "valu: `Give` has no field `valu` (did you mean `value`?)",
            "file: `file` is written twice",
        ]
    );
}

#[test]
fn a_field_of_a_nested_enum_is_told_too() {
    assert_eq!(
        mistakes(r#""a": Give(value: 1), "b": Add(numbers: ["a"], how: Weighted(facto: 3))"#, &[]),
        ["facto: `how`: `Weighted` has no field `facto` (did you mean `factor`? The fields are `factor`)"]
    );
}

#[test]
fn a_wrong_variant_is_told_with_its_choices() {
    assert_eq!(
        mistakes(r#""a": Give(value: 1), "b": Add(numbers: ["a"], how: Wei(factor: 3))"#, &[]),
        ["Wei: `how`: `Wei` is not one of the choices here (the choices are `Sum`, `Weighted`)"]
    );
}

#[test]
fn a_value_of_the_wrong_type_is_told_at_the_value() {
    assert_eq!(
        mistakes(r#""a": Give(value: "one")"#, &[]),
        ["\"one\": `value` takes a number, from 0 to 100"]
    );
}

#[test]
fn a_doubled_name_is_told_with_both_places() {
    let nodes = "\"a\": Give(value: 1),\n\"a\": Give(value: 2)";
    let registry = registry();
    let problems = graph(nodes, &[], &registry).err().unwrap();
    let [doubled] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(doubled.message, "two nodes are named `a`");
    assert_eq!(doubled.place.as_ref().unwrap().to_string(), "test.ron:3:1");
    assert_eq!(doubled.related.as_ref().unwrap().0.to_string(), "test.ron:2:1");
}

#[test]
fn mistakes_of_several_nodes_are_told_at_once_in_the_order_of_the_file() {
    let nodes =
        r#""c": Say(number: "b"), "a": Give(value: 1, x: 2), "b": Nothing(), "d": Say(number: "zzz")"#;
    assert_eq!(
        mistakes(nodes, &[]),
        [
            "x: `Give` has no field `x` (its fields are value, ending, file)",
            "Nothing: there is no kind of node named `Nothing` (`flow nodes` lists the kinds)",
            "\"zzz\": there is no node `zzz`",
        ]
    );
}

#[test]
fn broken_syntax_is_told_at_its_place() {
    let registry = registry();
    let problems = graph("\"a\": Give(value: 1", &[], &registry).err().unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].place.as_ref().unwrap().to_string(), "test.ron:3:1");
}

#[test]
fn what_is_no_node_is_told() {
    for nodes in [r#""a": 5"#, r#""a": "Give""#, r#"7: Give(value: 1)"#, r#""a": Give"#] {
        assert_eq!(mistakes(nodes, &[]).len(), 1, "{nodes}");
    }
}

#[test]
fn an_override_takes_the_place_of_a_field_or_adds_one() {
    let registry = registry();
    for (nodes, parameters) in [
        (r#""a": Give(value: 1)"#, r#"{"value":7.0,"ending":"Well","file":null}"#),
        (r#""a": Give(value: 1, ending: Failing)"#, r#"{"value":7.0,"ending":"Failing","file":null}"#),
        (r#""a": Give(file: "x")"#, r#"{"value":7.0,"ending":"Well","file":"x"}"#),
        (r#""a": Give()"#, r#"{"value":7.0,"ending":"Well","file":null}"#),
    ] {
        let graph = graph(nodes, &["a.value=7"], &registry)
            .unwrap_or_else(|problems| panic!("{nodes}: {problems:?}"));
        assert_eq!(graph.nodes().next().unwrap().parameters.to_string(), parameters);
    }
}

#[test]
fn of_two_overrides_of_one_field_the_last_counts() {
    let registry = registry();
    for nodes in [r#""a": Give(value: 1)"#, r#""a": Give()"#] {
        let graph = graph(nodes, &["a.value=7", "a.value=8"], &registry)
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(graph.nodes().next().unwrap().parameters["value"], 8.0);
    }
}

#[test]
fn a_choice_in_quotes_and_too_many_brackets_are_told_as_such() {
    let quoted = mistakes(r#""a": Give(value: 1), "b": Add(numbers: ["a"], how: "Sum")"#, &[]);
    assert_eq!(quoted, ["\"Sum\": `how` takes one of `Sum`, `Weighted`, without quotes"]);
    let deep = mistakes(&format!("\"a\": {}", "(".repeat(100_000)), &[]);
    assert_eq!(deep.len(), 1);
    assert!(deep[0].contains("nested too deeply"), "{deep:?}");
}

#[test]
fn each_of_two_equal_wires_is_told_at_its_own_place() {
    let registry = registry();
    let problems = graph(r#""b": Add(numbers: ["z", "z"])"#, &[], &registry).err().unwrap();
    let columns: Vec<_> =
        problems.iter().map(|problem| problem.place.as_ref().unwrap().to_string()).collect();
    assert_eq!(columns, ["test.ron:2:20", "test.ron:2:25"]);
}

#[test]
fn a_mistake_in_an_override_points_at_the_override() {
    assert_eq!(
        mistakes(r#""a": Give(value: 1)"#, &["a.value=\"x\"", "b.value=1", "a.valeu=1"]),
        [
            "a.valeu: `Give` has no field `valeu` (did you mean `value`?)",
            "b.value: there is no node `b` to set (did you mean `a`?)"
        ]
    );
    assert_eq!(
        mistakes(r#""a": Give(value: 1)"#, &["a.value=\"x\""]),
        ["\"x\": `value` takes a number, from 0 to 100"]
    );
}
