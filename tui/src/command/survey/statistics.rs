//! How much counts of answers say.
//!
//! What an interval is, and how many resamples it is drawn from, is what measured reports have too.

use flow_nodes::evaluate::statistics::{Interval, RESAMPLES, middle};

/// How many standard deviations from the middle 95 % of the normal distribution end.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % interval of a share of independent answers: E. B. Wilson, "Probable inference, the law of succession, and
/// statistical inference", Journal of the American Statistical Association 22 (1927), 209-212.
///
/// Of no answers it is everything.
pub fn wilson(chosen: usize, answers: usize) -> Interval {
    if answers == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, z2) = (answers as f64, Z * Z);
    let share = chosen as f64 / n;
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    // At the ends both are the same but for rounding.
    let low = if chosen == 0 { 0.0 } else { middle - half };
    let high = if chosen == answers { 1.0 } else { middle + half };
    Interval { low: low.max(0.0), high: high.min(1.0) }
}

/// How probable a number of wins as uneven as this is, or more so, if each side wins as often: the exact two-sided sign
/// test, which is binomial with a half.
pub fn sign_test(wins: usize, losses: usize) -> f64 {
    let n = wins + losses;
    let mut term = -(n as f64) * std::f64::consts::LN_2; // ln of C(n, 0) / 2^n
    let mut tail = term.exp();
    for k in 1..=wins.min(losses) {
        term += ((n - k + 1) as f64 / k as f64).ln();
        tail += term.exp();
    }
    (2.0 * tail).min(1.0)
}

/// What one participant answered: how often each side was chosen, and how many questions were answered.
#[derive(Debug)]
pub struct Counts {
    /// Of each side.
    pub chosen: Vec<usize>,
    /// All together.
    pub answers: usize,
}

/// How many participants chose each of two sides oftener than the other. Whoever chose both as often is not counted.
pub fn majorities(participants: &[Counts], [one, two]: [usize; 2]) -> [usize; 2] {
    let oftener = |side: usize, other: usize| {
        participants.iter().filter(|counts| counts.chosen[side] > counts.chosen[other]).count()
    };
    [oftener(one, two), oftener(two, one)]
}

/// The 95 % intervals of the shares of all sides if other participants of the same kind had answered the same questions:
/// percentiles over participants drawn with replacement, each with all their answers. There must be two.
///
/// In small samples a resample varies too little by `√((n-1)/n)`, which is made up for (Hesterberg 2015, section 3.2).
pub fn bootstrap(participants: &[Counts], sides: usize, seed: u64) -> Vec<Interval> {
    let n = participants.len();
    let spread = (n as f64 / (n as f64 - 1.0)).sqrt();
    let told = shares(participants, sides);
    let mut chance = Chance::new(seed);
    let mut resampled = vec![Vec::with_capacity(RESAMPLES); sides];
    for _ in 0..RESAMPLES {
        let again = shares((0..n).map(|_| &participants[chance.below(n)]), sides);
        for ((resampled, again), told) in resampled.iter_mut().zip(again).zip(&told) {
            resampled.push(told + spread * (again - told));
        }
    }
    resampled.into_iter().map(|shares| of_a_share(middle(shares))).collect()
}

/// How large a part of all answers each side has.
fn shares<'a>(participants: impl IntoIterator<Item = &'a Counts>, sides: usize) -> Vec<f64> {
    let (mut chosen, mut answers) = (vec![0_usize; sides], 0_usize);
    for counts in participants {
        answers += counts.answers;
        chosen.iter_mut().zip(&counts.chosen).for_each(|(sum, count)| *sum += count);
    }
    chosen.into_iter().map(|chosen| chosen as f64 / answers.max(1) as f64).collect()
}

/// An interval without what no share can be.
fn of_a_share(Interval { low, high }: Interval) -> Interval {
    Interval { low: low.max(0.0), high: high.min(1.0) }
}

/// Numbers that look like chance and are the same for a seed, wherever they are drawn.
struct Chance(blake3::OutputReader);

impl Chance {
    fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("flow 2026-11-23 resamples of a survey");
        hasher.update(&seed.to_le_bytes());
        Self(hasher.finalize_xof())
    }

    /// A number below another, which is not 0; all are as probable.
    fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        let even = u64::MAX - u64::MAX % end; // what lies above would make small numbers more probable
        loop {
            let mut bytes = [0; 8];
            self.0.fill(&mut bytes);
            let number = u64::from_le_bytes(bytes);
            if number < even {
                return (number % end) as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() < tolerance, "{a} is not {b}");
    }

    #[test]
    fn wilsons_interval_is_the_published_one() {
        // R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3; and 8 of 10.
        for (chosen, answers, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
            (8, 10, 0.4902, 0.9433),
        ] {
            let interval = wilson(chosen, answers);
            close(interval.low, low, 5.1e-5);
            close(interval.high, high, 5.1e-5);
        }
        assert_eq!((wilson(5, 5).high, wilson(0, 5).low), (1.0, 0.0));
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn the_sign_test_is_exact() {
        for (wins, losses, p) in [
            (0, 0, 1.0),
            (1, 0, 1.0),
            (5, 0, 2.0 / 32.0),
            (5, 5, 1.0),
            (8, 2, 2.0 * 56.0 / 1024.0),
            (15, 5, 43_400.0 / 1_048_576.0),
        ] {
            close(sign_test(wins, losses), p, 1e-12);
            close(sign_test(losses, wins), p, 1e-12);
        }
        // Where 2^n is no number any more.
        close(sign_test(3000, 3000), 1.0, 1e-12);
        let uneven = sign_test(2900, 3100);
        assert!(uneven > 0.0095 && uneven < 0.0105, "{uneven}");
        assert!(sign_test(5000, 0) < 1e-300);
    }

    #[test]
    fn resamples_are_the_seeds_and_of_participants() {
        let counts = |a: usize, b: usize| Counts { chosen: vec![a, b], answers: a + b };
        let differing: Vec<_> =
            (0..20).map(|index| if index % 2 == 0 { counts(9, 1) } else { counts(1, 9) }).collect();
        let first = bootstrap(&differing, 2, 1);
        assert_eq!(first, bootstrap(&differing, 2, 1));
        let draws = |mut chance: Chance| [(); 9].map(|()| chance.below(100));
        assert_ne!(draws(Chance::new(1)), draws(Chance::new(2)));
        // The share of 20 drawn ones is 0.1 + 0.8 B / 20 with B of a binomial of 20 and a half, 6 to 14 in 95 %: 0.16 to
        // each side of the middle, and further by √(20/19).
        let half = 0.16 * (20.0_f64 / 19.0).sqrt();
        close(first[0].low, 0.5 - half, 1e-9);
        close(first[0].high, 0.5 + half, 1e-9);
        // 200 answers as if they were independent would say less than half of that.
        let naive = wilson(100, 200);
        assert!(first[0].high - first[0].low > 2.0 * (naive.high - naive.low));
        let alike: Vec<_> = (0..5).map(|_| counts(3, 1)).collect();
        assert_eq!(bootstrap(&alike, 2, 1)[0], Interval { low: 0.75, high: 0.75 });
        // 5/6 and √2 times 1/6 to each side, which is more than everything.
        let two = bootstrap(&[counts(3, 0), counts(2, 1)], 2, 1);
        close(two[0].low, (5.0 - 2.0_f64.sqrt()) / 6.0, 1e-9);
        assert_eq!((two[0].high, two[1].low), (1.0, 0.0));
    }

    #[test]
    fn a_participant_has_one_voice_however_many_answers() {
        let counts = |chosen: [usize; 3]| Counts { chosen: chosen.into(), answers: chosen.iter().sum() };
        let participants = [[9, 1, 0], [2, 1, 5], [0, 3, 1], [2, 2, 0]].map(counts);
        assert_eq!(majorities(&participants, [0, 1]), [2, 1]);
        assert_eq!(majorities(&participants, [1, 0]), [1, 2]);
        assert_eq!(majorities(&participants, [0, 2]), [2, 2]);
        assert_eq!(majorities(&[], [0, 1]), [0, 0]);
    }

    #[test]
    fn chance_is_even() {
        let mut chance = Chance::new(0);
        let mut counts = [0_usize; 3];
        (0..30_000).for_each(|_| counts[chance.below(3)] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
    }
}
