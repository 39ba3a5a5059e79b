//! How sure a mean is: means over runs with their error, bootstrap intervals, differences of pictures of one seed.
//!
//! A measured number belongs to one picture. Pictures fall into strata, one for each run of each report, and what is
//! told is the mean of the strata's means. An interval says how far it would move if other seeds had been drawn, for
//! **these** subjects, prompts and adapters: pictures are drawn again with replacement within each stratum (Efron and
//! Tibshirani 1993, percentile intervals). In small samples a resample varies too little by `√((n-1)/n)`, which is made
//! up for (Hesterberg 2015, section 3.2). Few pictures also do not know their own spread: the interval is widened by the
//! quantile of Student's t over that of the normal distribution, with as many degrees of freedom as there are pictures less one
//! for each stratum; with fewer than three, no interval is told.
//!
//! The mean similarity over all *pairs* of a set moves about twice as far as the mean of the pictures' own means would:
//! each picture is in many pairs. The factor is the jackknife's, `2 (n-1) / (n-2)` (Efron and Stein 1981).
//!
//! Nothing here knows what was measured.

use rand_mt::Mt64;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

/// The share of intervals that hold the true value, if the model of the module holds.
pub const CONFIDENCE: f64 = 0.95;
/// Times that the pictures are drawn again.
pub const RESAMPLES: usize = 10_000;
/// Degrees of freedom below which an interval would tell more of luck than of pictures.
const LEAST_FREEDOM: usize = 3;
/// Where the drawing begins: one for all, so that a report is the same whenever it is made.
const SEED: u64 = 0;

/// A mean over runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverRuns {
    /// The mean of the runs' means.
    pub mean: f64,
    /// The standard deviation of the runs' means, of a sample (`n - 1`). None for one run.
    pub deviation: Option<f64>,
    /// The standard error: the deviation by the root of the number of runs.
    pub error: Option<f64>,
}

impl OverRuns {
    /// The statistics of the means of runs. None without runs.
    pub fn of(means: &[f64]) -> Option<Self> {
        let mean = mean(means)?;
        let squares: f64 = means.iter().map(|x| (x - mean).powi(2)).sum();
        let deviation = (means.len() > 1).then(|| (squares / (means.len() - 1) as f64).sqrt());
        let error = deviation.map(|deviation| deviation / (means.len() as f64).sqrt());
        Some(Self { mean, deviation, error })
    }
}

/// The mean; none of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Where a value lies with a probability of [`CONFIDENCE`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// Whether a value lies in it.
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// What the value of one picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Its own.
    Picture,
    /// The mean over its pairs with the other pictures of its stratum.
    PairsOfPicture,
}

impl Unit {
    /// How much further the mean of a stratum moves than that of a resample. None where that cannot be told.
    fn spread(self, n: usize) -> Option<f64> {
        let small = |n: usize| (n as f64 / (n as f64 - 1.0)).sqrt();
        match self {
            Self::Picture => (n > 1).then(|| small(n)),
            Self::PairsOfPicture => (n > 2).then(|| small(n) * 2.0 * (n as f64 - 1.0) / (n as f64 - 2.0)),
        }
    }
}

/// The interval of the mean of the strata's means. None without strata, or with too few values.
pub fn interval(strata: &[Vec<f64>], unit: Unit) -> Option<Interval> {
    let means = resampled(strata, unit, &mut Mt64::new(SEED))?;
    Some(middle(widened(means, of_means(strata)?, freedom(strata)?)))
}

/// The interval of the difference of the means of two groups of strata that were drawn apart.
pub fn interval_of_difference(a: &[Vec<f64>], b: &[Vec<f64>], unit: Unit) -> Option<Interval> {
    let mut random = Mt64::new(SEED);
    let moved = [a, b].map(|strata| resampled(strata, unit, &mut random));
    let [moved_a, moved_b] = moved;
    let moved = moved_a?.iter().zip(moved_b?).map(|(a, b)| a - b).collect();
    // Between the smaller of the two and their sum (Welch); the smaller is on the safe side.
    let freedom = freedom(a)?.min(freedom(b)?);
    Some(middle(widened(moved, of_means(a)? - of_means(b)?, freedom)))
}

/// The mean of the strata's means.
pub fn of_means(strata: &[Vec<f64>]) -> Option<f64> {
    mean(&strata.iter().map(|values| mean(values)).collect::<Option<Vec<_>>>()?)
}

/// Degrees of freedom, if they are enough.
fn freedom(strata: &[Vec<f64>]) -> Option<usize> {
    let freedom = strata.iter().map(|values| values.len().saturating_sub(1)).sum();
    (freedom >= LEAST_FREEDOM).then_some(freedom)
}

/// Resampled values, as much further from their middle as Student's t is wider than the normal distribution.
fn widened(mut values: Vec<f64>, around: f64, freedom: usize) -> Vec<f64> {
    let end = (1.0 + CONFIDENCE) / 2.0;
    let student = StudentsT::new(0.0, 1.0, freedom as f64).map_or(f64::INFINITY, |t| t.inverse_cdf(end));
    let further = student / Normal::standard().inverse_cdf(end);
    values.iter_mut().for_each(|value| *value = around + further * (*value - around));
    values
}

/// The mean of the strata's means, as it comes when pictures are drawn again.
fn resampled(strata: &[Vec<f64>], unit: Unit, random: &mut Mt64) -> Option<Vec<f64>> {
    let told = strata.iter().map(|values| Some((mean(values)?, unit.spread(values.len())?, values)));
    let told: Vec<_> = told.collect::<Option<_>>()?;
    if told.is_empty() {
        return None;
    }
    let mut drawn =
        |values: &[f64]| values[((u128::from(random.next_u64()) * values.len() as u128) >> 64) as usize];
    let mut moved = |&(mean, spread, values): &(f64, f64, &Vec<f64>)| {
        let again = (0..values.len()).map(|_| drawn(values)).sum::<f64>() / values.len() as f64;
        mean + spread * (again - mean)
    };
    let mut once = || told.iter().map(&mut moved).sum::<f64>() / told.len() as f64;
    Some((0..RESAMPLES).map(|_| once()).collect())
}

/// Where the middle of some values lies.
pub fn middle(mut values: Vec<f64>) -> Interval {
    values.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Interval { low: quantile(&values, tail), high: quantile(&values, 1.0 - tail) }
}

/// Of sorted values, with a straight line between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_as_wide_as_theory_has_it() {
        // The standard error of 40 values that alternate between 0 and 1 is sqrt(0.25 * 40 / 39 / 40) = 0.0801.
        let values: Vec<f64> = (0..40).map(|i| f64::from(i % 2)).collect();
        let interval = interval(&[values], Unit::Picture).unwrap();
        let half = (interval.high - interval.low) / 2.0;
        // Student's t of 39 degrees of freedom.
        assert!((half - 2.023 * 0.0801).abs() < 0.012, "{interval:?}");
        assert!(interval.holds(0.5));
    }

    #[test]
    fn strata_narrow_the_interval_and_what_differs_between_them_does_not_widen_it() {
        let stratum = |around: f64| (0..10).map(|i| around + f64::from(i % 2)).collect::<Vec<f64>>();
        let width = |strata: &[Vec<f64>]| {
            let interval = interval(strata, Unit::Picture).unwrap();
            interval.high - interval.low
        };
        let (one, four) = (width(&[stratum(0.0)]), width(&[0.0, 5.0, 10.0, 90.0].map(stratum)));
        assert!((four / one - 0.5).abs() < 0.06, "{four} {one}");
    }

    /// Pictures as numbers whose similarity is `1 - |a - b|`: the mean over pairs, and the interval's half width.
    fn pairs_of(numbers: &[f64]) -> (f64, f64) {
        let n = numbers.len();
        let own = |i: usize| {
            let others = (0..n).filter(|&j| j != i).map(|j| 1.0 - (numbers[i] - numbers[j]).abs());
            others.sum::<f64>() / (n - 1) as f64
        };
        let own: Vec<f64> = (0..n).map(own).collect();
        let interval = interval(std::slice::from_ref(&own), Unit::PairsOfPicture).unwrap();
        (mean(&own).unwrap(), (interval.high - interval.low) / 2.0)
    }

    #[test]
    fn the_interval_over_pairs_is_as_wide_as_new_pictures_make_it() {
        let mut random = Mt64::new(7);
        let mut numbers = || (0..24).map(|_| random.next_u64() as f64 / u64::MAX as f64).collect::<Vec<_>>();
        let (means, halves): (Vec<f64>, Vec<f64>) = (0..60).map(|_| pairs_of(&numbers())).unzip();
        let spread = OverRuns::of(&means).unwrap().deviation.unwrap();
        let half = mean(&halves).unwrap();
        assert!((half / (1.96 * spread) - 1.0).abs() < 0.3, "{half} {spread}");
    }

    #[test]
    fn too_few_pictures_have_no_interval() {
        assert_eq!(interval(&[], Unit::Picture), None);
        assert_eq!(interval(&[vec![1.0]], Unit::Picture), None);
        assert_eq!(interval(&[vec![1.0, 2.0], vec![]], Unit::Picture), None);
        assert_eq!(interval(&[vec![1.0, 2.0]], Unit::PairsOfPicture), None);
        assert_eq!(interval(&[vec![1.0, 2.0, 3.0]], Unit::Picture), None);
        assert!(interval(&[vec![1.0, 2.0, 3.0], vec![1.0, 2.0]], Unit::Picture).is_some());
        assert_eq!(OverRuns::of(&[]), None);
        assert_eq!(OverRuns::of(&[2.0]), Some(OverRuns { mean: 2.0, deviation: None, error: None }));
    }

    #[test]
    fn of_a_hundred_sets_of_four_pictures_about_five_intervals_miss_the_truth() {
        let mut random = Mt64::new(11);
        // The sum of twelve: as good as normal, around 0.
        let mut drawn = || (0..12).map(|_| random.next_u64() as f64 / u64::MAX as f64).sum::<f64>() - 6.0;
        let sets: Vec<Vec<f64>> = (0..400).map(|_| (0..4).map(|_| drawn()).collect()).collect();
        let misses =
            |set: &&Vec<f64>| !interval(std::slice::from_ref(*set), Unit::Picture).unwrap().holds(0.0);
        let missed = sets.iter().filter(misses).count();
        assert!((8..=36).contains(&missed), "{missed} of 400");
    }

    proptest! {
        #[test]
        fn an_interval_moves_and_grows_with_its_values(values in prop::collection::vec(-1.0f64..1.0, 4..12)) {
            let plain = interval(std::slice::from_ref(&values), Unit::Picture).unwrap();
            let moved = interval(&[values.iter().map(|x| 3.0 * x + 1.0).collect()], Unit::Picture).unwrap();
            prop_assert!((moved.low - (3.0 * plain.low + 1.0)).abs() < 1e-9);
            prop_assert!((moved.high - (3.0 * plain.high + 1.0)).abs() < 1e-9);
            prop_assert!(plain.low <= plain.high);
        }
    }
}
