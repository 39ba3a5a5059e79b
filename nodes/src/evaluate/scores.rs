//! The measured values of a set of pictures, and the table in which they travel.

use std::collections::BTreeMap;

use flow_engine::{Problem, Result};

use super::measure::Measure;
use super::statistics::{Interval, OverRuns, interval, mean};
use crate::report::{Cell, Report};

/// Of the pictures of some runs, what was measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// The measures, in the order of the values.
    pub measures: Vec<Measure>,
    /// The pictures, run by run.
    pub pictures: Vec<Scored>,
    /// What was measured with, by name.
    pub settings: BTreeMap<String, String>,
}

/// A picture and what was measured of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Its run, from 1.
    pub run: usize,
    /// Its name.
    pub name: String,
    /// How it was made, which pairs it with a picture of another method.
    pub made: Made,
    /// A value for each measure.
    pub values: Vec<f64>,
}

/// What two pictures share that can be compared one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Made {
    /// What it was to show, if that is known.
    pub prompt: Option<String>,
    /// The seed, if a sampler drew it.
    pub seed: Option<u64>,
}

/// What a set of pictures comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Mean, deviation and error over the runs.
    pub over_runs: OverRuns,
    /// Where the mean would lie with other seeds.
    pub interval: Option<Interval>,
}

const OWN: [&str; 4] = ["run", "picture", "seed", "prompt"];

impl Scores {
    /// Values of a measure, one list for each run.
    pub fn runs(&self, measure: Measure) -> Vec<Vec<f64>> {
        let Some(at) = self.measures.iter().position(|&other| other == measure) else { return Vec::new() };
        let mut runs = BTreeMap::<usize, Vec<f64>>::new();
        for picture in &self.pictures {
            runs.entry(picture.run).or_default().push(picture.values[at]);
        }
        runs.into_values().collect()
    }

    /// What they come to. None of a measure that was not taken.
    pub fn summary(&self, measure: Measure) -> Option<Summary> {
        let runs = self.runs(measure);
        let means: Vec<f64> = runs.iter().filter_map(|run| mean(run)).collect();
        Some(Summary { over_runs: OverRuns::of(&means)?, interval: interval(&runs, measure.unit()) })
    }

    /// The table, a row for each picture.
    pub fn to_report(&self, title: String, notes: Vec<String>) -> Report {
        let own = OWN.map(str::to_owned).into_iter();
        let columns = own.chain(self.measures.iter().map(|measure| measure.name().to_owned()));
        let row = |picture: &Scored| {
            let Made { prompt, seed } = picture.made.clone();
            let own = [
                Cell::Count(picture.run),
                Cell::Text(picture.name.clone()),
                seed.map_or(Cell::None, |seed| Cell::Text(seed.to_string())),
                prompt.map_or(Cell::None, Cell::Text),
            ];
            own.into_iter().chain(picture.values.iter().map(|&value| Cell::Number(value))).collect()
        };
        let rows = self.pictures.iter().map(row).collect();
        Report { title, notes, settings: self.settings.clone(), columns: columns.collect(), rows }
    }

    /// What a table of [`Self::to_report`] holds.
    ///
    /// # Errors
    /// Another table.
    pub fn from_report(report: &Report) -> Result<Self> {
        let other = || {
            Problem::new(format!("the report `{}` holds no scores of pictures", report.title))
                .hint("scores are what `Evaluate` gives")
        };
        let (own, measured) = report.columns.split_at(OWN.len().min(report.columns.len()));
        let measures: Option<Vec<_>> = measured.iter().map(|name| Measure::named(name)).collect();
        let measures = measures.filter(|_| own == OWN).ok_or_else(other)?;
        let whole = |picture: &Scored| picture.values.len() == measures.len();
        let pictures = report.rows.iter().map(|row| scored(row).filter(whole)).collect::<Option<_>>();
        let pictures = pictures.ok_or_else(other)?;
        Ok(Self { measures, pictures, settings: report.settings.clone() })
    }
}

fn scored(row: &[Cell]) -> Option<Scored> {
    let [Cell::Count(run), Cell::Text(name), seed, prompt, values @ ..] = row else { return None };
    let text = |cell: &Cell| match cell {
        Cell::Text(text) => Some(text.clone()),
        _ => None,
    };
    let number = |cell: &Cell| match cell {
        Cell::Number(value) => Some(*value),
        _ => None,
    };
    let made = Made { prompt: text(prompt), seed: text(seed).and_then(|seed| seed.parse().ok()) };
    let values = values.iter().map(number).collect::<Option<_>>()?;
    Some(Scored { run: *run, name: name.clone(), made, values })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two runs of three pictures each, whose values grow from `start` on by a tenth.
    pub(crate) fn scores(start: f64) -> Scores {
        let picture = |i: usize| Scored {
            run: 1 + i / 3,
            name: format!("{i}"),
            made: Made { prompt: Some("a bear".into()), seed: Some(i as u64) },
            values: vec![start + i as f64 / 10.0],
        };
        let settings = [("CLIP".to_owned(), "a judge".to_owned())].into();
        Scores { measures: vec![Measure::TextAlignment], pictures: (0..6).map(picture).collect(), settings }
    }

    #[test]
    fn scores_come_back_from_their_table() {
        let report = scores(0.25).to_report("scores".into(), Vec::new());
        assert_eq!(Scores::from_report(&report).unwrap(), scores(0.25));
        let mut short = report.clone();
        short.rows[1].pop();
        assert!(Scores::from_report(&short).is_err(), "a row without its value");
        let other = Report { columns: vec!["layer".into()], ..report };
        assert!(Scores::from_report(&other).unwrap_err().to_string().contains("holds no scores"));
    }

    #[test]
    fn a_summary_is_over_runs() {
        let summary = scores(0.0).summary(Measure::TextAlignment).unwrap();
        let OverRuns { mean, deviation, error } = summary.over_runs;
        assert!((mean - 0.25).abs() < 1e-12);
        assert!((deviation.unwrap() - 0.3 / 2f64.sqrt()).abs() < 1e-12);
        assert!((error.unwrap() - 0.15).abs() < 1e-12);
        assert!(summary.interval.unwrap().holds(0.25));
        assert!(scores(0.0).summary(Measure::Diversity).is_none());
    }
}
