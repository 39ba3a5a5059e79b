//! The names of what a plot shows, in a column of their own, where they cover nothing.

use plotters::coord::Shift;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;

use super::plot::{COLOURS, FONT};

type Drawn<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How one of many things is told from the others: by its colour, and where there are more things than colours by its
/// mark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// The colour.
    pub colour: RGBColor,
    /// How often every colour was used before.
    pub round: usize,
}

/// How the thing of this number is drawn.
pub(super) fn look(number: usize) -> Look {
    Look { colour: COLOURS[number % COLOURS.len()], round: number / COLOURS.len() }
}

/// A point as a disc, a ring or a larger ring.
pub(super) fn mark<C>(look: Look, at: C, radius: i32) -> Circle<C, i32> {
    match look.round {
        0 => Circle::new(at, radius, look.colour.filled()),
        round => Circle::new(at, radius + round as i32 - 1, look.colour.stroke_width(2)),
    }
}

/// Cuts a column for names off the right of a canvas: what is left, and the column.
pub(super) fn beside<'n, B: DrawingBackend>(
    canvas: &DrawingArea<B, Shift>,
    names: impl Iterator<Item = &'n str>,
    text: u32,
) -> Drawn<(DrawingArea<B, Shift>, DrawingArea<B, Shift>)> {
    let widths = names.map(|name| Ok((FONT, text).into_font().box_size(name)?.0));
    let widths = widths.collect::<Drawn<Vec<u32>>>()?;
    let wanted = widths.into_iter().max().map_or(0, |widest| widest + 4 * text);
    let width = canvas.dim_in_pixel().0;
    Ok(canvas.split_horizontally(width - wanted.min(width * 2 / 5)))
}

/// Writes a name behind what `sign` draws at a place.
pub(super) fn write<B, E>(
    column: &DrawingArea<B, Shift>,
    names: impl Iterator<Item = impl Into<String>>,
    text: u32,
    sign: impl Fn(usize, (i32, i32)) -> E,
) -> Drawn<()>
where
    B: DrawingBackend,
    B::ErrorType: 'static,
    E: Drawable<B>,
    for<'e> &'e E: PointCollection<'e, (i32, i32)>,
{
    let text = text as i32;
    for (number, name) in names.enumerate() {
        let y = text * 3 + text * 3 / 2 * number as i32;
        column.draw(&sign(number, (text, y)))?;
        let words = Text::new(name.into(), (text * 5 / 2, y - text / 2), (FONT, text));
        column.draw::<Text<'_, _, String>, _>(&words)?;
    }
    Ok(())
}
