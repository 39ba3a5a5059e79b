//! `Plot`: methods as points, one measure against another.

use flow_engine::{Check, Cx, In, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evaluate::comparison::{Compared, table::from_report};
use crate::evaluate::measure::Measure;
use crate::picture::scatter::{Point, Scatter};
use crate::picture::{Images, Picture};
use crate::report::Report;

/// Plot methods, one measure against another, with their 95 % intervals: text against image alignment, as in the paper's
/// figure 3.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plot {
    /// A report of `Compare`.
    pub report: In<Report>,
    /// What grows to the right.
    #[serde(default = "text")]
    pub x: Measure,
    /// What grows upwards.
    #[serde(default = "image")]
    pub y: Measure,
    /// Words above the plot; without them, those of the report.
    #[serde(default)]
    pub title: Option<String>,
    /// Width of the plot in pixels.
    #[serde(default = "wide")]
    #[schemars(range(min = 160, max = 8192))]
    pub width: u32,
    /// Height of the plot in pixels.
    #[serde(default = "high")]
    #[schemars(range(min = 120, max = 8192))]
    pub height: u32,
}

fn text() -> Measure {
    Measure::TextAlignment
}

fn image() -> Measure {
    Measure::ImageAlignment
}

fn wide() -> u32 {
    800
}

fn high() -> u32 {
    560
}

impl Node for Plot {
    const KIND: &'static str = "Plot";
    type Output = Images;

    fn check(&self, cx: &mut Check<'_>) {
        if self.x == self.y {
            cx.problem_with("y", Problem::new("`x` and `y` are the same measure"));
        }
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Images> {
        let report = cx.input(&self.report)?;
        let compared = from_report(&report).ok_or_else(|| {
            Problem::new(format!("the report `{}` compares no methods", report.title))
                .hint("plot what `Compare` gives")
        })?;
        let points = points(&compared, [self.x, self.y]);
        if points.is_empty() {
            let message = format!("no method has both `{}` and `{}`", self.x.name(), self.y.name());
            return Err(Problem::new(message).hint("measure both with `Evaluate`").into());
        }
        let plot = Scatter {
            title: self.title.as_deref().unwrap_or(&report.title),
            axes: [self.x.name(), self.y.name()],
            points: &points,
            size: (self.width, self.height),
        };
        Ok(Images { pictures: vec![Picture::new("plot", plot.draw()?)] })
    }
}

/// A point for each method that has both measures.
pub(super) fn points(compared: &[Compared], axes: [Measure; 2]) -> Vec<Point> {
    let of = |method: &str, measure: Measure| {
        compared.iter().find(|row| row.method == method && row.measure == measure).map(|row| row.summary)
    };
    let point = |row: &Compared| {
        let [x, y] = axes.map(|measure| of(&row.method, measure));
        let both = [x?, y?];
        Some(Point {
            name: row.method.clone(),
            at: both.map(|summary| summary.over_runs.mean),
            range: both.map(|summary| summary.interval.map(|interval| (interval.low, interval.high))),
        })
    };
    compared.iter().filter(|row| row.measure == axes[0]).filter_map(point).collect()
}
