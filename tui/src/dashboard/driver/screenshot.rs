//! A recorded run on a screen that nobody sits at, as a picture file: for a README, a paper, a bug report.

use std::path::Path;

use crossterm::event::KeyEvent;
use flow_engine::{Result, file, runs};
use flow_nodes::picture::{png, text::Letters};
use image::{Rgb, RgbImage};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::pictures::BlocksAtOnce;
use crate::dashboard::state::State;
use crate::dashboard::{Message, Scope, view};

/// How large a letter is in pixels; both are whole for the font at [`LETTER`].
const CELL: (u32, u32) = (10, 19);
/// The height of letters in pixels.
const LETTER: f32 = 19.34;
/// Blank pixels around the screen.
const MARGIN: u32 = 12;
const INK: [u8; 3] = [212, 215, 222];
const PAPER: [u8; 3] = [22, 24, 29];
/// The sixteen colours of a terminal, in their usual order.
const SIXTEEN: [[u8; 3]; 16] = [
    [40, 44, 52],
    [224, 108, 117],
    [152, 195, 121],
    [229, 192, 123],
    [97, 175, 239],
    [198, 120, 221],
    [86, 182, 194],
    [171, 178, 191],
    [92, 99, 112],
    [240, 132, 140],
    [172, 215, 141],
    [240, 208, 148],
    [125, 193, 250],
    [213, 145, 233],
    [110, 203, 214],
    [255, 255, 255],
];

/// What a screen is to show.
pub struct Screenshot {
    /// Its columns and rows.
    pub size: (u16, u16),
    /// The keys that are pressed, in turn.
    pub keys: Vec<KeyEvent>,
    /// Seconds since the run started, if it is not to be shown at its end.
    pub until: Option<f64>,
}

impl Screenshot {
    /// Writes the screen that a recorded run gives to a PNG file.
    ///
    /// # Errors
    /// A folder without events, or a file that cannot be written.
    pub fn write(&self, run: &Path, to: &Path) -> Result<()> {
        let state = self.state(run)?;
        let (columns, rows) = self.size;
        let mut terminal = Terminal::new(TestBackend::new(columns, rows))?;
        terminal.draw(|frame| view::draw(&state, &mut BlocksAtOnce, frame))?;
        let picture = photograph(terminal.backend().buffer())?;
        file::write_if_changed(to, &png::encode(&picture, &[])?)?;
        Ok(())
    }

    fn state(&self, run: &Path) -> Result<State> {
        let mut state = State::new(Scope::Recorded, self.size);
        let until = self.until.unwrap_or(f64::INFINITY);
        for record in runs::records(run)?.take_while(|record| record.t <= until) {
            // Whatever a screen asks for, nobody is here to do it.
            state.update(Message::Record(Box::new(record)));
        }
        if let Some(now) = self.until {
            state.update(Message::Now(now));
        }
        for &key in &self.keys {
            state.update(Message::Key(key));
        }
        Ok(state)
    }
}

/// The picture of a screen.
fn photograph(screen: &Buffer) -> Result<RgbImage> {
    let letters = Letters::new(LETTER)?;
    let (columns, rows) = (u32::from(screen.area.width), u32::from(screen.area.height));
    let size = (columns * CELL.0 + 2 * MARGIN, rows * CELL.1 + 2 * MARGIN);
    let mut picture = RgbImage::from_pixel(size.0, size.1, Rgb(PAPER));
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
    for (cell, (column, row)) in screen.content().iter().zip(places) {
        let corner = (MARGIN + column * CELL.0, MARGIN + row * CELL.1);
        paint(&mut picture, cell, corner, &letters);
    }
    Ok(picture)
}

fn paint(picture: &mut RgbImage, cell: &Cell, (x, y): (u32, u32), letters: &Letters) {
    let (ink, paper) = colours(cell);
    let (width, height) = CELL;
    let half = height.div_ceil(2);
    if paper.0 != PAPER {
        fill(picture, (x, y), (width, height), paper);
    }
    match cell.symbol() {
        " " => {}
        // From edge to edge, whatever the font does.
        "█" => fill(picture, (x, y), (width, height), ink),
        "▀" => fill(picture, (x, y), (width, half), ink),
        "▄" => fill(picture, (x, y + half), (width, height - half), ink),
        symbol if let Some(dots) = dots(symbol) => paint_dots(picture, dots, (x, y), ink),
        symbol => {
            let line = [drawable(symbol).to_owned()];
            letters.draw(picture, &line, (x, y), ink);
            if cell.modifier.contains(Modifier::BOLD) {
                letters.draw(picture, &line, (x, y), ink);
            }
        }
    }
    if cell.modifier.contains(Modifier::UNDERLINED) {
        fill(picture, (x, y + height - 2), (width, 1), ink);
    }
}

/// The dots of a braille letter, of which curves and wheels are made: left and right, three rows of each and then the
/// fourth.
fn dots(symbol: &str) -> Option<u8> {
    let letter = u32::from(symbol.chars().next()?);
    u8::try_from(letter.checked_sub(0x2800)?).ok()
}

/// Paints the dots that the font has no letters for.
fn paint_dots(picture: &mut RgbImage, dots: u8, (x, y): (u32, u32), ink: Rgb<u8>) {
    /// The column and row of each bit.
    const PLACES: [(u32, u32); 8] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
    for (bit, (column, row)) in PLACES.into_iter().enumerate() {
        if dots & (1 << bit) != 0 {
            let corner = (x + 1 + column * CELL.0 / 2, y + 1 + row * CELL.1 / 4);
            fill(picture, corner, (3, 3), ink);
        }
    }
}

/// The same, or what comes next to it in the fonts that are here.
fn drawable(symbol: &str) -> &str {
    match symbol {
        "✓" => "√",
        "✗" => "×",
        other => other,
    }
}

fn fill(picture: &mut RgbImage, (x, y): (u32, u32), (width, height): (u32, u32), colour: Rgb<u8>) {
    for (x, y) in (y..y + height).flat_map(|y| (x..x + width).map(move |x| (x, y))) {
        picture.put_pixel(x, y, colour);
    }
}

/// The colour of a cell's symbol, and of what is behind it.
fn colours(cell: &Cell) -> (Rgb<u8>, Rgb<u8>) {
    let mut ink = colour(cell.fg, INK);
    let mut paper = colour(cell.bg, PAPER);
    if cell.modifier.contains(Modifier::REVERSED) {
        std::mem::swap(&mut ink, &mut paper);
    }
    if cell.modifier.contains(Modifier::DIM) {
        ink = Rgb(std::array::from_fn(|at| ink.0[at] / 2 + paper.0[at] / 2));
    }
    (ink, paper)
}

fn colour(colour: Color, usual: [u8; 3]) -> Rgb<u8> {
    let sixteen = [
        Color::Black,
        Color::Red,
        Color::Green,
        Color::Yellow,
        Color::Blue,
        Color::Magenta,
        Color::Cyan,
        Color::Gray,
        Color::DarkGray,
        Color::LightRed,
        Color::LightGreen,
        Color::LightYellow,
        Color::LightBlue,
        Color::LightMagenta,
        Color::LightCyan,
        Color::White,
    ];
    match colour {
        Color::Rgb(red, green, blue) => Rgb([red, green, blue]),
        other => Rgb(sixteen.iter().position(|&one| one == other).map_or(usual, |at| SIXTEEN[at])),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    fn photograph_of(symbol: &str, style: Style) -> RgbImage {
        let mut screen = Buffer::empty(Rect::new(0, 0, 1, 1));
        screen.set_string(0, 0, symbol, style);
        photograph(&screen).unwrap()
    }

    fn inner(picture: &RgbImage) -> impl Iterator<Item = (u32, [u8; 3])> + '_ {
        let is_inner = |at: u32, size: u32| (MARGIN..MARGIN + size).contains(&at);
        let pixels = picture.enumerate_pixels();
        pixels.filter(move |(x, y, _)| is_inner(*x, CELL.0) && is_inner(*y, CELL.1)).map(|(_, y, p)| (y, p.0))
    }

    #[test]
    fn a_half_block_has_one_colour_above_and_one_below() {
        let style = Style::new().fg(Color::Rgb(1, 2, 3)).bg(Color::Rgb(4, 5, 6));
        let picture = photograph_of("▀", style);
        for (y, pixel) in inner(&picture) {
            assert_eq!(pixel, if y < MARGIN + 10 { [1, 2, 3] } else { [4, 5, 6] }, "row {y}");
        }
    }

    #[test]
    fn what_is_selected_is_dark_on_light() {
        let picture = photograph_of(" ", Style::new().add_modifier(Modifier::REVERSED));
        assert!(inner(&picture).all(|(_, pixel)| pixel == INK));
    }

    #[test]
    fn lines_of_boxes_meet_without_a_gap() {
        let mut screen = Buffer::empty(Rect::new(0, 0, 1, 3));
        for y in 0..3 {
            screen.set_string(0, y, "│", Style::new());
        }
        let picture = photograph(&screen).unwrap();
        for y in MARGIN..MARGIN + 3 * CELL.1 {
            let brightest = (0..picture.width()).map(|x| picture.get_pixel(x, y).0[0]).max().unwrap();
            let half = INK[0] / 2 + PAPER[0] / 2;
            assert!(brightest > half, "row {y} has only {brightest}");
        }
    }
}
