//! The keys, from the table that the dashboard consults.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::pane::{over, scrolled, wrapped};
use crate::dashboard::keys::{BINDINGS, Binding, Section};
use crate::dashboard::message::Scope;
use crate::dashboard::state::State;
use crate::dashboard::state::text::pad;

/// Columns of the keys.
const KEYS: usize = 11;
/// Columns of the whole, where there is room.
const COLUMNS: u16 = 60;

/// The help over a view, from a line on.
pub fn draw(state: &State, frame: &mut Frame<'_>, body: Rect, top: usize) {
    let lines = lines(state);
    let rows = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let columns = if is_wide(state) { 2 * COLUMNS } else { COLUMNS };
    let inner = over(frame, body, (columns, rows), "keys", state.theme);
    scrolled(frame, inner, &lines, top, state.theme);
}

/// Whether there is room for two columns.
fn is_wide(state: &State) -> bool {
    state.size.0 >= 2 * COLUMNS
}

/// All of its lines.
pub fn lines(state: &State) -> Vec<Line<'static>> {
    let [go, look, steer, leave] = Section::ALL.map(|section| part(section, state));
    if !is_wide(state) {
        return [go, look, steer, leave].join(&Line::default());
    }
    let (left, right) = (look, [go, steer, leave].join(&Line::default()));
    let rows = left.len().max(right.len());
    let mut lines = Vec::with_capacity(rows);
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    for _ in 0..rows {
        let mut line = left.next().unwrap_or_default();
        let rest = usize::from(COLUMNS).saturating_sub(line.width());
        line.push_span(Span::raw(" ".repeat(rest)));
        line.extend(right.next().unwrap_or_default());
        lines.push(line);
    }
    lines
}

/// A heading with its keys.
fn part(section: Section, state: &State) -> Vec<Line<'static>> {
    let columns = usize::from(COLUMNS.min(state.size.0)).saturating_sub(3);
    let mut title = format!(" {}", section.title());
    if section == Section::Steer && state.scope != Scope::Own {
        title.push_str(": not this one, it can only be watched");
    }
    let mut lines = vec![Line::from(Span::styled(title, state.theme.strong()))];
    let mine = BINDINGS.iter().filter(|binding| binding.section == section);
    lines.extend(mine.flat_map(|binding| row(binding, columns, state)));
    lines
}

fn row(binding: &Binding, columns: usize, state: &State) -> Vec<Line<'static>> {
    let mut says = binding.says.to_owned();
    if !binding.views.is_empty() && !binding.works_in(state.view) {
        let views: Vec<&str> = binding.views.iter().map(|view| view.title()).collect();
        says += &format!(" (in {})", views.join(", "));
    }
    let parts = wrapped(&says, columns.saturating_sub(KEYS + 2));
    let line = |(at, part): (usize, String)| {
        let keys = if at == 0 { binding.shown } else { "" };
        Line::from_iter([Span::styled(format!("  {}", pad(keys, KEYS)), state.theme.key()), Span::raw(part)])
    };
    parts.into_iter().enumerate().map(line).collect()
}
