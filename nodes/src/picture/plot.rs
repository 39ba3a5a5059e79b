//! Lines over a plane, as a picture.

use anyhow::anyhow;
use epaint_default_fonts::HACK_REGULAR;
use flow_engine::Result;
use image::RgbImage;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::legend::{self, look};

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// Where it goes, from left to right.
    pub points: Vec<(f64, f64)>,
    /// The same with less noise, if it is to be drawn: then `points` are drawn faintly.
    pub smooth: Option<Vec<(f64, f64)>>,
}

/// A plot of lines whose values are not negative.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot<'a> {
    /// Words above it.
    pub title: &'a str,
    /// What the axes say, x and y.
    pub axes: [&'a str; 2],
    /// The lines.
    pub lines: &'a [Line],
    /// Width and height in pixels.
    pub size: (u32, u32),
}

/// Colours that people with any colour vision tell apart (Okabe and Ito 2008), black last.
pub const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(240, 228, 66),
    RGBColor(0, 0, 0),
];
pub(super) const FONT: &str = "sans-serif";

/// Makes the font known that every plot is written in.
///
/// # Errors
/// A font that cannot be read.
pub fn register() -> std::result::Result<(), &'static str> {
    register_font(FONT, FontStyle::Normal, HACK_REGULAR).map_err(|_| "its font cannot be read")
}

impl Plot<'_> {
    /// Draws it.
    ///
    /// # Errors
    /// A size without room for the axes.
    pub fn draw(&self) -> Result<RgbImage> {
        let (width, height) = self.size;
        let mut bytes = vec![255; width as usize * height as usize * 3];
        self.draw_into(&mut bytes).map_err(|error| anyhow!("the plot cannot be drawn: {error}"))?;
        RgbImage::from_raw(width, height, bytes).ok_or_else(|| anyhow!("a plot of the wrong size"))
    }

    fn draw_into(&self, bytes: &mut [u8]) -> std::result::Result<(), Box<dyn std::error::Error + '_>> {
        register()?;
        let canvas = BitMapBackend::with_buffer(bytes, self.size).into_drawing_area();
        canvas.fill(&WHITE)?;
        let text = (self.size.1 / 26).max(10);
        let (right, top) = self.ends();
        let names = || self.lines.iter().map(|line| &*line.name);
        let (area, column) = legend::beside(&canvas, names(), text)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, (FONT, text * 5 / 4))
            .margin(text)
            .x_label_area_size(text * 5 / 2)
            .y_label_area_size(text * 4)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        let [x, y] = self.axes;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .label_style((FONT, text))
            .x_desc(x)
            .y_desc(y)
            .draw()?;
        for (number, line) in self.lines.iter().enumerate() {
            let look = look(number);
            if line.smooth.is_some() {
                chart.draw_series(LineSeries::new(line.points.iter().copied(), look.colour.mix(0.25)))?;
            }
            let points = line.smooth.as_ref().unwrap_or(&line.points).iter().copied();
            let strong = look.colour.stroke_width(2);
            match look.round {
                0 => chart.draw_series(LineSeries::new(points, strong))?,
                _ => chart.draw_series(DashedLineSeries::new(points, 6, 4, strong))?,
            };
        }
        legend::write(&column, names(), text, |number, (x, y)| {
            let (look, text) = (look(number), text as i32);
            let length = if look.round == 0 { text } else { text / 2 };
            PathElement::new([(x, y), (x + length, y)], look.colour.stroke_width(2))
        })?;
        Ok(canvas.present()?)
    }

    /// Where the axes end.
    fn ends(&self) -> (f64, f64) {
        let points = self.lines.iter().flat_map(|line| &line.points);
        let (right, top) = points.fold((0f64, 0f64), |(right, top), &(x, y)| (right.max(x), top.max(y)));
        let some = |end: f64| if end > 0.0 && (end * 1.04).is_finite() { end * 1.04 } else { 1.0 };
        (some(right), some(top))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_line_falls_and_the_legend_names_it() {
        let points: Vec<_> = (0..=10).map(|x| (f64::from(x), f64::from(10 - x))).collect();
        let flat = Line { name: "flat".into(), points: vec![(0.0, 2.0), (10.0, 2.0)], smooth: None };
        let falls = Line { name: "falls".into(), points: points.clone(), smooth: Some(points) };
        let lines = [flat, falls];
        let plot = Plot { title: "two lines", axes: ["x", "y"], lines: &lines, size: (480, 320) };
        let drawn = plot.draw().unwrap();
        let RGBColor(r, g, b) = COLOURS[1];
        let mut found: Vec<_> = drawn
            .enumerate_pixels()
            .filter(|(.., pixel)| pixel.0 == [r, g, b])
            .map(|(x, y, _)| (x, y))
            .collect();
        found.sort_unstable();
        let (first, middle) = (found[0], found[found.len() / 2]);
        assert!(
            found.len() > 300 && middle.0 > first.0 + 80 && middle.1 > first.1 + 80,
            "{first:?} {middle:?}"
        );
        assert!(drawn != Plot { title: "another", ..plot.clone() }.draw().unwrap());
    }

    #[test]
    fn nothing_to_draw_is_drawn_as_axes_alone() {
        let empty = Line { name: "empty".into(), points: Vec::new(), smooth: None };
        for lines in [vec![], vec![empty]] {
            let plot = Plot { title: "", axes: ["x", "y"], lines: &lines, size: (200, 160) };
            assert!(plot.draw().unwrap().pixels().any(|pixel| pixel.0 != [255; 3]));
        }
    }
}
