//! The same graph in other words: whatever decides no result changes no key.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::kit::Workshop;
use crate::plan::Before;
use crate::{Digest, Events, Graph, Ready, Session, Stop, Wanted};

/// A node: how its number is made, the nodes before it that it reads, and a comment on it.
#[derive(Debug, Clone)]
struct Made {
    value: f64,
    reads: Vec<usize>,
    factor: Option<u8>,
    comment: String,
    /// Where it stands in the other order.
    rank: u32,
}

fn made() -> impl Strategy<Value = Made> {
    let value = prop_oneof![any::<i16>().prop_map(f64::from), -1e3..1e3, Just(1e-7), Just(-0.0)];
    let parts = (value, prop::collection::vec(0_usize..100, 0..3), any::<Option<u8>>(), "[a-z\"({*é]{0,9}");
    (parts, any::<u32>()).prop_map(|((value, reads, factor, comment), rank)| Made {
        value,
        reads,
        factor,
        comment,
        rank,
    })
}

/// The nodes that one reads, by their positions.
fn reads(at: usize, node: &Made) -> Vec<usize> {
    if at == 0 { Vec::new() } else { node.reads.iter().map(|read| read % at).collect() }
}

/// A node as a graph file has it, with its fields in one of two orders.
fn ron(at: usize, node: &Made, is_turned: bool) -> String {
    let names: Vec<String> = reads(at, node).iter().map(|read| format!("\"n {read}\"")).collect();
    if names.is_empty() {
        return format!("\"n {at}\": Number(value: {:?})", node.value);
    }
    let how = node.factor.map_or("Sum".to_owned(), |factor| format!("Weighted(factor: {factor})"));
    let fields = [format!("numbers: [{}]", names.join(",")), format!("how: {how}")];
    let [first, second] = if is_turned { [&fields[1], &fields[0]] } else { [&fields[0], &fields[1]] };
    format!("\"n {at}\": Add({first}, {second})")
}

/// A node as a script makes it.
fn rhai(at: usize, node: &Made) -> String {
    let names: Vec<String> = reads(at, node).iter().map(|read| format!("n{read}")).collect();
    let made = match (names.is_empty(), node.factor) {
        (true, _) => format!("Number(#{{ value: {:?} }})", node.value),
        (false, None) => format!("[{}].Add(#{{ how: \"Sum\" }})", names.join(", ")),
        (false, Some(factor)) => {
            format!("Add(#{{ numbers: [{}], how: Weighted(#{{ factor: {factor} }}) }})", names.join(", "))
        }
    };
    format!("let n{at} = {made}.named(\"n {at}\"); // {}\n", node.comment)
}

fn file(nodes: impl Iterator<Item = String>) -> String {
    format!("Graph(nodes: {{\n{}\n}})", nodes.collect::<Vec<_>>().join(",\n"))
}

/// The same file backwards or somehow, with comments and with its fields turned.
fn in_other_words(nodes: &[Made]) -> String {
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|&at| nodes[at].rank);
    file(
        order
            .iter()
            .map(|&at| format!("// {}\n\n{} /* here */", nodes[at].comment, ron(at, &nodes[at], true))),
    )
}

fn keys(session: &Session, source: Source<'_>) -> BTreeMap<String, Option<Digest>> {
    let graph = Graph::new(source, &session.registry).unwrap_or_else(|problems| panic!("{problems:?}"));
    let ready = Ready::unchecked(graph, Wanted::default());
    let plan = ready.plan(session, &Before::nothing(), &Events::silent(), &Stop::default());
    plan.nodes.into_iter().map(|node| (node.node, node.key)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_graph_has_the_same_keys_in_any_order_layout_and_language(
        nodes in prop::collection::vec(made(), 1..12),
    ) {
        let shop = Workshop::new();
        let text = file(nodes.iter().enumerate().map(|(at, node)| ron(at, node, false)));
        // Keys of what reads others are known when these have run.
        shop.run(text.trim_start_matches("Graph(nodes: {").trim_end_matches("})"));
        let session = shop.session();
        let read = |text: &str| read_ron(Document::new("a.ron", text), &[], &session.registry);
        let expected = keys(&session, read(&text));
        prop_assert!(expected.values().all(Option::is_some), "{expected:?}");

        let graph = Graph::new(read(&text), &session.registry).map_err(|problems| TestCaseError::fail(format!("{problems:?}")))?;
        let written = graph.to_ron().map_err(|error| TestCaseError::fail(error.to_string()))?;
        let script: String = nodes.iter().enumerate().map(|(at, node)| rhai(at, node)).collect();
        let script = Document::new("a.rhai", script);
        let folders = ScriptFolders { script: PathBuf::new(), project: PathBuf::new() };
        let expanded = expand_script(&script, &folders, &[], &session.registry).expect("it fits together");
        for same in [in_other_words(&nodes), format(&text).expect("a layout"), format(&written).expect("a layout"), written, expanded] {
            prop_assert_eq!(keys(&session, read(&same)), expected.clone(), "{}", same);
        }
        prop_assert_eq!(keys(&session, read_script(script, &folders, &[], &session.registry)), expected);
    }
}
