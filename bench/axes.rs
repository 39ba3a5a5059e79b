//! Plots of growth: logarithmic axes, and a power that is fitted.

use std::path::Path;

use flow_engine::Result;
use flow_nodes::picture::plot::{COLOURS, register};
use plotters::prelude::*;

/// What grows along one axis.
pub struct Line<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
}

/// A plot.
pub struct Panel<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub lines: &'a [Line<'a>],
}

const SIZE: (u32, u32) = (640, 400);
const FONT: &str = "sans-serif";
/// What logarithms are taken of at least, so that 0 has a place.
const LEAST: f64 = 1e-6;

/// The `p` of `a xᵖ` by least squares of the logarithms; none of fewer than two points above 0.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logarithms: Vec<_> =
        points.iter().filter(|(_, y)| *y > LEAST).map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logarithms.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logarithms.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = logarithms.iter().map(|p| (p.0 - x).powi(2)).sum();
    let both: f64 = logarithms.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    (logarithms.len() > 1 && spread > 0.0).then(|| both / spread)
}

/// Draws an SVG.
///
/// # Errors
/// A file that cannot be written.
pub fn draw(file: &Path, panel: &Panel<'_>) -> Result<()> {
    let mut text = String::new();
    draw_into(&mut text, panel).map_err(|error| anyhow::anyhow!("the plot cannot be drawn: {error}"))?;
    Ok(std::fs::write(file, text)?)
}

fn draw_into(text: &mut String, panel: &Panel<'_>) -> Result<(), Box<dyn std::error::Error>> {
    register()?;
    let canvas = SVGBackend::with_string(text, SIZE).into_drawing_area();
    canvas.fill(&WHITE)?;
    draw_panel(&canvas, panel).map_err(|error| error.to_string())?;
    canvas.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(area: &Area<'_>, panel: &Panel<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let all = || panel.lines.iter().flat_map(|line| &line.points);
    let ends = |of: fn(&(f64, f64)) -> f64| {
        let values = all().map(of).map(|value| value.max(LEAST));
        values.fold((f64::MAX, LEAST), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ((left, right), (low, high)) = (ends(|p| p.0), ends(|p| p.1));
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, (FONT, 15))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d((left..right * 1.01).log_scale(), (low * 0.8..high * 1.25).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style((FONT, 12))
        .x_desc(panel.x)
        .y_desc(panel.y)
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&|y| format!("{y}"))
        .draw()?;
    for (line, colour) in panel.lines.iter().zip(COLOURS) {
        let points: Vec<_> = line.points.iter().map(|&(x, y)| (x, y.max(LEAST))).collect();
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
        let name = match exponent(&points) {
            Some(p) => format!("{}: x^{p:.2}", line.name),
            None => line.name.to_owned(),
        };
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 12))
        .draw()?;
    Ok(())
}
