//! The last line: what there is to say, or the keys that matter here.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Span;

use super::pane::fitted;
use crate::dashboard::keys::{Action, BINDINGS, Section};
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

/// As many keys as there is room for, and help at the end.
fn keys(state: &State, columns: usize) -> Vec<Span<'static>> {
    let mut shown = Vec::new();
    if state.find.is_on() {
        shown.push(("n N".to_owned(), format!("`{}`", state.find.text())));
        shown.push(("Esc".to_owned(), "end".to_owned()));
    }
    shown.extend(named(state).map(|(keys, does)| (keys.to_owned(), does.to_owned())));
    let help = ("?".to_owned(), "help".to_owned());
    let taken = |(keys, does): &(String, String)| width(keys) + width(does) + 3;
    let mut room = columns.saturating_sub(taken(&help));
    let fits = |entry: &(String, String)| {
        let is_room = taken(entry) <= room;
        room -= if is_room { taken(entry) } else { 0 };
        is_room
    };
    shown.retain(fits);
    shown.push(help);
    let spans = |(keys, does)| {
        [
            Span::styled(format!(" {keys}"), state.theme.key()),
            Span::styled(format!(" {does} "), state.theme.dim()),
        ]
    };
    shown.into_iter().flat_map(spans).collect()
}

/// The keys that matter here, the nearest first.
fn named(state: &State) -> Box<dyn Iterator<Item = (&'static str, &'static str)>> {
    match state.overlay {
        Some(Overlay::Quit(_)) => {
            Box::new([("j k", "choose"), ("Enter", "do it"), ("Esc", "back")].into_iter())
        }
        Some(_) => Box::new([("j k", "scroll"), ("Esc", "close")].into_iter()),
        None => {
            let view = state.view;
            let can_steer = state.scope == crate::dashboard::Scope::Own && !state.run().is_at_end;
            let matters = move |binding: &&crate::dashboard::keys::Binding| {
                let is_refused = binding.section == Section::Steer && !can_steer;
                let is_help = binding.action == Action::Help;
                !binding.short.is_empty() && !is_refused && !is_help && binding.works_in(view)
            };
            // What works only here comes first.
            let (own, others): (Vec<_>, Vec<_>) =
                BINDINGS.iter().filter(matters).partition(|binding| !binding.views.is_empty());
            Box::new(own.into_iter().chain(others).map(|binding| (binding.shown, binding.short)))
        }
    }
}
