//! `RankReport`: what adapters do to the ranks of a model's weights.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Device;
use flow_engine::{Check, Cx, Estimate, In, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapter::basis::{self, matrix, singular_values};
use crate::adapter::bound::{Share, rank_bound};
use crate::adapter::fold::Applied;
use crate::adapter::layers::{Layers, Selection};
use crate::adapter::names::Target;
use crate::adapter::order::span;
use crate::model::Model;
use crate::report::{Cell, Report};

/// Measure the rank of every weight that a model's adapters change, before and after.
///
/// The rank is the number of singular values above the largest times max(d, k) · 2⁻²³. A PaRa of r columns lowers it by
/// as many as lie in the column space of the weight: by r where the weight has full row rank, and by fewer, often none,
/// where it is taller than wide. Such layers are named.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RankReport {
    /// A model with adapters applied.
    pub model: In<Model>,
    /// The layers to measure; without it, all that an adapter changes. A decomposition of a large layer takes seconds.
    #[serde(default)]
    pub layers: Option<Layers>,
    /// Whether the singular values before and after stand in the report.
    #[serde(default)]
    pub singular_values: bool,
}

impl Node for RankReport {
    const KIND: &'static str = "RankReport";
    type Output = Report;

    fn check(&self, cx: &mut Check<'_>) {
        if let Some(Err(error)) = self.layers.as_ref().map(Layers::compile) {
            cx.problem_with("layers", error);
        }
        if let Some(model) = cx.input(&self.model)
            && model.applied().is_empty()
        {
            let problem = Problem::new("no adapter is applied to this model");
            cx.problem_with(
                "model",
                problem.hint("apply one with `ApplyPaRa`, `ApplyLoRA` or `ApplyAdapter`"),
            );
        }
    }

    /// Two decompositions of every weight, `4 m n²` for `[m, n]` with the longer side first (Golub and Van Loan, Matrix
    /// Computations, figure 8.6.1), in float64 and beside a copy of it.
    fn estimate(&self, cx: &Check<'_>) -> Option<Estimate> {
        let model = cx.input(&self.model)?;
        let selection = self.layers.as_ref().map(Layers::compile).transpose().ok()?;
        let mut taken = Estimate::default();
        for target in targets(&model, selection.as_ref()) {
            let shape = model.names().ok()?.shape(&target)?;
            let (d, k) = (shape[0], shape[1..].iter().product::<usize>());
            taken.flops += 2.0 * 4.0 * d.max(k) as f64 * (d.min(k) as f64).powi(2);
            taken.peak_bytes = taken.peak_bytes.max((2 * 8 * d * k) as u64);
            taken.read_bytes += (4 * d * k) as u64;
        }
        Some(taken)
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Report> {
        let model = cx.input(&self.model)?;
        let selection = self.layers.as_ref().map(Layers::compile).transpose()?;
        let targets = targets(&model, selection.as_ref());
        let mut report = self.heading(&model);
        let mut stubborn = Vec::new();
        for (done, target) in targets.iter().enumerate() {
            let measured = measure(&model, target)?;
            if measured.columns > 0 && measured.lost() < measured.columns as i64 {
                stubborn.push(format!("`{}`", target.module()));
            }
            report.rows.push(self.row(target, measured));
            cx.progress(done + 1, targets.len(), "layer")?;
        }
        if !stubborn.is_empty() {
            report.notes.push(format!(
                "On {} layers a PaRa lowers the rank by fewer than its columns, because these need not lie in the \
                 column space of the weight, or because two PaRas meet there: {}.",
                stubborn.len(),
                stubborn.join(", ")
            ));
        }
        cx.metric("layers whose rank falls by less than the columns", stubborn.len() as f64, None, "");
        Ok(report)
    }
}

fn targets(model: &Model, selection: Option<&Selection>) -> BTreeSet<Target> {
    let all = model.applied().iter().flat_map(|applied| applied.bound.targets());
    let weights = all.filter(|target| target.tensor.ends_with(".weight"));
    let shaped =
        weights.filter(|target| model.names().is_ok_and(|n| n.shape(target).is_some_and(|s| s.len() > 1)));
    shaped.filter(|target| selection.is_none_or(|s| s.holds(target.module()))).cloned().collect()
}

/// What was measured on one layer.
struct Measured {
    shape: [usize; 2],
    before: Vec<f64>,
    after: Vec<f64>,
    /// Columns of the PaRas on it.
    columns: usize,
    /// The bound that the PaRas' files state.
    bound: Option<usize>,
}

impl Measured {
    fn rank(&self, values: &[f64]) -> usize {
        basis::rank(values, self.shape[0], self.shape[1])
    }

    fn lost(&self) -> i64 {
        self.rank(&self.before) as i64 - self.rank(&self.after) as i64
    }
}

fn measure(model: &Model, target: &Target) -> Result<Measured> {
    let weight = |model: &Model| matrix(&model.weight(target, &Device::Cpu)?);
    let (before, after) = (weight(&model.up_to(0))?, weight(model)?);
    let shape = [before.nrows(), before.ncols()];
    let before = singular_values(before.as_ref())?;
    let rank = basis::rank(&before, shape[0], shape[1]);
    let spans = model.applied().iter().map(|applied| span(applied, target));
    let columns = spans.map(|span| Ok(span?.map_or(0, |q| q.ncols()))).sum::<Result<usize>>()?;
    let bound = model.applied().iter().filter_map(|applied| gamma(applied, target)).next();
    let bound = bound.map(|gamma| rank_bound(gamma, rank));
    Ok(Measured { shape, before, after: singular_values(after.as_ref())?, columns, bound })
}

/// The bound under which an adapter was trained, if its file says so.
fn gamma(applied: &Applied, target: &Target) -> Option<Share> {
    applied.bound.layer(&applied.single, target)?;
    applied.single.files().metadata().get("gamma")?.parse().ok()
}

impl RankReport {
    fn heading(&self, model: &Model) -> Report {
        let names: Vec<_> =
            model.applied().iter().map(|applied| format!("`{}`", applied.single.name())).collect();
        let mut columns = vec!["layer", "d", "k", "rank before", "rank after", "columns removed", "bound"];
        if self.singular_values {
            columns.extend(["singular values before", "singular values after"]);
        }
        Report {
            title: format!("Ranks of `{}` with {}", model.name(), names.join(" then ")),
            notes: self.layers.as_ref().and_then(Layers::note).map(str::to_owned).into_iter().collect(),
            settings: BTreeMap::new(),
            columns: columns.into_iter().map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    fn row(&self, target: &Target, measured: Measured) -> Vec<Cell> {
        let mut row = vec![
            Cell::Text(target.module().to_owned()),
            Cell::Count(measured.shape[0]),
            Cell::Count(measured.shape[1]),
            Cell::Count(measured.rank(&measured.before)),
            Cell::Count(measured.rank(&measured.after)),
            Cell::Count(measured.columns),
            measured.bound.map_or(Cell::None, Cell::Count),
        ];
        if self.singular_values {
            row.extend([Cell::Numbers(measured.before), Cell::Numbers(measured.after)]);
        }
        row
    }
}
