//! A part of a large plane, on a part of the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthChar;

/// What is drawn on; whatever lies outside is left out.
pub struct Canvas<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    /// Where the plane's first column and row come to lie in the area.
    origin: (i32, i32),
}

impl<'a> Canvas<'a> {
    /// An area of a buffer, with a plane that begins somewhere in it or outside.
    pub fn new(buffer: &'a mut Buffer, area: Rect, origin: (i32, i32)) -> Self {
        let area = area.intersection(buffer.area);
        Self { buffer, area, origin }
    }

    /// The columns and the rows of the plane that are in sight: the first, and the first that is not.
    pub fn sight(&self) -> ((i32, i32), (i32, i32)) {
        let (x, y) = (-self.origin.0, -self.origin.1);
        ((x, x + i32::from(self.area.width)), (y, y + i32::from(self.area.height)))
    }

    /// Whether any of so many columns and rows is in sight.
    pub fn sees(&self, x: i32, y: i32, columns: i32, rows: i32) -> bool {
        let ((left, right), (top, bottom)) = self.sight();
        x < right && left < x + columns && y < bottom && top < y + rows
    }

    /// Writes a text, as much of it as is in sight; the column after it.
    pub fn put(&mut self, x: i32, y: i32, text: &str, style: Style) -> i32 {
        let ((left, right), (top, bottom)) = self.sight();
        let mut at = x;
        let in_row = (top..bottom).contains(&y);
        let mut room = [0; 4];
        for letter in text.chars() {
            let columns = letter.width().unwrap_or(0) as i32;
            if in_row && columns > 0 && at >= left && at + columns <= right {
                let (column, row) = (at - left + i32::from(self.area.x), y - top + i32::from(self.area.y));
                let (Ok(column), Ok(row)) = (u16::try_from(column), u16::try_from(row)) else { continue };
                self.buffer.set_stringn(column, row, letter.encode_utf8(&mut room), columns as usize, style);
            }
            at += columns;
        }
        at
    }
}
