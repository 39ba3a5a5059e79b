//! `LossCurves`: how trainings went, as a plot.

use anyhow::Context as _;
use flow_engine::{Check, Cx, In, Nature, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapter::Adapter;
use crate::picture::plot::{Line, Plot};
use crate::picture::{Images, Picture};
use crate::train::curve::LOSS_CURVE;

/// Draw the loss curves of trained adapters, which their files hold.
///
/// Each point is the mean of some steps, so that there are at most a hundred, drawn faintly with a running mean on top. The
/// loss of one step says little: it depends on the timestep that was drawn.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LossCurves {
    /// Adapters that `Train` made.
    pub adapters: Vec<In<Adapter>>,
    /// What the legend calls them, as many as there are adapters; without it, the names of their nodes.
    #[serde(default)]
    pub names: Option<Vec<String>>,
    /// Words above the plot.
    #[serde(default = "loss")]
    pub title: String,
    /// The share of the mean so far that a point leaves in the running mean; 0 draws the points alone.
    #[serde(default = "most")]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub smoothing: f64,
    /// Width of the plot in pixels.
    #[serde(default = "wide")]
    #[schemars(range(min = 160, max = 8192))]
    pub width: u32,
    /// Height of the plot in pixels.
    #[serde(default = "high")]
    #[schemars(range(min = 120, max = 8192))]
    pub height: u32,
}

fn loss() -> String {
    "loss".to_owned()
}

fn most() -> f64 {
    0.9
}

fn wide() -> u32 {
    800
}

fn high() -> u32 {
    480
}

impl Node for LossCurves {
    const KIND: &'static str = "LossCurves";
    // The legend may name nodes, which are part of no key; as with `Grid`.
    const NATURE: Nature = Nature::Effect;
    type Output = Images;

    fn check(&self, cx: &mut Check<'_>) {
        let (adapters, names) =
            (self.adapters.len(), self.names.as_ref().map_or(self.adapters.len(), Vec::len));
        if adapters == 0 {
            cx.problem_with("adapters", Problem::new("a plot of loss curves needs at least one adapter"));
        }
        if names != adapters {
            let message =
                format!("`names` and `adapters` must be equally long, and are {names} and {adapters}");
            cx.problem_with("names", Problem::new(message));
        }
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Images> {
        let lines = self.adapters.iter().enumerate().map(|(at, wire)| self.line(at, wire, cx));
        let lines = lines.collect::<Result<Vec<_>>>()?;
        let size = (self.width, self.height);
        let plot = Plot { title: &self.title, axes: ["step", "loss"], lines: &lines, size };
        Ok(Images { pictures: vec![Picture::new(cx.node(), plot.draw()?)] })
    }
}

impl LossCurves {
    fn line(&self, at: usize, wire: &In<Adapter>, cx: &Cx<'_>) -> Result<Line> {
        let adapter = cx.input(wire)?;
        let said = adapter.steps().iter().find_map(|single| single.files().metadata().get(LOSS_CURVE));
        let said = said.ok_or_else(|| {
            Problem::new(format!("`{}` does not say how its loss went", adapter.name()))
                .hint("the adapters that `Train` makes do")
        })?;
        let points: Vec<(f64, f64)> = serde_json::from_str(said)
            .with_context(|| format!("what `{}` says of its loss cannot be read", adapter.name()))?;
        let smooth = (self.smoothing > 0.0).then(|| smoothed(&points, self.smoothing));
        let given = self.names.as_ref().and_then(|names| names.get(at));
        Ok(Line { name: given.map_or(wire.node(), String::as_str).to_owned(), points, smooth })
    }
}

/// A running mean in which every point so far counts, the last ones most; the first one counts no more than it should.
fn smoothed(points: &[(f64, f64)], share: f64) -> Vec<(f64, f64)> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let mean = |&(x, y): &(f64, f64)| {
        sum = share * sum + y;
        weight = share * weight + 1.0;
        (x, sum / weight)
    };
    points.iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_mean_begins_with_the_first_point_and_follows() {
        let points = [(1.0, 4.0), (2.0, 4.0), (3.0, 1.0)];
        let means = smoothed(&points, 0.5);
        assert_eq!(means[..2], [(1.0, 4.0), (2.0, 4.0)]);
        assert!((means[2].1 - 4.0 / 7.0 * 1.0 - 4.0 * 3.0 / 7.0).abs() < 1e-12, "{means:?}");
    }
}
