//! What the last saved edit changed.

use std::sync::Arc;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::pane::{over, scrolled, wrapped};
use crate::dashboard::state::State;
use crate::dashboard::state::text::{clock, count};

/// Columns of the whole, where there is room.
const COLUMNS: u16 = 90;

/// The edit over a view, from a line on.
pub fn draw(state: &State, frame: &mut Frame<'_>, body: Rect, top: usize) {
    let lines = lines(state);
    let rows = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let at = state.run().reload.as_ref().map_or(0.0, |reload| reload.at);
    let title = format!("the edit that took effect at {}", clock(at));
    let inner = over(frame, body, (COLUMNS, rows), &title, state.theme);
    scrolled(frame, inner, &lines, top, state.theme);
}

/// All of its lines.
pub fn lines(state: &State) -> Vec<Line<'static>> {
    let Some(reload) = &state.run().reload else { return Vec::new() };
    let (theme, columns) = (state.theme, usize::from(COLUMNS.min(state.size.0)).saturating_sub(3));
    let mut lines = Vec::new();
    let mut part = |title: &str, sign: &str, style: Style, names: &[(Arc<str>, String)]| {
        if names.is_empty() {
            return;
        }
        lines.push(Line::styled(format!(" {title}"), theme.strong()));
        for (name, why) in names {
            lines.push(Line::from_iter([
                Span::styled(format!("  {sign} "), style),
                Span::raw(name.to_string()),
            ]));
            if !why.is_empty() {
                let parts = wrapped(why, columns.saturating_sub(6));
                lines
                    .extend(parts.into_iter().map(|part| Line::styled(format!("      {part}"), theme.dim())));
            }
        }
    };
    let without_why =
        |names: &[Arc<str>]| names.iter().map(|name| (Arc::clone(name), String::new())).collect::<Vec<_>>();
    part("added", "+", theme.good(), &reload.added);
    part("changed", "~", theme.warning(), &reload.changed);
    part("removed", "-", theme.error(), &without_why(&reload.removed));
    part("kept running", "▸", theme.busy(), &without_why(&reload.kept_running));
    if lines.is_empty() {
        lines.push(Line::raw(" nothing that decides a result"));
    }
    let rest = format!(" {} as it was", count(reload.unchanged, "other node"));
    lines.push(Line::styled(rest.replace("nodes as it was", "nodes as they were"), theme.dim()));
    lines
}
