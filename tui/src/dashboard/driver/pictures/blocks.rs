//! Pictures from half-blocks: two pixels in each cell, on any terminal with colours.

use image::imageops::FilterType;
use image::{DynamicImage, Rgb};
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};

use super::colours::Depth;
use super::reading::shrunk;

/// The upper half in the colour of the text, the lower half in that of the ground.
const UPPER_HALF: &str = "▀";

/// A picture of cells.
pub struct Blocks {
    size: Size,
    /// The upper and the lower colour of each cell, row by row.
    cells: Vec<[Rgb<u8>; 2]>,
    depth: Depth,
}

impl Blocks {
    /// A picture as large as fits into an area. A cell is taken to be twice as high as it is wide.
    pub fn new(image: DynamicImage, area: Size, depth: Depth) -> Self {
        let (most_columns, most_rows) = (u32::from(area.width).max(1), u32::from(area.height).max(1) * 2);
        let (width, height) = fitting((image.width(), image.height()), (most_columns, most_rows));
        let rows = height.div_ceil(2).max(1);
        let image = shrunk(image, width, rows * 2).resize_exact(width, rows * 2, FilterType::Triangle);
        let pixels = over_black(&image);
        let cell = |row: u32, column: u32| [0, 1].map(|half| *pixels.get_pixel(column, row * 2 + half));
        let cells = (0..rows).flat_map(|row| (0..width).map(move |column| cell(row, column)));
        let size =
            Size::new(u16::try_from(width).unwrap_or(u16::MAX), u16::try_from(rows).unwrap_or(u16::MAX));
        Self { cells: cells.collect(), size, depth }
    }

    /// The cells that it takes.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Paints it, as much of it as there is room for.
    pub fn paint(&self, area: Rect, buffer: &mut Buffer) {
        let area = area.intersection(buffer.area);
        for (row, cells) in (area.top()..area.bottom()).zip(self.cells.chunks(usize::from(self.size.width))) {
            for (column, [upper, lower]) in (area.left()..area.right()).zip(cells) {
                let cell = &mut buffer[(column, row)];
                cell.set_symbol(UPPER_HALF).set_fg(self.depth.of(*upper)).set_bg(self.depth.of(*lower));
            }
        }
    }
}

/// The largest size with these proportions within another.
fn fitting((width, height): (u32, u32), (most_width, most_height): (u32, u32)) -> (u32, u32) {
    let (width, height) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let scale = f64::min(f64::from(most_width) / width, f64::from(most_height) / height);
    let fit = |side: f64, most: u32| ((side * scale).round() as u32).clamp(1, most);
    (fit(width, most_width), fit(height, most_height))
}

/// The colours of a picture, what is transparent in it before black.
fn over_black(image: &DynamicImage) -> image::RgbImage {
    if !image.color().has_alpha() {
        return image.to_rgb8();
    }
    let pixels = image.to_rgba8();
    image::RgbImage::from_fn(pixels.width(), pixels.height(), |x, y| {
        let [red, green, blue, alpha] = pixels.get_pixel(x, y).0;
        let before_black = |colour: u8| (u16::from(colour) * u16::from(alpha) / 255) as u8;
        Rgb([red, green, blue].map(before_black))
    })
}

pub use at_once::BlocksAtOnce;

/// For screens that are drawn once and looked at later.
mod at_once {
    use std::path::Path;

    use super::*;
    use crate::dashboard::Pictures;
    use crate::dashboard::driver::pictures::reading::read;
    use crate::dashboard::driver::pictures::{centred, say};
    use crate::show::out::harmless;

    /// Reads and paints at once, with nothing kept.
    pub struct BlocksAtOnce;

    impl Pictures for BlocksAtOnce {
        fn paint(&mut self, picture: &Path, area: Rect, buffer: &mut Buffer) {
            let area = area.intersection(buffer.area);
            if area.is_empty() {
                return;
            }
            match read(picture) {
                Ok(image) => {
                    let blocks = Blocks::new(image, Size::new(area.width, area.height), Depth::Full);
                    blocks.paint(centred(area, blocks.size()), buffer);
                }
                Err(why) => {
                    let name = picture.file_name().unwrap_or_default().to_string_lossy();
                    say(&format!("{}: {why}", harmless(&name)), area, buffer);
                }
            }
        }
    }
}
