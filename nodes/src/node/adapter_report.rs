//! `AdapterReport`: how large adapters are, and how long they took.

use std::collections::BTreeMap;

use flow_engine::{Check, Cx, In, Nature, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapter::Adapter;
use crate::report::{Cell, Report};

/// Tell how large adapters are: layers, parameters, and bytes of their tensors as they are stored, as in the paper's tables 3
/// and 5.
///
/// The seconds are those that making each took on the machine that did, in all runs that had a part in it; those of a
/// step are by what the adapter says of its steps, and hold what comes before the first one too.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdapterReport {
    /// Adapters, a row for each.
    pub adapters: Vec<In<Adapter>>,
    /// What the rows are called, as many as there are adapters; without it, the names of their nodes.
    #[serde(default)]
    pub names: Option<Vec<String>>,
    /// Words above the table.
    #[serde(default = "title")]
    pub title: String,
}

fn title() -> String {
    "Adapters: sizes and training times".to_owned()
}

impl Node for AdapterReport {
    const KIND: &'static str = "AdapterReport";
    // Rows may be called by the names of nodes, which are part of no key; as with `Grid`.
    const NATURE: Nature = Nature::Effect;
    type Output = Report;

    fn check(&self, cx: &mut Check<'_>) {
        let adapters = self.adapters.len();
        let names = self.names.as_ref().map_or(adapters, Vec::len);
        if adapters == 0 {
            cx.problem_with("adapters", Problem::new("a table of adapters needs at least one"));
        }
        if names != adapters {
            let message =
                format!("`names` and `adapters` must be equally long, and are {names} and {adapters}");
            cx.problem_with("names", Problem::new(message));
        }
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Report> {
        let row = |(i, wire): (usize, &In<Adapter>)| {
            let adapter = cx.input(wire)?;
            let name = self.names.as_ref().map_or(wire.node(), |names| &names[i]);
            Ok(row(name, &adapter, cx.seconds(wire)))
        };
        Ok(Report {
            title: self.title.clone(),
            notes: Vec::new(),
            settings: BTreeMap::new(),
            columns: COLUMNS.map(str::to_owned).to_vec(),
            rows: self.adapters.iter().enumerate().map(row).collect::<Result<_>>()?,
        })
    }
}

const COLUMNS: [&str; 8] =
    ["adapter", "method", "layers", "parameters", "bytes", "steps", "seconds", "seconds per step"];

fn row(name: &str, adapter: &Adapter, seconds: Option<f64>) -> Vec<Cell> {
    let steps = adapter.steps();
    let kinds: Vec<_> = steps.iter().map(|single| single.kind()).collect();
    let trained = steps_of_training(adapter);
    let number = |value: Option<f64>| value.map_or(Cell::None, Cell::Number);
    let shapes = || steps.iter().flat_map(|single| single.files().shapes());
    vec![
        Cell::Text(name.to_owned()),
        Cell::Text(kinds.join(", ")),
        Cell::Count(steps.iter().map(|single| single.layers().len()).sum()),
        Cell::Count(shapes().map(|(_, shape)| shape.iter().product::<usize>()).sum()),
        Cell::Count(steps.iter().map(|single| single.files().stored_bytes()).sum()),
        trained.map_or(Cell::None, Cell::Count),
        number(seconds),
        number(trained.zip(seconds).map(|(trained, seconds)| seconds / trained as f64)),
    ]
}

/// The steps that an adapter was trained for, if it says so. Of several in one, nobody knows which took the seconds.
fn steps_of_training(adapter: &Adapter) -> Option<usize> {
    let [single] = adapter.steps() else { return None };
    single.files().metadata().get("steps")?.parse().ok().filter(|&steps| steps > 0)
}
