//! The last line: what there is to say, or the keys that matter here.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Span;

use super::pane::fitted;
use crate::dashboard::keys::{Action, BINDINGS, Binding, Section};
use crate::dashboard::state::text::{count, fit_end, width};
use crate::dashboard::state::{Overlay, State, View};

/// The line.
pub fn draw(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let columns = usize::from(area.width);
    let spans = if state.find.is_typed {
        vec![
            Span::styled(" /", state.theme.key()),
            Span::raw(fit_end(state.find.text(), columns.saturating_sub(4)).into_owned()),
            Span::styled("█", state.theme.dim()),
            Span::styled(format!("  {}", matches(state)), state.theme.dim()),
        ]
    } else if let Some(notice) = state.notice() {
        vec![Span::raw(format!(" {notice}"))]
    } else {
        keys(state, columns)
    };
    frame.render_widget(fitted(spans, columns), area);
}

/// How much a search finds here.
fn matches(state: &State) -> String {
    let (run, needle) = (state.run(), state.find.needle());
    match state.view {
        _ if needle.is_empty() => "Enter searches, Esc ends".to_owned(),
        View::Logs => count(run.log.chosen(state.logs.level, needle).count(), "line"),
        View::Problems => count(state.listed_problems().count(), "problem"),
        _ => {
            let found =
                run.nodes.iter().filter(|node| state.find.finds(&node.name) || state.find.finds(&node.kind));
            count(found.count(), "node")
        }
    }
}

/// As many keys as there is room for, and at the end those that lead out of wherever one is.
fn keys(state: &State, columns: usize) -> Vec<Span<'static>> {
    let mut shown = Vec::new();
    if state.find.is_on() {
        shown.push(("n N".to_owned(), format!("`{}`", state.find.text())));
        shown.push(("Esc".to_owned(), "end".to_owned()));
    }
    shown.extend(named(state).into_iter().map(|(keys, does)| (keys.to_owned(), does.to_owned())));
    let mut last = vec![("?".to_owned(), "help".to_owned())];
    if state.overlay.is_none() {
        last.insert(0, ("q".to_owned(), "quit".to_owned()));
    }
    let taken = |(keys, does): &(String, String)| width(keys) + width(does) + 3;
    let mut room = columns.saturating_sub(last.iter().map(taken).sum());
    let fits = |entry: &(String, String)| {
        let is_room = taken(entry) <= room;
        room -= if is_room { taken(entry) } else { 0 };
        is_room
    };
    shown.retain(fits);
    shown.extend(last);
    let spans = |(keys, does)| {
        [
            Span::styled(format!(" {keys}"), state.theme.key()),
            Span::styled(format!(" {does} "), state.theme.dim()),
        ]
    };
    shown.into_iter().flat_map(spans).collect()
}

/// The keys that matter here, the nearest first.
fn named(state: &State) -> Vec<(&'static str, &'static str)> {
    match state.overlay {
        Some(Overlay::Quit(_)) => vec![("j k", "choose"), ("Enter", "do it"), ("Esc", "back")],
        Some(_) => vec![("j k", "scroll"), ("Esc", "close")],
        None => offered(state),
    }
}

/// What keys would do something now.
fn offered(state: &State) -> Vec<(&'static str, &'static str)> {
    let matters = |binding: &&Binding| {
        let is_last = matches!(binding.action, Action::Help | Action::Quit);
        let works = binding.works_in(state.view) && state.offers(binding.action);
        !is_last && !binding.short.is_empty() && works
    };
    let mut shown: Vec<&Binding> = BINDINGS.iter().filter(matters).collect();
    shown.sort_by_key(|binding| rank(binding));
    let named = |binding: &Binding| match binding.action {
        Action::Pause if state.run().is_paused => (binding.shown, "go on"),
        _ => (binding.shown, binding.short),
    };
    shown.into_iter().map(named).collect()
}

/// What is done to the run comes first, then what works only here, then what works everywhere.
fn rank(binding: &Binding) -> u8 {
    match (binding.section, binding.views.is_empty()) {
        (_, false) if binding.action == Action::Open => 0,
        (Section::Steer, _) => 1,
        (_, false) => 2,
        (_, true) => 3,
    }
}
