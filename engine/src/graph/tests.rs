//! Which graphs are refused, and what a graph that is not looks like.

use proptest::prelude::*;

use crate::kit::{graph, mistakes, registry};

#[test]
fn a_wire_of_another_type_is_told_with_who_gives_the_right_one() {
    let nodes = r#""a": Give(value: 1), "s": Say(number: "a"), "t": Add(numbers: ["a", "s"])"#;
    assert_eq!(
        mistakes(nodes, &[]),
        ["\"s\": `numbers[1]` takes a Number, but `s` gives Text (`a` gives Number)"]
    );
}

#[test]
fn a_missing_node_is_told_with_the_nearest_name() {
    let nodes = r#""numbers": Give(value: 1), "s": Say(number: "number")"#;
    assert_eq!(mistakes(nodes, &[]), ["\"number\": there is no node `number` (did you mean `numbers`?)"]);
}

#[test]
fn a_wire_to_itself_is_told() {
    assert_eq!(
        mistakes(r#""a": Add(numbers: ["a"])"#, &[]),
        ["\"a\": `numbers[0]` of `a` is a wire to itself"]
    );
}

#[test]
fn a_cycle_is_told_by_the_names_along_it() {
    let nodes = r#""x": Give(value: 1), "a": Add(numbers: ["x", "c"]), "b": Add(numbers: ["a"]), "c": Add(numbers: ["b"]), "d": Add(numbers: ["c"])"#;
    assert_eq!(
        mistakes(nodes, &[]),
        ["\"c\": these nodes wait for each other: `a` -> `b` -> `c` -> `a` (take one of these wires out)"]
    );
}

#[test]
fn a_number_out_of_range_or_not_finite_is_told() {
    assert_eq!(
        mistakes(r#""a": Give(value: 101)"#, &[]),
        ["101: `value` must be from 0 to 100, and is 101.0"]
    );
    assert_eq!(mistakes(r#""a": Give(value: NaN)"#, &[]), ["NaN: `value` must be a finite number"]);
}

#[test]
fn a_graph_prints_as_ron_that_reads_back_as_the_same_graph() {
    let registry = registry();
    let nodes = r#""z": Give(value: 3), "a": Add(numbers: ["z"], more: "z", how: Weighted(factor: 2)), "s \"q\"": Say(number: "a")"#;
    let first = graph(nodes, &[], &registry).unwrap_or_else(|problems| panic!("{problems:?}"));
    let text = first.to_ron().unwrap();
    let source = crate::read_ron(crate::Document::new("again.ron", text.clone()), &[], &registry);
    let second =
        crate::Graph::new(source, &registry).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
    assert_eq!(second.to_ron().unwrap(), text);
    let parts = |graph: &crate::Graph<'_>| {
        graph
            .nodes()
            .map(|node| (node.name().to_owned(), node.parameters.clone(), node.inputs.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(parts(&first), parts(&second));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_order_of_a_random_graph_respects_its_wires(wires in proptest::collection::vec((1usize..40, 0usize..40), 0..120)) {
        let mut inputs = vec![Vec::new(); 40];
        for (reader, upstream) in wires {
            inputs[reader].push(format!("\"n{}\"", upstream % reader));
        }
        // Backwards, so that the order of the file is of no help.
        let nodes: Vec<_> = inputs.iter().enumerate().rev().map(|(index, wires)| format!("\"n{index}\": Add(numbers: [{}])", wires.join(","))).collect();
        let registry = registry();
        let graph = graph(&nodes.join(",\n"), &[], &registry).unwrap_or_else(|problems| panic!("{problems:?}"));
        let order: Vec<_> = graph.nodes().map(|node| node.name().to_owned()).collect();
        prop_assert_eq!(order.len(), 40);
        for node in graph.nodes() {
            let at = order.iter().position(|name| name == node.name());
            for upstream in node.upstreams() {
                prop_assert!(order.iter().position(|name| name == upstream) < at);
            }
        }
    }
}
