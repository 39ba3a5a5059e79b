//! Numbers over steps, as many as a screen can show.

/// More points than this are thinned by half.
pub const MOST_POINTS: usize = 4096;
/// How much of the smoothed line a new number makes.
const NEW: f64 = 0.05;

/// A number that a node measured again and again.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its unit, empty for plain numbers.
    pub unit: String,
    /// What was measured last.
    pub last: f64,
    /// How many numbers there were.
    pub count: u64,
    points: Vec<Point>,
    /// How many numbers make a point.
    stride: u64,
    /// Those that make none yet, added up.
    pending: Point,
    pending_count: u64,
    smooth: f64,
    last_x: f64,
}

/// A point of a curve.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// The step.
    pub x: f64,
    /// The number.
    pub raw: f64,
    /// What it comes to over the last steps.
    pub smooth: f64,
}

impl Point {
    fn mean(self, other: Self) -> Self {
        Self {
            x: (self.x + other.x) / 2.0,
            raw: (self.raw + other.raw) / 2.0,
            smooth: (self.smooth + other.smooth) / 2.0,
        }
    }
}

impl Series {
    /// A number without values.
    pub fn new(name: &str, unit: &str) -> Self {
        Self { name: name.to_owned(), unit: unit.to_owned(), stride: 1, ..Self::default() }
    }

    /// Takes in a value; without a step, it comes after the last one. A step before the last one starts it anew.
    pub fn push(&mut self, step: Option<u64>, value: f64) {
        let x = step.map_or(self.count as f64, |step| step as f64);
        if self.count > 0 && x <= self.last_x {
            *self = Self::new(&self.name, &self.unit);
        }
        (self.last, self.last_x) = (value, x);
        if !value.is_finite() {
            return;
        }
        self.count += 1;
        let weight = NEW.max(1.0 / self.count as f64);
        self.smooth += weight * (value - self.smooth);
        self.gather(x, value);
    }

    fn gather(&mut self, x: f64, value: f64) {
        self.pending.x += x;
        self.pending.raw += value;
        self.pending.smooth += self.smooth;
        self.pending_count += 1;
        if self.pending_count < self.stride {
            return;
        }
        let count = self.pending_count as f64;
        let Point { x, raw, smooth } = std::mem::take(&mut self.pending);
        self.pending_count = 0;
        self.points.push(Point { x: x / count, raw: raw / count, smooth: smooth / count });
        if self.points.len() == MOST_POINTS {
            self.thin();
        }
    }

    /// Makes one point of every two.
    fn thin(&mut self) {
        let thinned = self.points.chunks(2).map(|pair| pair[0].mean(pair[pair.len() - 1])).collect();
        self.points = thinned;
        self.stride *= 2;
    }

    /// The curve.
    pub fn points(&self) -> &[Point] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_numbers_make_a_few_thousand_points_in_order() {
        let mut series = Series::new("loss", "");
        (0..1_000_000).for_each(|step| series.push(Some(step), step as f64));
        assert!(series.points().len() < MOST_POINTS);
        assert!(series.points().len() >= MOST_POINTS / 2 - 1);
        assert!(series.points().is_sorted_by(|a, b| a.x < b.x));
        assert!(series.points().iter().all(|point| (point.x - point.raw).abs() < 1e-6));
    }

    #[test]
    fn a_training_that_starts_anew_draws_a_new_curve() {
        let mut series = Series::new("loss", "");
        (0..50).for_each(|step| series.push(Some(step), 1.0));
        series.push(Some(0), 2.0);
        assert_eq!(series.points(), [Point { x: 0.0, raw: 2.0, smooth: 2.0 }]);
    }

    #[test]
    fn what_is_no_number_is_told_and_not_drawn() {
        let mut series = Series::new("loss", "");
        series.push(Some(1), 1.0);
        series.push(Some(2), f64::NAN);
        assert!(series.last.is_nan());
        assert_eq!(series.points().len(), 1);
    }
}
