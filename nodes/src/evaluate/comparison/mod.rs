//! Methods side by side: the mean of each, and how far it is from the first one's.
//!
//! Where two methods drew the same prompts with the same seeds, what is told is the mean difference of the pictures of
//! one seed, which varies far less than the difference of two means. A difference whose interval holds 0 is within
//! noise. [`table`] is the table in which a comparison travels.

pub mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use flow_engine::{Problem, Result};

use super::measure::Measure;
use super::scores::{Made, Scores, Summary};
use super::statistics::{Interval, OverRuns, interval, interval_of_difference, mean};

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
