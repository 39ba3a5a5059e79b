//! Settings of the noise.

use serde::Deserialize;

use super::{refused, yes};

/// `scheduler/scheduler_config.json`: the noise of training, and habits of sampling.
#[derive(Debug, Clone, Deserialize)]
pub struct SchedulerConfig {
    /// Timesteps of training.
    #[serde(default = "thousand")]
    pub num_train_timesteps: usize,
    /// First beta.
    #[serde(default = "beta_start")]
    pub beta_start: f64,
    /// Last beta.
    #[serde(default = "beta_end")]
    pub beta_end: f64,
    /// How the betas run between them.
    #[serde(default)]
    pub beta_schedule: BetaSchedule,
    /// The betas themselves, instead of the three above.
    #[serde(default)]
    pub trained_betas: Option<Vec<f32>>,
    /// What the network predicts.
    #[serde(default)]
    pub prediction_type: Prediction,
    /// Where the timesteps of sampling lie.
    #[serde(default)]
    pub timestep_spacing: Spacing,
    /// Added to the timesteps of [`Spacing::Leading`].
    #[serde(default)]
    pub steps_offset: usize,
    /// Whether the last step of DDIM lands on alpha 1 instead of the first timestep's.
    #[serde(default = "yes")]
    pub set_alpha_to_one: bool,
    /// Whether predicted pictures are clipped. Absent means no: only DDIM's own files carry it.
    #[serde(default)]
    pub clip_sample: bool,
    /// The bound of the clipping.
    #[serde(default = "unit")]
    pub clip_sample_range: f64,
    /// Whether the last timestep is made pure noise.
    #[serde(default)]
    pub rescale_betas_zero_snr: bool,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// How betas run from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly.
    #[default]
    Linear,
    /// Their square roots evenly: Stable Diffusion's.
    ScaledLinear,
    /// From a squared cosine of the signal (Nichol and Dhariwal 2021, arXiv 2102.09672).
    SquaredcosCapV2,
}

/// What the network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    #[default]
    Epsilon,
    /// `sqrt(alpha) noise - sqrt(1 - alpha) signal` (Salimans and Ho 2022, arXiv 2202.00512).
    VPrediction,
    /// The signal.
    Sample,
}

/// Where the timesteps of sampling lie among those of training (Lin et al. 2023, arXiv 2305.08891, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// From the first one on, at whole distances.
    #[default]
    Leading,
    /// From the last one back.
    Trailing,
    /// From the first to the last.
    Linspace,
}

/// More timesteps than any model was trained with; a table of them is made.
const MOST_TIMESTEPS: usize = 100_000;

impl SchedulerConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let mut wrong = refused(&self.rest, &[("thresholding", &["false"])]);
        if self.trained_betas.as_ref().map_or(self.num_train_timesteps, Vec::len) != self.num_train_timesteps
        {
            wrong.push(format!("`trained_betas` are not {} numbers", self.num_train_timesteps));
        }
        if let Some(beta) = self.trained_betas.iter().flatten().find(|beta| !(**beta > 0.0 && **beta < 1.0)) {
            wrong.push(format!("`trained_betas` holds {beta}, expected numbers between 0 and 1"));
        }
        let train = self.num_train_timesteps;
        if !(2..=MOST_TIMESTEPS).contains(&train) {
            wrong.push(format!("`num_train_timesteps` is {train}, expected 2 to {MOST_TIMESTEPS}"));
        }
        if self.steps_offset >= train {
            wrong.push(format!("`steps_offset` is {}, expected less than {train}", self.steps_offset));
        }
        for (name, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            if !(beta > 0.0 && beta < 1.0) {
                wrong.push(format!("`{name}` is {beta}, expected a number between 0 and 1"));
            }
        }
        wrong
    }
}

fn thousand() -> usize {
    1000
}
fn beta_start() -> f64 {
    1e-4
}
fn beta_end() -> f64 {
    0.02
}
fn unit() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::SchedulerConfig;

    #[test]
    fn betas_that_leave_no_signal_are_refused() {
        let wrong = |betas: [f64; 2]| {
            let config = json!({ "num_train_timesteps": 2, "trained_betas": betas });
            serde_json::from_value::<SchedulerConfig>(config).unwrap().check()
        };
        assert_eq!(wrong([0.01, 0.5]), [""; 0]);
        for (betas, told) in [([0.01, 1.5], "1.5"), ([-0.1, 0.5], "-0.1"), ([0.0, 0.5], "0")] {
            assert_eq!(
                wrong(betas),
                [format!("`trained_betas` holds {told}, expected numbers between 0 and 1")]
            );
        }
    }
}
