//! A plan as a table, with its totals below.

use std::time::Duration;

use flow_engine::plan::{Basis, Expected};
use flow_engine::{Plan, PlannedNode, Result, State};
use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;

use super::out::harmless;
use super::table::{Column, table};

/// More hits than this are only counted: whoever asks for a plan wants to know what runs.
const LISTED_HITS: usize = 100;

/// What happens to each node, and why. Many hits are counted rather than listed, unless all nodes are asked for.
pub fn plan(plan: &Plan, all: bool) -> String {
    let hits = plan.count(State::Hit);
    let lists_hits = all || hits <= LISTED_HITS;
    let nodes = plan.nodes.iter().filter(|node| lists_hits || node.state != State::Hit);
    let left_out = match lists_hits {
        true => String::new(),
        false => format!("{hits} hits are not listed; `flow plan --all` lists them\n"),
    };
    let columns = [
        Column::Words("node"),
        Column::Words("kind"),
        Column::Words("state"),
        Column::Number("takes"),
        Column::Number("reads"),
        Column::Number("holds"),
        Column::Words("why"),
    ];
    let row = |node: &PlannedNode| {
        let bytes = |bytes: u64| if bytes == 0 { String::new() } else { HumanBytes(bytes).to_string() };
        vec![
            harmless(&node.node),
            node.kind.clone(),
            word(node.state).to_owned(),
            node.expected.map(takes).unwrap_or_default(),
            bytes(node.read_bytes),
            bytes(node.peak_bytes.unwrap_or_default()),
            harmless(&node.why),
        ]
    };
    table(&columns, nodes.map(row)) + left_out.as_str() + "\n" + totals(plan).as_str()
}

/// The word for a state.
pub fn word(state: State) -> &'static str {
    match state {
        State::Hit => "hit",
        State::Run => "run",
        State::Depends => "depends",
        State::Volatile => "volatile",
    }
}

/// A time, with a sign for how it is known.
fn takes(expected: Expected) -> String {
    let sign = match expected.basis {
        Basis::Measured => "",
        Basis::Scaled => "~",
        Basis::Modelled => "~~",
        Basis::Assumed => "~~~",
    };
    format!("{sign}{}", seconds(expected.seconds))
}

fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)).to_string()
}

/// One line of counts, one of what they take, one that explains the signs.
pub fn totals(plan: &Plan) -> String {
    let states = [State::Run, State::Depends, State::Volatile, State::Hit];
    let counts = states.map(|state| format!("{} {}", plan.count(state), word(state)));
    let mut text = format!("{} of {} nodes\n", counts.join(", "), plan.nodes.len());
    let sum = Sum::of(plan);
    if sum.unknown < sum.running || sum.read_bytes > 0 {
        let unknown = match sum.unknown {
            0 => String::new(),
            unknown => format!(" and what {unknown} nodes take that nothing is known of"),
        };
        let read = HumanBytes(sum.read_bytes);
        let peak = HumanBytes(sum.peak_bytes);
        text += &format!("at most {}{unknown}; reads {read}; holds up to {peak}\n", seconds(sum.seconds));
    }
    let bases: Vec<_> =
        plan.nodes.iter().filter_map(|node| node.expected).map(|expected| expected.basis).collect();
    let signs = [
        (Basis::Scaled, "~ measured with other shapes"),
        (Basis::Modelled, "~~ modelled from shapes at a measured speed"),
        (Basis::Assumed, "~~~ modelled from shapes at an assumed speed"),
    ];
    let told: Vec<_> =
        signs.iter().filter(|(basis, _)| bases.contains(basis)).map(|(_, words)| *words).collect();
    if !told.is_empty() {
        text += &format!("({})\n", told.join("; "));
    }
    text
}

/// What the nodes that may run take together.
#[derive(Serialize, Default)]
struct Sum {
    running: usize,
    unknown: usize,
    seconds: f64,
    read_bytes: u64,
    peak_bytes: u64,
}

impl Sum {
    fn of(plan: &Plan) -> Self {
        let running = plan.nodes.iter().filter(|node| node.state != State::Hit);
        running.fold(Self::default(), |sum, node| Self {
            running: sum.running + 1,
            unknown: sum.unknown + usize::from(node.expected.is_none()),
            seconds: sum.seconds + node.expected.map_or(0.0, |expected| expected.seconds),
            read_bytes: sum.read_bytes + node.read_bytes,
            peak_bytes: sum.peak_bytes.max(node.peak_bytes.unwrap_or_default()),
        })
    }
}

/// A plan for a program.
///
/// # Errors
/// Numbers that JSON does not have.
pub fn json(plan: &Plan) -> Result<String> {
    #[derive(Serialize)]
    struct Shown<'a> {
        nodes: &'a [PlannedNode],
        total: Sum,
    }
    Ok(serde_json::to_string_pretty(&Shown { nodes: &plan.nodes, total: Sum::of(plan) })? + "\n")
}
