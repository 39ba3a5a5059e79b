//! How many ranks PaRa may take from a layer, where the rank of its weight is known. Exact.

use std::collections::BTreeMap;

use flow_nodes::adapter::bound::{Share, bounded_rank};
use serde_json::Value;

use super::support::{Golden, json};

type Ranks = BTreeMap<String, usize>;

fn ranks(value: &Value) -> Ranks {
    let ranks: Ranks = serde_json::from_value(value.clone()).unwrap();
    assert!(!ranks.is_empty());
    ranks
}

#[test]
fn golden_ranks_on_both_sides_of_the_bound() {
    let Some(set) = json("adapters/para_rank_boundary.json") else { return };
    let rank_of = ranks(&set["rank_of_W0"]);
    let cases = set["r_adjust"].as_object().unwrap();
    assert!(!cases.is_empty());
    for (case, expected) in cases {
        // `r=32,gamma=1/40`
        let (wanted, gamma) = case.strip_prefix("r=").unwrap().split_once(",gamma=").unwrap();
        let (wanted, gamma): (usize, Share) = (wanted.parse().unwrap(), gamma.parse().unwrap());
        for (layer, expected) in ranks(expected) {
            assert_eq!(bounded_rank(wanted, gamma, rank_of[&layer]), expected, "{case} {layer}");
        }
    }
}

#[test]
fn golden_adapters_have_the_ranks_that_their_bound_leaves() {
    let Some(set) = json("adapters/para_ranks.json") else { return };
    let before = ranks(&set["before"]);
    for (file, removed) in [("para_a", "removed_a"), ("para_b", "removed_b")] {
        let Some(golden) = Golden::open(&format!("adapters/{file}.safetensors")) else { return };
        let (wanted, gamma): (usize, Share) =
            (golden.meta("rank").parse().unwrap(), golden.meta("gamma").parse().unwrap());
        for (layer, removed) in ranks(&set[removed]) {
            let left = bounded_rank(wanted, gamma, before[&layer]);
            let columns = golden.get(&format!("{layer}.para_B")).dims()[1];
            assert_eq!((left, columns), (removed, removed), "{file} {layer}");
        }
    }
}
