//! Points with their errors over a plane, as pixels or as lines.

use anyhow::anyhow;
use flow_engine::Result;
use image::RgbImage;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::legend::{self, look, mark};
use super::plot::{FONT, register};

/// A point and where it may lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What stands beside it and in the legend.
    pub name: String,
    /// Where it is, x and y.
    pub at: [f64; 2],
    /// From where to where it may lie, x and y.
    pub range: [Option<(f64, f64)>; 2],
}

/// A plot of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter<'a> {
    /// Words above it.
    pub title: &'a str,
    /// What the axes say, x and y.
    pub axes: [&'a str; 2],
    /// The points.
    pub points: &'a [Point],
    /// Width and height in pixels.
    pub size: (u32, u32),
}

type Drawn<T> = std::result::Result<T, Box<dyn std::error::Error>>;

impl Scatter<'_> {
    /// Draws it in pixels.
    ///
    /// # Errors
    /// A size without room for the axes; a point that is no number.
    pub fn draw(&self) -> Result<RgbImage> {
        let (width, height) = self.size;
        let mut bytes = vec![255; width as usize * height as usize * 3];
        let canvas = BitMapBackend::with_buffer(&mut bytes, self.size).into_drawing_area();
        self.draw_on(canvas).map_err(|error| anyhow!("the plot cannot be drawn: {error}"))?;
        RgbImage::from_raw(width, height, bytes).ok_or_else(|| anyhow!("a plot of the wrong size"))
    }

    /// Draws it in lines, as an SVG document.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        let canvas = SVGBackend::with_string(&mut text, self.size).into_drawing_area();
        self.draw_on(canvas).map_err(|error| anyhow!("the plot cannot be drawn: {error}"))?;
        Ok(text)
    }

    fn draw_on<B: DrawingBackend>(&self, canvas: DrawingArea<B, Shift>) -> Drawn<()>
    where
        B::ErrorType: 'static,
    {
        register()?;
        canvas.fill(&WHITE)?;
        let text = (self.size.1 / 26).max(10);
        let [x, y] = [0, 1].map(|axis| self.ends(axis));
        let names = || self.points.iter().map(|point| &*point.name);
        let (area, column) = legend::beside(&canvas, names(), text)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, (FONT, text * 5 / 4))
            .margin(text)
            .x_label_area_size(text * 5 / 2)
            .y_label_area_size(text * 5)
            .build_cartesian_2d(x?, y?)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .label_style((FONT, text))
            .x_desc(self.axes[0])
            .y_desc(self.axes[1])
            .draw()?;
        let radius = (text / 3) as i32;
        for (number, point) in self.points.iter().enumerate() {
            let ([x, y], look) = (point.at, look(number));
            let thin = look.colour.stroke_width(2);
            let across = point.range[0].map(|(low, high)| PathElement::new([(low, y), (high, y)], thin));
            let along = point.range[1].map(|(low, high)| PathElement::new([(x, low), (x, high)], thin));
            chart.draw_series(across.into_iter().chain(along))?;
            chart.draw_series([mark(look, (x, y), radius)])?;
        }
        legend::write(&column, names(), text, |number, at| mark(look(number), at, radius))?;
        Ok(canvas.present()?)
    }

    /// Where an axis begins and ends: around everything that is drawn, with a tenth to spare.
    fn ends(&self, axis: usize) -> Drawn<std::ops::Range<f64>> {
        let ends = self.points.iter().flat_map(|point| {
            let (low, high) = point.range[axis].unwrap_or((point.at[axis], point.at[axis]));
            [low, high, point.at[axis]]
        });
        if ends.clone().any(|end| !end.is_finite()) {
            return Err("a point of it is no number".into());
        }
        let (low, high) =
            ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        if low > high {
            return Err("it has no points".into());
        }
        let spare = if high > low { (high - low) / 10.0 } else { 0.5 };
        Ok(low - spare..high + spare)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plot::COLOURS;
    use super::*;

    fn points() -> Vec<Point> {
        let point = |name: &str, x: f64| Point {
            name: name.into(),
            at: [x, -x],
            range: [Some((x - 1.0, x + 1.0)), None],
        };
        vec![point("PaRa", 3.0), point("LoRA <&>", 5.0)]
    }

    #[test]
    fn points_are_drawn_in_pixels_and_in_lines_in_the_same_colours() {
        let points = points();
        let plot = Scatter { title: "t", axes: ["x", "y"], points: &points, size: (320, 240) };
        let pixels = plot.draw().unwrap();
        for colour in &COLOURS[..2] {
            let is = |pixel: &image::Rgb<u8>| pixel.0 == [colour.0, colour.1, colour.2];
            assert!(pixels.pixels().filter(|pixel| is(pixel)).count() > 20);
        }
        let svg = plot.svg().unwrap();
        assert!(
            svg.starts_with("<svg ") && svg.contains("#0072B2") && svg.contains("LoRA &lt;&amp;&gt;"),
            "{svg}"
        );
    }

    #[test]
    fn one_point_and_none_at_all_are_drawn_or_told() {
        let points = &points()[..1];
        let plot = Scatter { title: "t", axes: ["x", "y"], points, size: (200, 160) };
        assert!(plot.draw().is_ok());
        assert!(Scatter { points: &[], ..plot }.draw().unwrap_err().to_string().contains("no points"));
        let nowhere = [Point { at: [1.0, f64::NAN], ..points[0].clone() }];
        assert!(Scatter { points: &nowhere, ..plot }.draw().unwrap_err().to_string().contains("no number"));
    }
}
