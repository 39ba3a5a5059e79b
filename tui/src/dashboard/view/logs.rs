//! What happened, line by line.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::pane::{fitted, nothing, scrollbar, whole};
use crate::dashboard::state::screen::top;
use crate::dashboard::state::text::{clock, pad, pad_left, width};
use crate::dashboard::state::{Level, Line as Told, State};

/// The lines, below one that says which of them are shown.
pub fn draw(state: &State, frame: &mut Frame<'_>, body: Rect) {
    let (run, look, theme) = (state.run(), state.logs, state.theme);
    let needle = state.find.needle();
    let count = run.log.chosen(look.level, needle).count();
    let title = Rect { height: 1, ..body };
    frame.render_widget(about(state, count, usize::from(body.width)), title);
    let list = Rect { y: body.y + 1, height: body.height.saturating_sub(1), ..body };
    if count == 0 {
        return nothing(frame, list, theme, "no lines here: l shows more levels, Esc ends a search");
    }
    let at = if look.follows { count - 1 } else { look.at.min(count - 1) };
    let rows = usize::from(list.height);
    let first = top(at, count, rows);
    let shown: Vec<&Told> = run.log.chosen(look.level, needle).skip(first).take(rows).collect();
    let names = names(&shown, usize::from(body.width));
    let times = shown.iter().map(|told| width(&clock(told.at))).max().unwrap_or(0) + 1;
    for (row, told) in shown.into_iter().enumerate() {
        let area = Rect { y: list.y + row as u16, height: 1, ..list };
        let is_selected = first + row == at;
        let line = line(state, told, (times, names), usize::from(body.width), is_selected);
        frame.render_widget(line, area);
    }
    scrollbar(frame, list, count, first, theme);
}

fn about(state: &State, count: usize, columns: usize) -> Line<'static> {
    let (look, theme) = (state.logs, state.theme);
    let all = state.run().log.lines().len();
    let mut parts = vec![
        vec![Span::styled(format!(" {count} of {all} lines"), theme.dim())],
        vec![Span::styled(format!(" · {}", look.level.says()), theme.dim())],
    ];
    if state.find.is_on() {
        parts.push(vec![Span::styled(format!(" · with `{}`", state.find.text()), theme.found())]);
    }
    if look.follows {
        parts.push(vec![Span::styled(" · follows the end", theme.busy())]);
    }
    if look.shift > 0 {
        parts.push(vec![Span::styled(format!(" · from letter {} on, ← back", look.shift + 1), theme.dim())]);
    }
    if state.run().log.gone > 0 {
        let gone = format!(" · {} older ones are gone", state.run().log.gone);
        parts.push(vec![Span::styled(gone, theme.dim())]);
    }
    whole(parts, columns)
}

/// Columns of the nodes' names.
fn names(shown: &[&Told], columns: usize) -> usize {
    let longest = shown.iter().filter_map(|told| told.node.as_deref()).map(width).max().unwrap_or(0);
    longest.min(columns / 4)
}

/// The sign of a level.
pub fn sign(level: Level) -> &'static str {
    match level {
        Level::Detail => "·",
        Level::Info => " ",
        Level::Warning => "!",
        Level::Error => "✗",
    }
}

/// A line of the log: when, how bad, of which node, and what.
fn line(
    state: &State,
    told: &Told,
    (times, names): (usize, usize),
    columns: usize,
    is_selected: bool,
) -> Line<'static> {
    let theme = state.theme;
    let style = theme.level(told.level);
    let text: String = told.text.chars().skip(state.logs.shift).collect();
    let text_style = if state.find.finds(&told.text) { style.patch(theme.found()) } else { style };
    let node = told.node.as_deref().unwrap_or_default();
    let spans = vec![
        Span::styled(pad_left(&clock(told.at), times), theme.dim()),
        Span::styled(format!(" {} ", sign(told.level)), style),
        Span::styled(format!("{}  ", pad(node, names)), theme.strong()),
        Span::styled(text, text_style),
    ];
    let mut line = fitted(spans, columns.saturating_sub(1));
    if is_selected {
        let rest = (columns - 1).saturating_sub(line.width());
        line.push_span(Span::raw(" ".repeat(rest)));
        line = line.style(theme.selected());
    }
    line
}
