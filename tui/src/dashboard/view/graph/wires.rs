//! Wires in box characters: all their cells are gathered first, so that where they meet the right character stands.

use ratatui::style::Style;

use super::canvas::Canvas;
use crate::dashboard::state::State;
use crate::dashboard::state::map::Wire;

/// What a way out of a cell counts in the number of the cell's character, for a light wire; twice that for a heavy one.
const UP: u8 = 1;
const DOWN: u8 = 3;
const LEFT: u8 = 9;
const RIGHT: u8 = 27;

/// The characters by that number: every way out is not there, light, or heavy.
const CHARACTERS: [char; 81] = [
    ' ', '╵', '╹', '╷', '│', '╿', '╻', '╽', '┃', '╴', '╯', '┚', '╮', '┤', '┦', '┒', '┧', '┨', '╸', '┙', '┛',
    '┑', '┥', '┩', '┓', '┪', '┫', '╶', '╰', '┖', '╭', '├', '┞', '┎', '┟', '┠', '─', '┴', '┸', '┬', '┼', '╀',
    '┰', '╁', '╂', '╾', '┵', '┹', '┭', '┽', '╃', '┱', '╅', '╉', '╺', '┕', '┗', '┍', '┝', '┡', '┏', '┢', '┣',
    '╼', '┶', '┺', '┮', '┾', '╄', '┲', '╆', '╊', '━', '┷', '┻', '┯', '┿', '╇', '┳', '╈', '╋',
];

/// The cells in sight, and which ways wires leave them.
struct Cells {
    cells: Vec<u8>,
    x: (i32, i32),
    y: (i32, i32),
}

impl Cells {
    /// Marks a way out of a cell, unless a wire that is as heavy leaves there already.
    fn mark(&mut self, x: i32, y: i32, way: u8, weight: u8) {
        if x < self.x.0 || x >= self.x.1 || y < self.y.0 || y >= self.y.1 {
            return;
        }
        let at = (y - self.y.0) * (self.x.1 - self.x.0) + (x - self.x.0);
        if let Some(cell) = usize::try_from(at).ok().and_then(|at| self.cells.get_mut(at)) {
            let there = *cell / way % 3;
            *cell += way * weight.saturating_sub(there);
        }
    }

    fn across(&mut self, (from, to): (i32, i32), y: i32, weight: u8) {
        let (first, last) = (from.max(self.x.0 - 1), to.min(self.x.1));
        for x in first..last {
            self.mark(x, y, RIGHT, weight);
            self.mark(x + 1, y, LEFT, weight);
        }
    }

    fn along(&mut self, x: i32, (from, to): (i32, i32), weight: u8) {
        let (from, to) = (from.min(to), from.max(to));
        let (first, last) = (from.max(self.y.0 - 1), to.min(self.y.1));
        for y in first..last {
            self.mark(x, y, DOWN, weight);
            self.mark(x, y + 1, UP, weight);
        }
    }

    fn wire(&mut self, wire: &Wire, weight: u8) {
        let [begin, turn, back, end] = wire.points;
        // It leaves a box, and enters another or a lane.
        self.mark(begin.0, begin.1, LEFT, weight);
        self.across((begin.0, turn.0), begin.1, weight);
        self.along(turn.0, (turn.1, back.1), weight);
        self.across((back.0, end.0), back.1, weight);
        self.mark(end.0, end.1, RIGHT, weight);
    }
}

/// All wires in sight; those of what is selected are heavy.
pub fn draw(state: &State, canvas: &mut Canvas<'_>, selected: Option<usize>) {
    let (x, y) = canvas.sight();
    let count = usize::try_from((x.1 - x.0) * (y.1 - y.0)).unwrap_or(0);
    let mut cells = Cells { cells: vec![0; count], x, y };
    let wires = &state.map().wires;
    let is_chosen =
        |wire: &Wire| selected.is_some_and(|at| wire.joins.iter().any(|&(from, to)| from == at || to == at));
    let in_sight = |wire: &&Wire| {
        let [begin, _, _, end] = wire.points;
        let (top, bottom) = (begin.1.min(end.1), begin.1.max(end.1));
        begin.0 < x.1 && x.0 <= end.0 && top < y.1 && y.0 <= bottom
    };
    let (chosen, others): (Vec<&Wire>, Vec<&Wire>) =
        wires.iter().filter(in_sight).partition(|wire| is_chosen(wire));
    others.iter().for_each(|wire| cells.wire(wire, 1));
    chosen.iter().for_each(|wire| cells.wire(wire, 2));
    paint(&cells, canvas, state);
    for (wires, style) in [(others, state.theme.dim()), (chosen, state.theme.strong())] {
        for wire in wires.into_iter().filter(|wire| wire.has_arrow) {
            canvas.put(wire.points[3].0, wire.points[3].1, "▸", style);
        }
    }
}

fn paint(cells: &Cells, canvas: &mut Canvas<'_>, state: &State) {
    let columns = (cells.x.1 - cells.x.0).max(1) as usize;
    let (dim, strong): (Style, Style) = (state.theme.dim(), state.theme.strong());
    let mut room = [0; 4];
    for (at, &cell) in cells.cells.iter().enumerate().filter(|(_, cell)| **cell != 0) {
        let (x, y) = (cells.x.0 + (at % columns) as i32, cells.y.0 + (at / columns) as i32);
        let is_heavy = [UP, DOWN, LEFT, RIGHT].into_iter().any(|way| cell / way % 3 == 2);
        let letter = CHARACTERS[usize::from(cell) % CHARACTERS.len()];
        canvas.put(x, y, letter.encode_utf8(&mut room), if is_heavy { strong } else { dim });
    }
}
