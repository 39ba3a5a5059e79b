//! What must hold of every map.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::node::Node;
use super::super::tests::planned;
use super::{Map, Unit, Zoom};

/// Nodes each of which reads those before it that are named.
fn nodes(wires: &[Vec<usize>]) -> Vec<Node> {
    let name = |at: usize| format!("node {}", char::from(b'a' + (at % 26) as u8)).repeat(1 + at / 26);
    let mut nodes: Vec<Node> =
        (0..wires.len()).map(|at| Node::new(planned(&name(at), "Kind", &[]))).collect();
    for (at, inputs) in wires.iter().enumerate() {
        for &input in inputs {
            nodes[at].inputs.push(input);
            nodes[input].outputs.push(at);
        }
    }
    nodes
}

fn map(wires: &[Vec<usize>], zoom: Zoom) -> Map {
    Map::new(&nodes(wires), &HashSet::new(), Some(zoom), (100, 30))
}

#[test]
fn a_chain_is_one_straight_line() {
    let map = map(&[vec![], vec![0], vec![1]], Zoom::Small);
    assert_eq!(
        map.spots.iter().map(|spot| (spot.layer, spot.y)).collect::<Vec<_>>(),
        [(0, 0), (1, 0), (2, 0)]
    );
    assert!(map.wires.iter().all(|wire| wire.points[0].1 == wire.points[3].1 && wire.has_arrow));
}

#[test]
fn what_reads_one_node_stands_around_it() {
    let map = map(&[vec![], vec![0], vec![0], vec![0]], Zoom::Small);
    assert_eq!(map.spots.iter().map(|spot| spot.y).collect::<Vec<_>>(), [3, 0, 3, 6]);
}

#[test]
fn a_source_stands_next_to_what_reads_it() {
    let map = map(&[vec![], vec![0], vec![], vec![1, 2]], Zoom::Small);
    assert_eq!(map.spots[2].layer, 1);
}

#[test]
fn siblings_fold_in_a_large_graph_and_unfold_when_they_are_asked_to() {
    let wires: Vec<Vec<usize>> = (0..40).map(|at| if at == 0 { vec![] } else { vec![0] }).collect();
    let nodes = nodes(&wires);
    let folded = Map::new(&nodes, &HashSet::new(), None, (100, 30));
    assert_eq!(folded.spots.len(), 2);
    let name = folded.group_of(1).unwrap().name.clone();
    let unfolded = Map::new(&nodes, &HashSet::from([name]), None, (100, 30));
    assert_eq!((unfolded.spots.len(), unfolded.zoom), (40, Zoom::Line));
}

fn wires() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let inputs = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    prop::collection::vec(inputs, 1..60).prop_map(|all| {
        let inputs = |(at, inputs): (usize, Vec<prop::sample::Index>)| {
            let read: HashSet<usize> = match at {
                0 => HashSet::new(),
                at => inputs.iter().map(|input| input.index(at)).collect(),
            };
            let mut read: Vec<usize> = read.into_iter().collect();
            read.sort_unstable();
            read
        };
        all.into_iter().enumerate().map(inputs).collect()
    })
}

proptest! {
    #[test]
    fn nothing_stands_on_anything_else_and_wires_run_from_left_to_right(
        wires in wires(),
        zoom in prop::sample::select(vec![Zoom::Line, Zoom::Small, Zoom::Large]),
    ) {
        let nodes = nodes(&wires);
        let map = Map::new(&nodes, &HashSet::new(), Some(zoom), (100, 30));
        let rows = zoom.rows();
        for (at, one) in map.spots.iter().enumerate() {
            prop_assert!(one.x >= 0 && one.y >= 0 && one.x + one.width <= map.size.0 && one.y + rows <= map.size.1);
            for other in &map.spots[at + 1..] {
                let apart_in_x = one.x + one.width <= other.x || other.x + other.width <= one.x;
                let apart_in_y = one.y + rows <= other.y || other.y + rows <= one.y;
                prop_assert!(apart_in_x || apart_in_y, "{one:?} {other:?}");
            }
        }
        for wire in &map.wires {
            prop_assert!(wire.points.is_sorted_by_key(|point| point.0), "{wire:?}");
            for &(from, to) in &wire.joins {
                prop_assert!(map.spots[from].layer < map.spots[to].layer);
            }
        }
        // Every node is somewhere, and every wire between two spots is drawn.
        for (at, node) in nodes.iter().enumerate() {
            let spot = map.spot_of(at).unwrap();
            match map.spots[spot].unit {
                Unit::Node(other) => prop_assert_eq!(other, at),
                Unit::Group(group) => prop_assert!(map.groups[group].members.contains(&at)),
            }
            for &input in &node.inputs {
                let pair = (map.spot_of(input).unwrap(), spot);
                prop_assert!(map.wires.iter().any(|wire| wire.has_arrow && wire.joins.contains(&pair)));
            }
        }
    }
}
