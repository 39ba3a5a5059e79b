//! The line below the map: where the selected node stands, and why.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::dashboard::state::map::Group;
use crate::dashboard::state::text::{clock, count, fit_end, harmless, left, took, width};
use crate::dashboard::state::{Node, Phase, State};
use crate::dashboard::view::pane::fitted;
use crate::dashboard::view::theme::symbol;

/// With fewer columns, the kind and the place of a node are left out.
const WIDE: usize = 72;
/// The name of a file takes no more columns.
const PLACE: usize = 24;

/// The node that is selected, or the group.
pub fn line(state: &State, columns: usize) -> Line<'static> {
    if let Some(group) = state.selected_group() {
        return of_group(state, group, columns);
    }
    let Some(node) = state.selected().and_then(|at| state.run().nodes.get(at)) else {
        return Line::default();
    };
    of_node(state, node, columns)
}

fn of_node(state: &State, node: &Node, columns: usize) -> Line<'static> {
    let theme = state.theme;
    let style = theme.phase(node.phase);
    let mut spans = vec![
        Span::styled(format!(" {} ", symbol(node.phase, state.beat(), state.run().is_paused)), style),
        Span::styled(node.name.to_string(), theme.strong()),
    ];
    if columns >= WIDE {
        spans.push(Span::styled(format!("  {}", node.kind), theme.dim()));
    }
    spans.push(Span::styled(format!("  {}", node.phase.word()), style));
    let place = node.written.as_ref().filter(|_| columns >= WIDE);
    let place = place.map(|written| place_of(&written.file, written.line)).unwrap_or_default();
    let taken: usize = spans.iter().map(Span::width).sum();
    let room = columns.saturating_sub(taken + width(&place) + 3);
    spans.extend(fitted(vec![Span::raw(says(state, node))], room).spans);
    let taken: usize = spans.iter().map(Span::width).sum();
    let gap = columns.saturating_sub(taken + width(&place) + 1);
    spans.push(Span::styled(format!("{}{place}", " ".repeat(gap)), theme.dim()));
    fitted(spans, columns)
}

/// Where it is written: the name of the file, for the folder is known, and the line.
fn place_of(file: &str, line: usize) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    format!("{}:{line}", fit_end(&harmless(name), PLACE))
}

/// What it waits for, how long it takes, or why it is as it is.
fn says(state: &State, node: &Node) -> String {
    let run = state.run();
    if let Some(awaited) = run.awaited(node) {
        return format!(" for {awaited}");
    }
    let ran = node.ran(run.now);
    let track = node.progress.main().filter(|_| node.phase == Phase::Running);
    let counted = track.map(|track| format!(", {} {} of {}", harmless(&track.unit), track.done, track.total));
    let rest = track.and_then(|track| track.left(run.now)).map(|seconds| format!(", {}", left(seconds)));
    let time = match (node.phase, ran) {
        (Phase::Running, Some(ran)) => format!(" for {}", clock(ran)),
        (Phase::Done, Some(ran)) => format!(" in {}", took(ran)),
        (Phase::Failed, Some(ran)) => format!(" after {}", took(ran)),
        _ => String::new(),
    };
    let why = if node.why.is_empty() { String::new() } else { format!(": {}", node.why) };
    format!("{time}{}{}{why}", counted.unwrap_or_default(), rest.unwrap_or_default())
}

/// How many of a group stand where, and how it is unfolded.
fn of_group(state: &State, group: &Group, columns: usize) -> Line<'static> {
    let (run, theme) = (state.run(), state.theme);
    let nodes = || group.members.iter().filter_map(|&at| run.nodes.get(at));
    let mut spans = vec![
        Span::raw(" "),
        Span::styled(group.label.clone(), theme.strong()),
        Span::styled(format!("  {} of {}", count(group.members.len(), "node"), group.kind), theme.dim()),
    ];
    for phase in Phase::ALL {
        let of_phase = nodes().filter(|node| node.phase == phase).count();
        if of_phase > 0 {
            let sign = symbol(phase, state.beat(), run.is_paused);
            spans.push(Span::styled(format!("  {sign} {of_phase} {}", plural(phase)), theme.phase(phase)));
        }
    }
    spans.push(Span::styled("  o unfolds", Style::new()));
    fitted(spans, columns)
}

/// What several nodes do.
fn plural(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "wait",
        Phase::Running => "run",
        phase => phase.word(),
    }
}
