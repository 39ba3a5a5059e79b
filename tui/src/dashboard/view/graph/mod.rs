//! The graph: what runs, what waits, and what reads what.

mod about;
mod canvas;
mod spot;
mod wires;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Span;

use super::pane::nothing;
use crate::dashboard::state::State;
use canvas::Canvas;

/// The part of the map that is in sight, and a line about the selected node.
pub fn draw(state: &State, frame: &mut Frame<'_>, body: Rect) {
    if state.run().nodes.is_empty() {
        let says = match state.run().plans {
            0 if state.run().mistakes() > 0 => "nothing to run yet: 6 shows the mistakes",
            0 => "no plan yet: the graph is being read",
            _ => "the graph has no nodes: e opens it, and a saved edit shows here at once",
        };
        return nothing(frame, body, state.theme, says);
    }
    let map = state.map();
    let area = Rect { height: body.height.saturating_sub(1), ..body };
    let origin = map.origin(state.graph.scroll, (area.width, area.height));
    let selected = state.selected_spot();
    let mut canvas = Canvas::new(frame.buffer_mut(), area, origin);
    wires::draw(state, &mut canvas, selected);
    for (at, spot) in map.spots.iter().enumerate() {
        spot::draw(state, &mut canvas, spot, selected == Some(at));
    }
    more(state, frame, area, origin);
    let below = Rect { y: area.bottom(), height: 1, ..body };
    frame.render_widget(about::line(state, usize::from(below.width)), below);
}

/// Arrows on the edges behind which there is more.
fn more(state: &State, frame: &mut Frame<'_>, body: Rect, origin: (i32, i32)) {
    let size = state.map().size;
    let (columns, rows) = (i32::from(body.width), i32::from(body.height));
    let middle = (body.x + body.width / 2, body.y + body.height / 2);
    let edges = [
        (origin.0 < 0, "◂", (body.x, middle.1)),
        (origin.0 + size.0 > columns, "▸", (body.right() - 1, middle.1)),
        (origin.1 < 0, "▴", (middle.0, body.y)),
        (origin.1 + size.1 > rows, "▾", (middle.0, body.bottom() - 1)),
    ];
    for (_, arrow, (x, y)) in edges.into_iter().filter(|(is_more, ..)| *is_more) {
        frame.buffer_mut().set_span(x, y, &Span::styled(arrow, state.theme.key()), 1);
    }
}
