//! How to leave.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::pane::over;
use crate::dashboard::state::text::{count, pad};
use crate::dashboard::state::{CHOICES, Phase, State};

/// The choices over a view; one of them is selected.
pub fn draw(state: &State, frame: &mut Frame<'_>, body: Rect, at: usize) {
    let title = match (state.can_stop(), state.run().count(Phase::Running)) {
        (false, _) => "the run is over: q leaves".to_owned(),
        (true, 0) => "the run is not over".to_owned(),
        (true, running) => format!("{} still running", count(running, "node")),
    };
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
