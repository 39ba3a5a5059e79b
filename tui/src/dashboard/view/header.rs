//! The first lines: what runs, how far it has come, which view is shown, and what must not be missed.

use flow_engine::Status;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::pane::fitted;
use super::theme::symbol;
use crate::dashboard::message::Scope;
use crate::dashboard::state::text::{clock, count, fit_end, width};
use crate::dashboard::state::{Phase, Run, State, Stopping, outcome};

/// The line of the run.
pub fn draw(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let (run, theme) = (state.run(), state.theme);
    let columns = usize::from(area.width);
    let right = Line::from(right(state));
    let room = columns.saturating_sub(right.width() + 1);
    let about = format!(" · {} {}", run.device, run.dtype);
    let has_room = room > width(&run.graph) + width(&about) + 8 && !run.device.is_empty();
    let graph = if run.graph.is_empty() { "waiting for a run" } else { &run.graph };
    // Where there is little room, the name of the file says enough.
    let graph = if width(graph) + 7 > room { graph.rsplit('/').next().unwrap_or(graph) } else { graph };
    let mut left = vec![Span::styled(" flow ", theme.strong())];
    left.push(Span::raw(fit_end(graph, room.saturating_sub(7))));
    if has_room {
        left.push(Span::styled(about, theme.dim()));
    }
    frame.render_widget(fitted(left, room), area);
    let taken = u16::try_from(right.width()).unwrap_or(area.width).min(area.width);
    frame.render_widget(right, Rect { x: area.right() - taken, width: taken, ..area });
}

fn right(state: &State) -> Vec<Span<'static>> {
    let (run, theme) = (state.run(), state.theme);
    let mut spans = Vec::new();
    let mut badge = |text: &str, style| spans.extend([Span::styled(text.to_owned(), style), Span::raw("  ")]);
    if state.is_held() {
        badge("held still", theme.other());
    }
    if run.is_paused {
        badge("‖ paused", theme.warning());
    }
    match (state.stopping, run.is_over()) {
        (Stopping::No, _) | (_, true) => {}
        (Stopping::AfterCheckpoint, _) => badge("stopping after a checkpoint", theme.warning()),
        (Stopping::Now, _) => badge("stopping", theme.warning()),
    }
    if let Some((status, _)) = run.outcome {
        let style = if status == Status::Done { theme.good() } else { theme.error() };
        let word = outcome(status);
        badge(if state.size.0 < 60 { word.trim_start_matches("done ") } else { word }, style);
    } else if state.scope != Scope::Own && run.is_at_end {
        // Its process is gone, or was when this was written down.
        badge("broken off", theme.error());
    } else if state.scope != Scope::Own && state.size.0 >= 80 {
        badge(if state.scope == Scope::Attached { "attached" } else { "recorded" }, theme.dim());
    }
    spans.extend(counts(run, state));
    spans.push(Span::raw(format!(" {} ", clock(run.outcome.map_or(run.now, |(_, seconds)| seconds)))));
    spans
}

fn counts(run: &Run, state: &State) -> Vec<Span<'static>> {
    let present = Phase::ALL.into_iter().filter(|&phase| run.count(phase) > 0);
    let shown = present.map(|phase| {
        let symbol = symbol(phase, state.beat(), run.is_paused);
        Span::styled(format!("{symbol}{} ", run.count(phase)), state.theme.phase(phase))
    });
    shown.collect()
}

/// The line of the views.
pub fn tabs(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let theme = state.theme;
    let tab = |(view, title, _)| match view {
        view if view == state.view => Span::styled(title, theme.selected().patch(theme.strong())),
        super::View::Problems if state.run().mistakes() > 0 || state.run().count(Phase::Failed) > 0 => {
            Span::styled(title, theme.error())
        }
        _ => Span::styled(title, theme.dim()),
    };
    let spans = state.tabs(area.width).into_iter().map(tab).collect();
    frame.render_widget(fitted(spans, area.width.into()), area);
}

/// What a rejected edit says, in every view.
pub fn banner(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let what = count(state.run().mistakes(), "mistake");
    let says = match state.run().plans {
        0 => format!(" ✗ the graph has {what}, nothing runs until they are mended "),
        _ => format!(" ✗ the saved edit has {what}, the run goes on without it "),
    };
    let first =
        state.run().problems.first().map(|problem| problem.message.replace('\n', " ")).unwrap_or_default();
    let spans = vec![
        Span::styled(says, state.theme.error()),
        Span::raw(crate::dashboard::state::text::harmless(&first).into_owned()),
    ];
    frame.render_widget(fitted(spans, area.width.into()), area);
}
