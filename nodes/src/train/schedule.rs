//! The learning rate over the steps.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate goes on after its warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RateSchedule {
    /// It stays.
    #[default]
    Constant,
    /// It falls to 0 in a straight line.
    Linear,
    /// It falls to 0 along half a cosine.
    Cosine,
}

impl RateSchedule {
    /// The share of the learning rate for a step, counted from 0: over `warmup` steps it grows to 1, and would reach
    /// its end behind the last of `steps`.
    pub fn share(self, step: usize, steps: usize, warmup: usize) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let gone = (step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Linear => (1.0 - gone).max(0.0),
            Self::Cosine => 0.5 * (1.0 + (PI * gone.min(1.0)).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_warm_up_and_fall_to_nothing() {
        let shares = |schedule: RateSchedule| [0, 1, 2, 6, 10].map(|step| schedule.share(step, 10, 2));
        assert_eq!(shares(RateSchedule::Constant), [0.5, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(shares(RateSchedule::Linear), [0.5, 1.0, 1.0, 0.5, 0.0]);
        let cosine = shares(RateSchedule::Cosine);
        assert!((cosine[3] - 0.5).abs() < 1e-12 && cosine[4].abs() < 1e-12, "{cosine:?}");
        assert!(RateSchedule::Cosine.share(0, 0, 0).is_finite());
    }
}
