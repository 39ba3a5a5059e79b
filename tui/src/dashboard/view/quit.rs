//! How to leave.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::pane::over;
use crate::dashboard::state::text::{count, pad};
use crate::dashboard::state::{CHOICES, Phase, State};

/// The choices over a view; one of them is selected.
pub fn draw(state: &State, frame: &mut Frame<'_>, body: Rect, at: usize) {
    let running = count(state.run().count(Phase::Running), "node");
    let title = format!("{running} still running");
    let inner = over(frame, body, (40, CHOICES.len() as u16 + 4), &title, state.theme);
    for (row, choice) in CHOICES.into_iter().enumerate() {
        let style = if row == at { state.theme.selected() } else { ratatui::style::Style::new() };
        let text = pad(&format!(" {} {choice}", if row == at { "▸" } else { " " }), usize::from(inner.width));
        let area = Rect { y: inner.y + 1 + row as u16, height: 1, ..inner };
        if area.y < inner.bottom() {
            frame.render_widget(Line::styled(text, style), area);
        }
    }
}
