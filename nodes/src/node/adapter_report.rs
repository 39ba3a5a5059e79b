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
/// The seconds are those that making each took on the machine that did, since it was last resumed.
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
            columns: ["adapter", "method", "layers", "parameters", "bytes", "seconds"]
                .map(str::to_owned)
                .to_vec(),
            rows: self.adapters.iter().enumerate().map(row).collect::<Result<_>>()?,
        })
    }
}

fn row(name: &str, adapter: &Adapter, seconds: Option<f64>) -> Vec<Cell> {
    let steps = adapter.steps();
    let kinds: Vec<_> = steps.iter().map(|single| single.kind()).collect();
    let shapes = || steps.iter().flat_map(|single| single.files().shapes());
    vec![
        Cell::Text(name.to_owned()),
        Cell::Text(kinds.join(", ")),
        Cell::Count(steps.iter().map(|single| single.layers().len()).sum()),
        Cell::Count(shapes().map(|(_, shape)| shape.iter().product::<usize>()).sum()),
        Cell::Count(steps.iter().map(|single| single.files().stored_bytes()).sum()),
        seconds.map_or(Cell::None, Cell::Number),
    ]
}
