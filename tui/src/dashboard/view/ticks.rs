//! The marks of an axis: round numbers, as many as there is room for.

use crate::dashboard::state::text::number;

/// Steps between marks, up to a power of ten: those that people read at a glance.
const ROUND: [f64; 10] = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
/// More decimals than this are written as powers of ten.
const MOST_DECIMALS: usize = 5;

/// Into how many parts the marks divide an axis of a chart of some rows.
pub fn parts_of(rows: u16) -> usize {
    match rows {
        0..8 => 1,
        8..17 => 2,
        _ => 4,
    }
}

/// Round numbers at equal distances, the first of them at most the least value and the last at least the greatest.
pub fn ticks([least, greatest]: [f64; 2], parts: usize) -> Vec<f64> {
    let parts = parts.max(1);
    let span = greatest - least;
    // Above zero but not far from it, an axis begins at zero: half the height means half the value.
    let least = if least > 0.0 && least < span { 0.0 } else { least };
    let wanted = (greatest - least) / parts as f64;
    let scale = 10_f64.powf(wanted.log10().floor());
    let rounded = |tens: f64| ROUND.iter().map(move |round| round * scale * tens);
    let steps = rounded(1.0).chain(rounded(10.0)).chain(rounded(100.0));
    let fits = |step: &f64| first(least, *step) + step * parts as f64 >= greatest - step * 1e-9;
    match steps.filter(|step| step.is_finite() && *step > 0.0).find(fits) {
        Some(step) => (0..=parts).map(|at| first(least, step) + step * at as f64).collect(),
        None => vec![least, greatest],
    }
}

/// The last multiple of a step that is not above a value.
fn first(value: f64, step: f64) -> f64 {
    (value / step + 1e-9).floor() * step
}

/// How marks are written: all with the same decimals.
pub fn told(ticks: &[f64]) -> Vec<String> {
    let step = ticks.windows(2).map(|pair| pair[1] - pair[0]).next().unwrap_or(1.0);
    let is_whole = |decimals: &usize| {
        let shifted = step * 10_f64.powi(i32::try_from(*decimals).unwrap_or(0));
        shifted >= 0.5 && (shifted - shifted.round()).abs() < 1e-6 * shifted.max(1.0)
    };
    let is_plain = ticks.iter().all(|tick| tick.abs() < 1e5);
    match (0..=MOST_DECIMALS).find(is_whole).filter(|_| is_plain) {
        Some(decimals) => ticks.iter().map(|tick| zero(format!("{tick:.decimals$}"))).collect(),
        None => ticks.iter().copied().map(number).collect(),
    }
}

/// Nothing is nothing, however many decimals it has.
fn zero(text: String) -> String {
    if text.chars().any(|letter| letter.is_ascii_digit() && letter != '0') { text } else { "0".to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_are_round() {
        let marks = |bounds, parts| told(&ticks(bounds, parts)).join(" ");
        assert_eq!(marks([0.0142, 0.5288], 2), "0 0.3 0.6");
        assert_eq!(marks([0.0033, 0.0190], 2), "0 0.01 0.02");
        assert_eq!(marks([0.01, 0.37], 4), "0 0.1 0.2 0.3 0.4");
        assert_eq!(marks([0.00001, 0.00003], 1), "0 0.00003");
    }

    proptest! {
        #[test]
        fn everything_is_between_the_first_mark_and_the_last(
            least in -1e12..1e12_f64,
            span in prop_oneof![1e-9..1.0, 1.0..1e12_f64],
            parts in 0..6_usize,
        ) {
            let greatest = least + span;
            prop_assume!(greatest > least);
            let ticks = ticks([least, greatest], parts);
            let slack = span * 1e-6 + least.abs() * 1e-12;
            prop_assert!(ticks.len() >= 2 && ticks.is_sorted(), "{ticks:?}");
            prop_assert!(ticks[0] <= least + slack && greatest <= ticks[ticks.len() - 1] + slack, "{ticks:?}");
            prop_assert_eq!(told(&ticks).len(), ticks.len());
        }
    }
}
