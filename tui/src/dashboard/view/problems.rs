//! What went wrong: a list, and the selected one with its line and what to do.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::pane::{fitted, heading, nothing, scrollbar, wrapped};
use crate::dashboard::state::screen::{problem_rows, top};
use crate::dashboard::state::text::{clock, harmless, pad_left, width};
use crate::dashboard::state::{Origin, Problem, State};
use flow_engine::Severity;

/// Columns of the line that a mistake stands in before its caret is brought into sight.
const BEFORE_CARET: usize = 12;

/// The list above, the selected one below.
pub fn draw(state: &State, frame: &mut Frame<'_>, body: Rect) {
    let theme = state.theme;
    let count = state.listed_problems().count();
    if count == 0 {
        let says = match state.find.is_on() {
            true => "no problem matches: Esc ends the search",
            false => "nothing went wrong so far",
        };
        return nothing(frame, body, theme, says);
    }
    let rows = problem_rows(body, state.run().problems.len());
    let list = Rect { height: rows, ..body };
    let at = state.problems.at.min(count - 1);
    let first = top(at, count, usize::from(rows));
    let times = state.listed_problems().map(|problem| width(&clock(problem.at))).max().unwrap_or(0) + 1;
    for (row, problem) in state.listed_problems().skip(first).take(usize::from(rows)).enumerate() {
        let area = Rect { y: list.y + row as u16, height: 1, ..list };
        let columns = usize::from(list.width);
        frame.render_widget(entry(state, problem, (times, columns), first + row == at), area);
    }
    scrollbar(frame, list, count, first, theme);
    let below = Rect { y: body.y + rows, height: body.height - rows, ..body };
    let lines = details(state, usize::from(below.width));
    super::pane::scrolled(frame, below, &lines, state.problems.top, theme);
}

fn sign(problem: &Problem) -> &'static str {
    match problem.severity {
        Severity::Error => "✗",
        Severity::Warning => "!",
    }
}

fn entry(
    state: &State,
    problem: &Problem,
    (times, columns): (usize, usize),
    is_selected: bool,
) -> Line<'static> {
    let theme = state.theme;
    let about = match (&problem.node, problem.origin) {
        (_, Origin::Edit) => "edit".to_owned(),
        (Some(node), _) => node.to_string(),
        (None, _) => "run".to_owned(),
    };
    let spans = vec![
        Span::styled(pad_left(&clock(problem.at), times), theme.dim()),
        Span::styled(format!(" {} ", sign(problem)), theme.severity(problem.severity)),
        Span::styled(format!("{about}: "), theme.strong()),
        Span::raw(harmless(&problem.message).into_owned()),
    ];
    let mut line = fitted(spans, columns.saturating_sub(1));
    if is_selected {
        let rest = (columns - 1).saturating_sub(line.width());
        line.push_span(Span::raw(" ".repeat(rest)));
        line = line.style(theme.selected());
    }
    line
}

/// All that is known of the selected problem, the way the program prints it.
pub fn details(state: &State, columns: usize) -> Vec<Line<'static>> {
    let theme = state.theme;
    let Some(problem) = state.problem() else { return Vec::new() };
    let title = match problem.origin {
        Origin::Edit if state.run().plans == 0 => "a mistake in the graph; nothing runs until it is mended",
        Origin::Edit => "a mistake in the saved edit; the run goes on without it",
        Origin::Node => "a node failed",
        Origin::Warning => "a warning",
    };
    let mut lines = vec![heading(title, columns, theme)];
    let word = match problem.severity {
        Severity::Error => "error: ",
        Severity::Warning => "warning: ",
    };
    let node = problem.node.as_deref().filter(|_| problem.origin != Origin::Edit);
    let node = node.map(|node| format!("`{node}`: ")).unwrap_or_default();
    let said = format!("{node}{}", problem.message);
    lines.extend(told(word, &said, columns, theme.severity(problem.severity), theme.strong()));
    lines.extend(place(state, problem, columns));
    for cause in &problem.causes {
        lines.extend(told("   = note: ", cause, columns, theme.dim(), Style::new()));
    }
    if let Some(hint) = &problem.hint {
        lines.extend(told("   = hint: ", hint, columns, theme.good(), Style::new()));
    }
    lines
}

/// A text after what it is.
fn told(what: &'static str, says: &str, columns: usize, style: Style, rest: Style) -> Vec<Line<'static>> {
    let indent = width(what);
    let parts = wrapped(says, columns.saturating_sub(indent + 1));
    let line = |(at, part): (usize, String)| {
        let what = if at == 0 { what.to_owned() } else { " ".repeat(indent) };
        Line::from_iter([Span::styled(what, style), Span::styled(part, rest)])
    };
    parts.into_iter().enumerate().map(line).collect()
}

/// The place with its line, and a caret under the column.
fn place(state: &State, problem: &Problem, columns: usize) -> Vec<Line<'static>> {
    let theme = state.theme;
    let Some((file, number, column)) = &problem.place else { return Vec::new() };
    let mut lines = vec![Line::from_iter([
        Span::styled("  --> ", theme.dim()),
        Span::raw(format!("{}:{number}:{column}", harmless(file))),
    ])];
    let Some(source) = &problem.source else { return lines };
    let margin = number.to_string().len().max(3);
    let room = columns.saturating_sub(margin + 4);
    let (shown, before) = around(source, *column, room);
    let bar = |number: &str| Span::styled(format!("{} | ", pad_left(number, margin)), theme.dim());
    lines.push(Line::from_iter([bar("")]));
    lines.push(Line::from_iter([bar(&number.to_string()), Span::raw(shown)]));
    let caret = Span::styled(format!("{:before$}^", ""), theme.severity(problem.severity));
    lines.push(Line::from_iter([bar(""), caret]));
    lines
}

/// As much of a line as there is room for around a column, and how many columns come before that.
fn around(source: &str, column: usize, room: usize) -> (String, usize) {
    let letters: Vec<char> = source.trim_end().chars().collect();
    let at = (column.max(1) - 1).min(letters.len());
    let skipped = if at + BEFORE_CARET > room { at - BEFORE_CARET.min(at) } else { 0 };
    let before: String = letters[skipped..at].iter().collect();
    let rest: String = letters[skipped..].iter().collect();
    let shown = crate::dashboard::state::text::fit(&harmless(&rest), room).into_owned();
    (shown, width(&harmless(&before)))
}
