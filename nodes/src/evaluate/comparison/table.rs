//! The table in which a comparison travels, with what a reader must know of its numbers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Compared, Difference, Method, left_out};
use crate::evaluate::measure::Measure;
use crate::evaluate::scores::{Scores, Summary};
use crate::evaluate::statistics::{Interval, OverRuns};
use crate::report::{Cell, Report};

const COLUMNS: [&str; 14] = [
    "method",
    "measure",
    "pictures",
    "runs",
    "mean",
    "standard deviation over runs",
    "standard error over runs",
    "95 % from",
    "95 % to",
    "difference",
    "its 95 % from",
    "its 95 % to",
    "paired",
    "verdict",
];

/// The table of a comparison of some methods.
pub fn to_report(title: String, compared: &[Compared], methods: &[Method]) -> Report {
    Report {
        title,
        notes: notes(compared).into_iter().chain(doubts(compared, methods)).collect(),
        settings: common_settings(methods),
        columns: COLUMNS.map(str::to_owned).to_vec(),
        rows: compared.iter().map(row).collect(),
    }
}

fn notes(compared: &[Compared]) -> Vec<String> {
    let Some(first) = compared.first() else { return Vec::new() };
    let mut notes = vec![format!(
        "Means over pictures, with 95 % intervals by bootstrap over the pictures within each run and report: what would \
         change with other seeds, for these subjects, prompts and adapters. The standard error is that of the means of \
         the runs. Differences are from `{}`.",
        first.method
    )];
    let differences: Vec<_> = compared.iter().filter_map(|row| row.difference).collect();
    if !differences.is_empty() {
        notes.push(match differences.iter().all(|difference| difference.is_paired) {
            true => "Differences are between pictures of one prompt and seed.".into(),
            false => "Not all pictures have their counterpart of the same prompt and seed: where `paired` says no, \
                      differences are between means, and their intervals wider."
                .into(),
        });
    }
    let noise = compared.iter().filter(|row| row.difference.is_some_and(|d| d.verdict() == "within noise"));
    let noise: Vec<_> = noise.map(|row| format!("{} of `{}`", row.measure.name(), row.method)).collect();
    if !noise.is_empty() {
        notes.push(format!("Within noise: {}.", noise.join("; ")));
    }
    notes
}

/// What makes the verdicts less sure than they look, and what could not be compared.
fn doubts(compared: &[Compared], methods: &[Method]) -> Vec<String> {
    /// So many verdicts may be read one by one.
    const FEW: usize = 4;
    let verdicts = compared.iter().filter(|row| row.difference.is_some()).count();
    let many = (verdicts > FEW).then(|| {
        format!(
            "Each of the {verdicts} verdicts stands for itself: where nothing differs, about one in twenty says that it does."
        )
    });
    let shared = methods.first().is_some_and(shares_seeds).then(|| {
        "Reports share seeds, so that their pictures are not independent: the intervals are too narrow."
            .to_owned()
    });
    many.into_iter().chain(shared).chain(left_out(methods)).collect()
}

/// Whether two of a method's reports have pictures of one seed.
fn shares_seeds(method: &Method) -> bool {
    let seeds = |scores: &Scores| -> BTreeSet<u64> {
        scores.pictures.iter().filter_map(|picture| picture.made.seed).collect()
    };
    let mut known = BTreeSet::new();
    method.scores.iter().flat_map(seeds).any(|seed| !known.insert(seed))
}

/// The settings on which all reports agree.
fn common_settings(methods: &[Method]) -> BTreeMap<String, String> {
    let mut all = methods.iter().flat_map(|method| &method.scores).map(|scores| &scores.settings);
    let mut common = all.next().cloned().unwrap_or_default();
    all.for_each(|settings| common.retain(|name, value| settings.get(name) == Some(value)));
    common
}

fn row(compared: &Compared) -> Vec<Cell> {
    let Summary { over_runs, interval } = compared.summary;
    let number = |value: Option<f64>| value.map_or(Cell::None, Cell::Number);
    let ends =
        |interval: Option<Interval>| [number(interval.map(|i| i.low)), number(interval.map(|i| i.high))];
    let difference = compared.difference;
    let [low, high] = ends(interval);
    let [low_of_difference, high_of_difference] = ends(difference.and_then(|difference| difference.interval));
    vec![
        Cell::Text(compared.method.clone()),
        Cell::Text(compared.measure.name().to_owned()),
        Cell::Count(compared.pictures),
        Cell::Count(compared.runs),
        Cell::Number(over_runs.mean),
        number(over_runs.deviation),
        number(over_runs.error),
        low,
        high,
        number(difference.map(|difference| difference.mean)),
        low_of_difference,
        high_of_difference,
        difference.map_or(Cell::None, |d| Cell::Text(if d.is_paired { "yes" } else { "no" }.to_owned())),
        difference.map_or(Cell::None, |difference| Cell::Text(difference.verdict().to_owned())),
    ]
}

/// What a table of [`to_report`] holds. None for another table.
pub fn from_report(report: &Report) -> Option<Vec<Compared>> {
    (report.columns == COLUMNS).then(|| report.rows.iter().map(|row| read(row)).collect())?
}

fn read(row: &[Cell]) -> Option<Compared> {
    let [
        Cell::Text(method),
        Cell::Text(measure),
        Cell::Count(pictures),
        Cell::Count(runs),
        Cell::Number(mean),
        rest @ ..,
    ] = row
    else {
        return None;
    };
    let [deviation, error, low, high, difference, low_of_difference, high_of_difference, paired, _] = rest
    else {
        return None;
    };
    let number = |cell: &Cell| match cell {
        Cell::Number(value) => Some(*value),
        _ => None,
    };
    let ends = |low, high| Some(Interval { low: number(low)?, high: number(high)? });
    let difference = number(difference).map(|mean| Difference {
        mean,
        interval: ends(low_of_difference, high_of_difference),
        is_paired: *paired == Cell::Text("yes".to_owned()),
    });
    let over_runs = OverRuns { mean: *mean, deviation: number(deviation), error: number(error) };
    Some(Compared {
        method: method.clone(),
        measure: Measure::named(measure)?,
        pictures: *pictures,
        runs: *runs,
        summary: Summary { over_runs, interval: ends(low, high) },
        difference,
    })
}
