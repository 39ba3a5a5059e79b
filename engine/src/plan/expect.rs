//! How long a run will take and what it will read: from what was measured, or from shapes.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::{Plan, PlannedNode, State};
use crate::store::Cost;
use crate::{Digest, Estimate, KeyParts, Session, runs};

/// What a processor is taken to do in a second before anything was measured on it: two cores of a laptop, in float32.
const ASSUMED_FLOPS_PER_SECOND: f64 = 5e10;

/// How long something will take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Seconds.
    pub seconds: f64,
    /// How that is known.
    pub basis: Basis,
}

/// How an expectation is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The node took so long the last time, with the same shapes.
    Measured,
    /// The node took so long the last time, times the ratio of operations.
    Scaled,
    /// Operations by shapes, at the speed that other nodes of the graph were measured at.
    Modelled,
    /// Operations by shapes, at a speed that is assumed: nothing was measured here yet.
    Assumed,
}

/// How a node's last result was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The parts of its key.
    pub parts: KeyParts,
    /// What it took.
    pub cost: Cost,
}

/// What is known of the last run of the same graph, by name of the node.
pub struct Before<'a> {
    of: Box<Ask<'a>>,
}

type Ask<'a> = dyn Fn(&str) -> Option<Made> + Send + Sync + 'a;

impl<'a> Before<'a> {
    /// Asks this for a node's last result.
    pub fn new(of: impl Fn(&str) -> Option<Made> + Send + Sync + 'a) -> Self {
        Self { of: Box::new(of) }
    }

    /// What the last runs of a graph file made, but for one that is under way; looked up when it is first asked for.
    pub fn runs_of(session: &'a Session, graph_file: PathBuf, but: Option<PathBuf>) -> Self {
        /// A node that failed in the last run may have a result from one before.
        const RUNS: usize = 8;
        let keys: OnceLock<Vec<HashMap<String, Digest>>> = OnceLock::new();
        let read = move || {
            let runs = runs::of_graph(&session.project, &graph_file);
            let runs = runs.filter(|run| Some(run) != but.as_ref()).take(RUNS);
            runs.map(|run| runs::keys(&run)).collect()
        };
        Self::new(move |node| {
            let store = session.store.as_ref()?;
            let keys = keys.get_or_init(&read).iter().filter_map(|keys| keys.get(node));
            let entry = keys.filter_map(|key| store.entry(key).ok()?).next()?;
            Some(Made { parts: entry.parts, cost: entry.cost })
        })
    }

    /// Nothing ran before.
    pub fn nothing() -> Self {
        Self::new(|_| None)
    }

    /// How the last result of a node was made.
    pub fn of(&self, node: &str) -> Option<Made> {
        (self.of)(node)
    }
}

/// Adds to each node that may run how long it will take and what it will read.
pub(super) fn fill(
    plan: &mut Plan,
    estimates: &HashMap<String, Estimate>,
    session: &Session,
    before: &Before<'_>,
) {
    let may_run = |node: &PlannedNode| node.state != State::Hit;
    let costs: HashMap<String, Cost> = plan
        .nodes
        .iter()
        .filter(|node| may_run(node))
        .filter_map(|node| {
            let made = before.of(&node.node).filter(|made| made.parts.kind == node.kind)?;
            Some((node.node.clone(), made.cost))
        })
        .collect();
    let rate = measured_rate(costs.values());
    let loaded = bytes_of_hits(plan, session);
    let mut is_loaded: HashSet<String> = HashSet::new();
    for node in plan.nodes.iter_mut().filter(|node| may_run(node)) {
        let estimate = estimates.get(&node.node).copied();
        let cost = costs.get(&node.node).copied();
        node.expected = expected(estimate, cost, rate);
        node.peak_bytes =
            estimate.map(|estimate| estimate.peak_bytes).or(cost.and_then(|cost| cost.peak_bytes));
        let inputs = node.inputs.iter().filter(|input| is_loaded.insert((*input).clone()));
        let inputs: u64 = inputs.filter_map(|input| loaded.get(input)).sum();
        node.read_bytes = inputs + estimate.map_or(0, |estimate| estimate.read_bytes);
    }
}

fn expected(estimate: Option<Estimate>, cost: Option<Cost>, rate: Option<f64>) -> Option<Expected> {
    let flops = estimate.map(|estimate| estimate.flops);
    match (cost, flops) {
        (Some(cost), Some(flops)) if cost.flops.is_some_and(|before| before > 0.0 && before != flops) => {
            let ratio = flops / cost.flops.unwrap_or(flops);
            Some(Expected { seconds: cost.seconds * ratio, basis: Basis::Scaled })
        }
        (Some(cost), _) => Some(Expected { seconds: cost.seconds, basis: Basis::Measured }),
        (None, Some(flops)) => Some(match rate {
            Some(rate) => Expected { seconds: flops / rate, basis: Basis::Modelled },
            None => Expected { seconds: flops / ASSUMED_FLOPS_PER_SECOND, basis: Basis::Assumed },
        }),
        (None, None) => None,
    }
}

/// Operations in a second, over all that was measured.
fn measured_rate<'a>(costs: impl Iterator<Item = &'a Cost>) -> Option<f64> {
    let measured = costs.filter_map(|cost| Some((cost.flops?, cost.seconds)));
    let (flops, seconds) = measured.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (flops > 0.0 && seconds > 0.0).then(|| flops / seconds)
}

/// The size of each stored result that a node may have to read.
fn bytes_of_hits(plan: &Plan, session: &Session) -> HashMap<String, u64> {
    let hits = plan.nodes.iter().zip(&plan.steps).filter(|(node, _)| node.state == State::Hit);
    hits.filter_map(|(node, step)| {
        let found = session.store.as_ref()?.find(&step.content?)?;
        Some((node.node.clone(), found.bytes?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(seconds: f64, flops: Option<f64>) -> Cost {
        Cost { seconds, peak_bytes: None, flops }
    }

    fn estimate(flops: f64) -> Option<Estimate> {
        Some(Estimate { flops, ..Estimate::default() })
    }

    #[test]
    fn what_was_measured_counts_before_what_is_modelled() {
        let told = |estimate, cost, rate| expected(estimate, cost, rate).map(|e| (e.seconds, e.basis));
        assert_eq!(told(estimate(10.0), Some(cost(3.0, Some(10.0))), None), Some((3.0, Basis::Measured)));
        assert_eq!(told(estimate(20.0), Some(cost(3.0, Some(10.0))), None), Some((6.0, Basis::Scaled)));
        assert_eq!(told(None, Some(cost(3.0, None)), None), Some((3.0, Basis::Measured)));
        assert_eq!(told(estimate(20.0), None, Some(10.0)), Some((2.0, Basis::Modelled)));
        assert_eq!(told(estimate(ASSUMED_FLOPS_PER_SECOND), None, None), Some((1.0, Basis::Assumed)));
        assert_eq!(told(None, None, Some(1.0)), None);
    }

    #[test]
    fn the_rate_is_that_of_all_nodes_that_count_operations() {
        let costs = [cost(1.0, Some(10.0)), cost(3.0, Some(10.0)), cost(9.0, None)];
        assert_eq!(measured_rate(costs.iter()), Some(5.0));
        assert_eq!(measured_rate([cost(9.0, None)].iter()), None);
    }
}
