//! A contact sheet: rows of pictures on light paper, with words beside and below them.
//!
//! ```text
//!   title
//!   label   picture  picture  picture
//!           caption  caption  caption
//!   label   picture  picture
//! ```
//!
//! It does not know where pictures and words come from.

use flow_engine::{Problem, Result};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::text::Letters;

const PAPER: Rgb<u8> = Rgb([247, 246, 243]);
const INK: Rgb<u8> = Rgb([40, 40, 46]);
const FAINT_INK: Rgb<u8> = Rgb([112, 110, 108]);
/// A hairline around pictures, so that white ones have an edge.
const EDGE: Rgb<u8> = Rgb([222, 220, 215]);

/// The most pixels of a sheet: 300 MB of them.
pub const MOST_PIXELS: u64 = 100_000_000;

const TITLE_LINES: usize = 3;
const LABEL_LINES: usize = 8;
const CAPTION_LINES: usize = 4;

/// What a sheet shows.
pub struct Sheet<'a> {
    /// Words above everything.
    pub title: &'a str,
    /// The rows, from top to bottom.
    pub rows: Vec<Row<'a>>,
    /// The longer side of every picture, in pixels, from 1.
    pub cell: u32,
}

/// A row of pictures.
pub struct Row<'a> {
    /// Words to the left of the row, or none.
    pub label: &'a str,
    /// The pictures, from left to right.
    pub cells: Vec<Cell<'a>>,
    /// Whether the row belongs to the one above, and so stands closer to it than to others.
    pub continues: bool,
}

/// A picture in its row.
pub struct Cell<'a> {
    /// The picture, of any size but 0.
    pub pixels: &'a RgbImage,
    /// Words below the picture, or none.
    pub caption: String,
}

impl Sheet<'_> {
    /// Draws the sheet. `step` is called after each picture with the number of pictures so far,
    /// and may stop the drawing.
    ///
    /// # Errors
    ///
    /// A sheet of more than [`MOST_PIXELS`] is refused before it is made.
    pub fn draw(&self, mut step: impl FnMut(usize) -> Result<()>) -> Result<RgbImage> {
        let style = Style::of(self.cell)?;
        let layout = Layout::new(self, &style);
        let (width, height) = layout.size()?;
        let mut canvas = RgbImage::from_pixel(width, height, PAPER);
        style.title.draw(&mut canvas, &layout.title, (style.margin, style.margin), INK);
        let mut done = 0;
        for line in &layout.lines {
            let label_height = style.label.height(&line.label);
            let label_top = line.top + line.picture_height.saturating_sub(label_height) / 2;
            style.label.draw(&mut canvas, &line.label, (style.margin, label_top), INK);
            for (place, left) in line.places.iter().zip(layout.lefts(&style)) {
                place.draw(&mut canvas, (left, line.top), (layout.cell_width, line.picture_height), &style);
                done += 1;
                step(done)?;
            }
        }
        Ok(canvas)
    }
}

/// Distances in pixels, and letters; they grow with the pictures.
struct Style {
    margin: u32,
    gap: u32,
    label_width: u32,
    title: Letters,
    label: Letters,
    caption: Letters,
}

impl Style {
    fn of(cell: u32) -> Result<Self> {
        let gap = (cell / 16).clamp(6, 40);
        let size = (cell as f32 / 14.0).clamp(13.0, 48.0);
        Ok(Self {
            margin: gap * 2,
            gap,
            label_width: cell.clamp(100, 600),
            title: Letters::new(size * 1.35)?,
            label: Letters::new(size)?,
            caption: Letters::new(size * 0.85)?,
        })
    }
}

/// Where everything stands, in pixels.
struct Layout<'a> {
    width: u64,
    height: u64,
    cells_left: u32,
    cell_width: u32,
    title: Vec<String>,
    lines: Vec<Line<'a>>,
}

/// A row and its place.
struct Line<'a> {
    top: u32,
    continues: bool,
    picture_height: u32,
    label: Vec<String>,
    places: Vec<Place<'a>>,
}

/// A cell and its place in the line.
struct Place<'a> {
    pixels: &'a RgbImage,
    width: u32,
    height: u32,
    caption: Vec<String>,
}

impl<'a> Layout<'a> {
    fn new(sheet: &Sheet<'a>, style: &Style) -> Self {
        let places = sheet.rows.iter().flat_map(|row| &row.cells);
        let cell_width = places.map(|cell| fitted(cell.pixels, sheet.cell).0).max().unwrap_or(1);
        let lines: Vec<_> =
            sheet.rows.iter().map(|row| Line::new(row, sheet.cell, cell_width, style)).collect();
        let label_width = lines.iter().map(|line| style.label.widest(&line.label)).max().unwrap_or(0);
        let label_room = if label_width > 0 { label_width + style.margin } else { 0 };
        let cells_left = style.margin + label_room;
        let columns = sheet.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0) as u64;
        let width = u64::from(cells_left + style.margin)
            + (columns * u64::from(cell_width + style.gap)).saturating_sub(style.gap.into());
        let title_width = u32::try_from(width).unwrap_or(u32::MAX).saturating_sub(style.margin * 2);
        let title = style.title.wrap(sheet.title, title_width, TITLE_LINES);
        let mut layout = Self { width, height: 0, cells_left, cell_width, title, lines };
        layout.stack(style);
        layout
    }

    /// Puts the lines below each other.
    fn stack(&mut self, style: &Style) {
        let title_height = style.title.height(&self.title);
        let mut top = u64::from(style.margin);
        if title_height > 0 {
            top += u64::from(title_height + style.gap + style.gap / 2);
        }
        let between = if self.lines.iter().any(|line| line.continues) { style.margin } else { style.gap };
        for (index, line) in self.lines.iter_mut().enumerate() {
            top += match index {
                0 => 0,
                _ if line.continues => u64::from(style.gap),
                _ => u64::from(between),
            };
            // A sheet on which this does not fit is refused.
            line.top = u32::try_from(top).unwrap_or(u32::MAX);
            top += u64::from(line.height(style));
        }
        self.height = top + u64::from(style.margin);
    }

    /// Width and height, if they are sane.
    fn size(&self) -> Result<(u32, u32), Problem> {
        let size = (u32::try_from(self.width), u32::try_from(self.height));
        match size {
            (Ok(width), Ok(height)) if self.width * self.height <= MOST_PIXELS => Ok((width, height)),
            _ => {
                let millions = MOST_PIXELS / 1_000_000;
                let message = format!(
                    "the sheet would be {} x {} pixels, and {millions} million are the most",
                    self.width, self.height
                );
                Err(Problem::new(message).hint("make `cell` smaller, or put fewer pictures on the sheet"))
            }
        }
    }

    fn lefts(&self, style: &Style) -> impl Iterator<Item = u32> {
        (self.cells_left..).step_by((self.cell_width + style.gap) as usize)
    }
}

impl<'a> Line<'a> {
    fn new(row: &Row<'a>, cell: u32, cell_width: u32, style: &Style) -> Self {
        let place = |Cell { pixels, caption }: &Cell<'a>| {
            let (width, height) = fitted(pixels, cell);
            Place { pixels, width, height, caption: style.caption.wrap(caption, cell_width, CAPTION_LINES) }
        };
        let places: Vec<_> = row.cells.iter().map(place).collect();
        let picture_height = places.iter().map(|place| place.height).max().unwrap_or(0);
        Self {
            top: 0,
            continues: row.continues,
            picture_height,
            label: style.label.wrap(row.label, style.label_width, LABEL_LINES),
            places,
        }
    }

    fn height(&self, style: &Style) -> u32 {
        let caption = self.places.iter().map(|place| style.caption.height(&place.caption)).max().unwrap_or(0);
        let room = if caption > 0 { caption + style.gap / 2 } else { 0 };
        (self.picture_height + room).max(style.label.height(&self.label))
    }
}

impl Place<'_> {
    /// Draws picture and caption into the cell whose upper left corner is at `left`, `top`.
    fn draw(
        &self,
        canvas: &mut RgbImage,
        (left, top): (u32, u32),
        (width, height): (u32, u32),
        style: &Style,
    ) {
        let x = left + (width - self.width) / 2;
        let y = top + (height - self.height) / 2;
        edge(canvas, (x, y), (self.width, self.height));
        // The sharpest of the filters both ways; on drawn pictures of 64 pixels too, by eye.
        let picture = imageops::resize(self.pixels, self.width, self.height, FilterType::Lanczos3);
        imageops::replace(canvas, &picture, x.into(), y.into());
        style.caption.draw(canvas, &self.caption, (left, top + height + style.gap / 2), FAINT_INK);
    }
}

/// The size at which the longer side of a picture is that of a cell.
fn fitted(pixels: &RgbImage, cell: u32) -> (u32, u32) {
    let (width, height) = (u64::from(pixels.width()), u64::from(pixels.height()));
    let longer = width.max(height).max(1);
    let scale = |side: u64| ((side * u64::from(cell) + longer / 2) / longer).max(1) as u32;
    (scale(width), scale(height))
}

/// A line of one pixel around a rectangle.
fn edge(canvas: &mut RgbImage, (x, y): (u32, u32), (width, height): (u32, u32)) {
    let edge = RgbImage::from_pixel(width + 2, height + 2, EDGE);
    imageops::replace(canvas, &edge, i64::from(x) - 1, i64::from(y) - 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(pixels: &RgbImage, count: usize, cell: u32) -> Result<RgbImage> {
        let cells = (0..count).map(|_| Cell { pixels, caption: String::new() }).collect();
        Sheet { title: "", rows: vec![Row { label: "", cells, continues: false }], cell }.draw(|_| Ok(()))
    }

    #[test]
    fn the_longer_side_of_a_picture_is_that_of_a_cell() {
        assert_eq!(fitted(&RgbImage::new(64, 64), 256), (256, 256));
        assert_eq!(fitted(&RgbImage::new(1000, 500), 256), (256, 128));
        assert_eq!(fitted(&RgbImage::new(1, 9000), 16), (1, 16));
    }

    #[test]
    fn margins_are_even() {
        let black = sheet(&RgbImage::new(10, 10), 2, 64).unwrap();
        let dark = |(_, _, pixel): &(u32, u32, &Rgb<u8>)| pixel.0 == [0; 3];
        let places: Vec<_> = black.enumerate_pixels().filter(dark).map(|(x, y, _)| (x, y)).collect();
        let (left, top) = places[0];
        let (right, bottom) = places[places.len() - 1];
        assert_eq!((left, top), (12, 12));
        assert_eq!((black.width() - 1 - right, black.height() - 1 - bottom), (12, 12));
        assert_eq!(places.len(), 2 * 64 * 64);
    }

    #[test]
    fn an_absurd_sheet_is_refused_before_it_is_made() {
        let refused = sheet(&RgbImage::new(1, 1), 100_000, 2048).unwrap_err().to_string();
        assert_eq!(refused, "the sheet would be 208800120 x 2208 pixels, and 100 million are the most");
    }

    #[test]
    fn drawing_stops_when_it_is_told_to() {
        let pixels = RgbImage::new(1, 1);
        let row = |count| Row {
            label: "",
            cells: (0..count).map(|_| Cell { pixels: &pixels, caption: String::new() }).collect(),
            continues: false,
        };
        let mut seen = Vec::new();
        let drawn = Sheet { title: "", rows: vec![row(2), row(2)], cell: 16 }.draw(|done| {
            seen.push(done);
            if done == 3 { Err(flow_engine::Cancelled.into()) } else { Ok(()) }
        });
        assert!(drawn.unwrap_err().is::<flow_engine::Cancelled>());
        assert_eq!(seen, [1, 2, 3]);
    }
}
