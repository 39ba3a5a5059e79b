//! What the state looks like. Nothing here changes anything.

mod bar;
mod diff;
mod footer;
mod graph;
mod header;
mod help;
mod logs;
mod node;
mod pane;
mod pictures;
mod problems;
mod quit;
mod resources;
mod theme;
mod ticks;
mod training;

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::widgets::{Paragraph, Wrap};

use super::message::Pictures;
use super::state::screen::{FEWEST_COLUMNS, FEWEST_ROWS};
use super::state::{Overlay, State, View};
pub use theme::Theme;

/// Paints the whole frame.
pub fn draw(state: &State, pictures: &mut dyn Pictures, frame: &mut Frame<'_>) {
    let area = frame.area();
    let Some(screen) = state.screen(area) else { return too_small(frame, area) };
    header::draw(state, frame, screen.header);
    header::tabs(state, frame, screen.tabs);
    if let Some(banner) = screen.banner {
        header::banner(state, frame, banner);
    }
    let body = screen.body;
    match state.view {
        View::Graph => graph::draw(state, frame, body),
        View::Node => node::draw(state, frame, body),
        View::Training => training::draw(state, frame, body),
        // A picture over which something lies may be the terminal's own, and would lie over that.
        View::Pictures if state.overlay.is_some() => {}
        View::Pictures => pictures::draw(state, pictures, frame, body),
        View::Logs => logs::draw(state, frame, body),
        View::Problems => problems::draw(state, frame, body),
        View::Resources => resources::draw(state, frame, body),
    }
    match state.overlay {
        Some(Overlay::Help(top)) => help::draw(state, frame, body, top),
        Some(Overlay::Diff(top)) => diff::draw(state, frame, body, top),
        Some(Overlay::Quit(at)) => quit::draw(state, frame, body, at),
        None => {}
    }
    footer::draw(state, frame, screen.footer);
}

/// How many lines the help has.
pub fn help_lines(state: &State) -> usize {
    help::lines(state).len() + 2
}

/// How many lines the last saved edit takes.
pub fn diff_lines(state: &State) -> usize {
    diff::lines(state).len() + 2
}

/// The first line of the selected problem that can be shown at the top.
pub fn problem_lines(state: &State) -> usize {
    let body = state.body();
    let rows =
        body.height - super::state::screen::problem_rows(body, state.run().problems.len()).min(body.height);
    problems::details(state, body.width.into()).len().saturating_sub(rows.into())
}

/// How many lines a node takes.
pub fn node_lines(state: &State) -> usize {
    node::left(state, state.body()).len()
}

fn too_small(frame: &mut Frame<'_>, area: Rect) {
    let says = format!(
        "{}×{} is too small for the dashboard: it takes {FEWEST_COLUMNS}×{FEWEST_ROWS}",
        area.width, area.height
    );
    let paragraph = Paragraph::new(says).wrap(Wrap { trim: true }).alignment(Alignment::Center);
    let down = area.height.saturating_sub(2) / 2;
    frame.render_widget(paragraph, Rect { y: area.y + down, height: area.height - down, ..area });
}

#[cfg(test)]
mod snapshot_tests;
