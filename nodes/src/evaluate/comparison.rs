//! Methods side by side: the mean of each, and how far it is from the first one's.
//!
//! Where two methods drew the same prompts with the same seeds, what is told is the mean difference of the pictures of
//! one seed, which varies far less than the difference of two means. A difference whose interval holds 0 is within
//! noise.

use std::collections::{BTreeMap, BTreeSet};

use flow_engine::{Problem, Result};

use super::measure::Measure;
use super::scores::{Made, Scores, Summary};
use super::statistics::{Interval, OverRuns, interval, interval_of_difference, mean};
use crate::report::{Cell, Report};

/// A method and its reports: one for each subject, prompt or whatever else all methods have.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// What it is called.
    pub name: String,
    /// Its scores, in the same order as every other method's.
    pub scores: Vec<Scores>,
}

/// One measure of one method.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The method.
    pub method: String,
    /// The measure.
    pub measure: Measure,
    /// How many pictures were measured.
    pub pictures: usize,
    /// In how many runs.
    pub runs: usize,
    /// What they come to.
    pub summary: Summary,
    /// How far it is from the first method. None for that one.
    pub difference: Option<Difference>,
}

/// A difference from the first method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The mean difference.
    pub mean: f64,
    /// Where it would lie with other seeds.
    pub interval: Option<Interval>,
    /// Whether pictures of one prompt and seed were compared one by one.
    pub is_paired: bool,
}

impl Difference {
    /// Whether it is more than noise, in words.
    pub fn verdict(&self) -> &'static str {
        match self.interval {
            None => "too few pictures",
            Some(interval) if !(interval.low.is_finite() && interval.high.is_finite()) => "no number",
            Some(interval) if interval.holds(0.0) => "within noise",
            Some(_) if self.mean > 0.0 => "higher",
            Some(_) => "lower",
        }
    }
}

/// Compares methods with the first one, by every measure that all have.
///
/// # Errors
/// Methods with different numbers of reports, runs or pictures, of different prompts, or measured with different judges; no
/// common measure.
pub fn compare(methods: &[Method]) -> Result<Vec<Compared>> {
    let Some((first, others)) = methods.split_first() else { return Ok(Vec::new()) };
    for other in others {
        same_task(first, other)?;
    }
    let measures: Vec<_> =
        Measure::ALL.into_iter().filter(|&measure| lacking(methods, measure).is_empty()).collect();
    if measures.is_empty() {
        let message = format!("no measure was taken of all reports. {}", left_out(methods).join(" "));
        return Err(Problem::new(message).hint("give every `Evaluate` the same `measures`").into());
    }
    let of = |measure: Measure| methods.iter().filter_map(move |method| compared(method, first, measure));
    Ok(measures.into_iter().flat_map(of).collect())
}

/// The methods of which a measure was not taken everywhere.
fn lacking(methods: &[Method], measure: Measure) -> Vec<&str> {
    let has = |method: &&Method| method.scores.iter().all(|scores| scores.measures.contains(&measure));
    methods.iter().filter(|method| !has(method)).map(|method| method.name.as_str()).collect()
}

/// A sentence for each measure that was taken of some and not of all.
fn left_out(methods: &[Method]) -> Vec<String> {
    let is_taken = |measure: &Measure| {
        methods.iter().flat_map(|method| &method.scores).any(|scores| scores.measures.contains(measure))
    };
    let taken = Measure::ALL.into_iter().filter(is_taken).map(|measure| (measure, lacking(methods, measure)));
    let told = taken.filter(|(_, lacking)| !lacking.is_empty()).map(|(measure, lacking)| {
        let names: Vec<_> = lacking.iter().map(|name| format!("`{name}`")).collect();
        format!("Not compared: {}, which was not measured of {}.", measure.name(), names.join(", "))
    });
    told.collect()
}

/// Whether two methods were asked for the same.
fn same_task(first: &Method, other: &Method) -> Result<()> {
    let (a, b) = (first.scores.len(), other.scores.len());
    if a != b {
        let message = format!("`{}` has {a} reports and `{}` {b}", first.name, other.name);
        return Err(Problem::new(message).hint("give every method a report of each subject").into());
    }
    for (i, (a, b)) in first.scores.iter().zip(&other.scores).enumerate() {
        let (a, b) = (prompts(a), prompts(b));
        if a != b {
            let message = format!(
                "report {} of `{}` is of {}, and that of `{}` of {}",
                i + 1,
                first.name,
                a.join(", "),
                other.name,
                b.join(", ")
            );
            let hint = "scores of different prompts say nothing of the methods: sample the same prompts";
            return Err(Problem::new(message).hint(hint).into());
        }
    }
    let pairs = first.scores.iter().zip(&other.scores).enumerate();
    let different = pairs.into_iter().find_map(|(i, (a, b))| Some((i, unlike(a, b)?)));
    let Some((i, what)) = different else { return Ok(()) };
    let message = format!("report {} of `{}` and of `{}` differ: {what}", i + 1, first.name, other.name);
    Err(Problem::new(message).hint("measure every method in the same way").into())
}

/// In what two sets of scores of the same prompts still cannot be compared.
fn unlike(a: &Scores, b: &Scores) -> Option<String> {
    let lengths = |scores: &Scores| {
        let mut runs = BTreeMap::<usize, usize>::new();
        scores.pictures.iter().for_each(|picture| *runs.entry(picture.run).or_default() += 1);
        runs.into_values().collect::<Vec<_>>()
    };
    let (runs_of_a, runs_of_b) = (lengths(a), lengths(b));
    if runs_of_a != runs_of_b {
        return Some(format!("runs of {runs_of_a:?} and of {runs_of_b:?} pictures"));
    }
    // What only one has belongs to a measure that is not compared.
    let other = |(name, value): (&String, &String)| {
        let other = b.settings.get(name).filter(|&other| other != value)?;
        Some(format!("{name} is {value} and {other}"))
    };
    a.settings.iter().find_map(other)
}

/// The prompts of some pictures, each once.
fn prompts(scores: &Scores) -> Vec<String> {
    let prompt =
        |made: &Made| made.prompt.as_ref().map_or("no prompt".to_owned(), |prompt| format!("`{prompt}`"));
    let mut prompts: Vec<_> = scores.pictures.iter().map(|picture| prompt(&picture.made)).collect();
    prompts.sort();
    prompts.dedup();
    prompts
}

fn compared(method: &Method, first: &Method, measure: Measure) -> Option<Compared> {
    let strata: Vec<_> = method.scores.iter().flat_map(|scores| scores.runs(measure)).collect();
    let runs = over_runs(method, measure);
    let summary = Summary { over_runs: OverRuns::of(&runs)?, interval: interval(&strata, measure.unit()) };
    let difference = (method.name != first.name).then(|| difference(method, first, measure)).flatten();
    let pictures = strata.iter().map(Vec::len).sum();
    Some(Compared { method: method.name.clone(), measure, pictures, runs: runs.len(), summary, difference })
}

/// The mean of each run over the method's reports.
fn over_runs(method: &Method, measure: Measure) -> Vec<f64> {
    let reports: Vec<_> = method.scores.iter().map(|scores| scores.runs(measure)).collect();
    let runs = reports.iter().map(Vec::len).max().unwrap_or(0);
    let run = |i: usize| {
        let means: Vec<f64> = reports.iter().filter_map(|runs| mean(runs.get(i)?)).collect();
        mean(&means)
    };
    (0..runs).filter_map(run).collect()
}

fn difference(method: &Method, first: &Method, measure: Measure) -> Option<Difference> {
    let unit = measure.unit();
    let pairs = method.scores.iter().zip(&first.scores).map(|(a, b)| paired(a, b, measure));
    if let Some(strata) = pairs.collect::<Option<Vec<_>>>() {
        let strata: Vec<Vec<f64>> = strata.into_iter().flatten().collect();
        let means: Vec<f64> = strata.iter().filter_map(|values| mean(values)).collect();
        return Some(Difference { mean: mean(&means)?, interval: interval(&strata, unit), is_paired: true });
    }
    let strata = |method: &Method| -> Vec<Vec<f64>> {
        method.scores.iter().flat_map(|scores| scores.runs(measure)).collect()
    };
    let all =
        |strata: &[Vec<f64>]| mean(&strata.iter().filter_map(|values| mean(values)).collect::<Vec<_>>());
    let (a, b) = (strata(method), strata(first));
    let interval = interval_of_difference(&a, &b, unit);
    Some(Difference { mean: all(&a)? - all(&b)?, interval, is_paired: false })
}

/// The differences of pictures of one prompt and seed, run by run. None, if they are not the same.
fn paired(a: &Scores, b: &Scores, measure: Measure) -> Option<Vec<Vec<f64>>> {
    let known = |scores: &Scores| {
        let at = scores.measures.iter().position(|&other| other == measure)?;
        let mut known = BTreeMap::new();
        for picture in &scores.pictures {
            picture.made.seed?;
            let is_new = known.insert((picture.run, picture.made.clone()), picture.values[at]).is_none();
            is_new.then_some(())?;
        }
        Some(known)
    };
    let (a, b) = (known(a)?, known(b)?);
    if !a.keys().eq(b.keys()) {
        return None;
    }
    let mut runs = BTreeMap::<usize, Vec<f64>>::new();
    for (((run, _), a), b) in a.iter().zip(b.values()) {
        runs.entry(*run).or_default().push(a - b);
    }
    Some(runs.into_values().collect())
}

const METHOD: &str = "method";
const COLUMNS: [&str; 14] = [
    METHOD,
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

#[cfg(test)]
mod tests {
    use super::super::scores::tests::scores;
    use super::*;

    fn method(name: &str, scores: Vec<Scores>) -> Method {
        Method { name: name.into(), scores }
    }

    #[test]
    fn a_constant_difference_of_paired_seeds_is_certain_though_the_means_vary() {
        let methods = [method("base", vec![scores(0.0)]), method("PaRa", vec![scores(0.01)])];
        let compared = compare(&methods).unwrap();
        let difference = compared[1].difference.unwrap();
        assert!(difference.is_paired && difference.verdict() == "higher", "{difference:?}");
        assert!((difference.mean - 0.01).abs() < 1e-12);
        let interval = difference.interval.unwrap();
        assert!(interval.high - interval.low < 1e-9, "{interval:?}");
        assert!(compared[0].difference.is_none());
    }

    #[test]
    fn other_seeds_are_compared_by_their_means_and_this_difference_is_noise() {
        let mut other = scores(0.01);
        other.pictures.iter_mut().for_each(|picture| picture.made.seed = picture.made.seed.map(|s| s + 100));
        let methods = [method("base", vec![scores(0.0)]), method("PaRa", vec![other])];
        let difference = compare(&methods).unwrap()[1].difference.unwrap();
        assert!(!difference.is_paired && difference.verdict() == "within noise", "{difference:?}");
        assert!((difference.mean - 0.01).abs() < 1e-12);
    }

    #[test]
    fn a_comparison_comes_back_from_its_table() {
        let methods = [method("base", vec![scores(0.0)]), method("PaRa", vec![scores(0.01)])];
        let compared = compare(&methods).unwrap();
        let report = to_report("methods".into(), &compared, &methods);
        assert_eq!(from_report(&report).unwrap(), compared);
        assert_eq!(report.settings["CLIP"], "a judge");
        assert_eq!(from_report(&Report::default()), None);
    }

    #[test]
    fn different_prompts_and_numbers_of_reports_are_refused() {
        let mut other = scores(0.0);
        other.pictures.iter_mut().for_each(|picture| picture.made.prompt = Some("a cat".into()));
        let said = |methods: &[Method]| compare(methods).unwrap_err().to_string();
        let told = said(&[method("base", vec![scores(0.0)]), method("PaRa", vec![other])]);
        assert!(told.contains("`a bear`") && told.contains("`a cat`"), "{told}");
        let told = said(&[method("base", vec![scores(0.0)]), method("PaRa", vec![])]);
        assert_eq!(told, "`base` has 1 reports and `PaRa` 0");
    }

    #[test]
    fn other_judges_and_other_numbers_of_pictures_are_refused() {
        let said = |other: Scores| {
            let methods = [method("base", vec![scores(0.0)]), method("PaRa", vec![other])];
            compare(&methods).unwrap_err().to_string()
        };
        let settings = [("CLIP".to_owned(), "another".to_owned())].into();
        let told = said(Scores { settings, ..scores(0.0) });
        assert_eq!(told, "report 1 of `base` and of `PaRa` differ: CLIP is a judge and another");
        let mut fewer = scores(0.0);
        fewer.pictures.pop();
        let told = said(fewer);
        assert!(told.ends_with("runs of [3, 3] and of [3, 2] pictures"), "{told}");
    }

    #[test]
    fn shared_seeds_and_measures_that_some_lack_are_told() {
        let mut more = scores(0.0);
        more.measures.push(Measure::ImageAlignment);
        more.pictures.iter_mut().for_each(|picture| picture.values.push(0.5));
        let methods =
            [method("base", vec![more, scores(0.0)]), method("PaRa", vec![scores(0.01), scores(0.01)])];
        let report = to_report("methods".into(), &compare(&methods).unwrap(), &methods);
        let notes = report.notes.join("\n");
        assert!(notes.contains("Reports share seeds"), "{notes}");
        assert!(
            notes.contains("Not compared: image alignment (CLIP), which was not measured of `base`, `PaRa`"),
            "{notes}"
        );
    }
}
