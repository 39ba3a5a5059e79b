//! `Compare`: methods side by side.

use std::collections::HashSet;

use flow_engine::{Check, Cx, In, Nature, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evaluate::comparison::{Method, compare, table::to_report};
use crate::evaluate::scores::Scores;
use crate::report::Report;

/// Compare what `Evaluate` measured of several methods with the first of them.
///
/// Reports under one name are pooled, so that each method may have a report for each subject; all methods have them in the same
/// order. Pictures of one prompt and seed are compared one by one, which tells small differences from noise; every
/// difference has its 95 % interval, and one whose interval holds 0 is called noise.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// Reports of `Evaluate`, the first method's first.
    pub reports: Vec<In<Report>>,
    /// The method of each report, as many as there are reports; without it, the names of their nodes.
    #[serde(default)]
    pub names: Option<Vec<String>>,
    /// Words above the table.
    #[serde(default = "title")]
    pub title: String,
}

fn title() -> String {
    "Comparison".to_owned()
}

impl Node for Compare {
    const KIND: &'static str = "Compare";
    // Methods may be called by the names of nodes, which are part of no key; as with `Grid`.
    const NATURE: Nature = Nature::Effect;
    type Output = Report;

    fn check(&self, cx: &mut Check<'_>) {
        let reports = self.reports.len();
        let names = self.names.as_ref().map_or(reports, Vec::len);
        if reports == 0 {
            cx.problem_with("reports", Problem::new("a comparison needs at least one report"));
        }
        if names != reports {
            let message =
                format!("`names` and `reports` must be equally long, and are {names} and {reports}");
            return cx.problem_with("names", Problem::new(message));
        }
        let mut known = HashSet::new();
        for (i, wire) in self.reports.iter().enumerate() {
            if !known.insert((self.name(i), wire.node())) {
                let message = format!("`{}` is given twice as `{}`", wire.node(), self.name(i));
                cx.problem_with("reports", Problem::new(message).hint("a report counts once"));
            }
        }
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Report> {
        let mut methods: Vec<Method> = Vec::new();
        for (i, wire) in self.reports.iter().enumerate() {
            let scores = Scores::from_report(&*cx.input(wire)?)?;
            let name = self.name(i);
            match methods.iter_mut().find(|method| method.name == name) {
                Some(method) => method.scores.push(scores),
                None => methods.push(Method { name: name.to_owned(), scores: vec![scores] }),
            }
        }
        Ok(to_report(self.title.clone(), &compare(&methods)?, &methods))
    }
}

impl Compare {
    /// The method of a report.
    fn name(&self, i: usize) -> &str {
        self.names.as_ref().map_or(self.reports[i].node(), |names| &names[i])
    }
}
