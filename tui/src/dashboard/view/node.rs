//! One node: how it is written, what it reads, why it runs or does not, what it took, and what it tells.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::bar::{bar, percent};
use super::pane::{fact, fitted, heading, nothing, scrolled, wrapped};
use super::theme::symbol;
use flow_engine::plan::Basis;

use crate::dashboard::state::text::{
    bytes, clock, count, fit_end, harmless, left as time_left, pace, pad_left, quantity, took, width,
};
use crate::dashboard::state::{Level, Node, Origin, Phase, State, Track};

/// With so many columns, the log stands beside the rest.
const WIDE: u16 = 100;

/// The node, and its log beside it where there is room.
pub fn draw(state: &State, frame: &mut Frame<'_>, body: Rect) {
    let Some(node) = state.here() else {
        return nothing(frame, body, state.theme, "no node is selected: 1 shows the graph");
    };
    let lines = left(state, body);
    if body.width < WIDE {
        return scrolled(frame, body, &lines, state.node.top, state.theme);
    }
    let half = body.width / 2;
    scrolled(frame, Rect { width: half - 1, ..body }, &lines, state.node.top, state.theme);
    let right = Rect { x: body.x + half, width: body.width - half, ..body };
    let log = log(state, node, usize::from(right.width), usize::from(right.height));
    scrolled(frame, right, &log, log.len(), state.theme);
}

/// The lines that are scrolled.
pub fn left(state: &State, body: Rect) -> Vec<Line<'static>> {
    let Some(node) = state.here() else { return Vec::new() };
    let is_wide = body.width >= WIDE;
    let columns = usize::from(if is_wide { body.width / 2 - 1 } else { body.width }).saturating_sub(1);
    let mut lines = vec![title(state, node, columns)];
    lines.extend(progress(state, node, columns));
    lines.extend(facts(state, node, columns));
    lines.extend(numbers(state, node, columns));
    lines.extend(warnings(state, node, columns));
    lines.extend(written(state, node, columns));
    if !is_wide {
        lines.extend(log(state, node, columns, usize::MAX));
    }
    lines
}

/// Symbol, name, kind and, at the right, where it is written.
fn title(state: &State, node: &Node, columns: usize) -> Line<'static> {
    let theme = state.theme;
    let style = theme.phase(node.phase);
    let symbol = symbol(node.phase, state.beat(), state.run().is_paused);
    let mut spans = vec![
        Span::styled(format!(" {symbol} "), style),
        Span::styled(node.name.to_string(), theme.strong()),
        Span::styled(format!("  {}", node.kind), theme.dim()),
        Span::styled(format!("  {}", node.phase.word()), style),
    ];
    let place = node.written.as_ref().map(|written| format!("{}:{}", harmless(&written.file), written.line));
    let taken: usize = spans.iter().map(Span::width).sum();
    if let Some(place) = place
        && columns > taken + 8
    {
        let place = fit_end(&place, columns - taken - 2).into_owned();
        spans.push(Span::styled(pad_left(&place, columns - taken), theme.dim()));
    }
    fitted(spans, columns)
}

/// A bar for what it counts, and another for what it counts within that.
fn progress(state: &State, node: &Node, columns: usize) -> Vec<Line<'static>> {
    if node.phase != Phase::Running {
        return Vec::new();
    }
    let tracks = node.progress.main().into_iter().chain(node.progress.inner());
    tracks.map(|track| track_line(state, track, columns)).collect()
}

fn track_line(state: &State, track: &Track, columns: usize) -> Line<'static> {
    let mut says = format!(" {} · {} {} of {}", percent(track.ratio()), track.unit, track.done, track.total);
    let unit = track.unit.split(' ').next().unwrap_or_default();
    let more =
        [track.pace().map(|per_second| pace(per_second, unit)), track.left(state.run().now).map(time_left)];
    for more in more.into_iter().flatten() {
        if width(&says) + width(&more) + 3 + 10 < columns {
            says += &format!(" · {more}");
        }
    }
    let room = columns.saturating_sub(width(&says) + 1).min(48);
    let mut spans = vec![Span::raw(" ")];
    spans.extend(bar(room, track.ratio(), state.theme.busy(), state.theme));
    spans.push(Span::raw(harmless(&says).into_owned()));
    fitted(spans, columns)
}

fn facts(state: &State, node: &Node, columns: usize) -> Vec<Line<'static>> {
    let run = state.run();
    let names = |of: &[usize]| {
        let names: Vec<&str> =
            of.iter().filter_map(|&at| run.nodes.get(at)).map(|node| &*node.name).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    let why = match node.phase {
        Phase::Stored => "why stored",
        Phase::Skipped => "why skipped",
        Phase::Failed => "failed with",
        Phase::Done => "why it ran",
        Phase::Waiting | Phase::Queued | Phase::Running => "why it runs",
    };
    let mut facts: Vec<(&str, String)> =
        run.awaited(node).map(|awaited| ("waits for", awaited)).into_iter().collect();
    facts.extend([
        (why, node.why.clone()),
        ("reads", names(&node.inputs)),
        ("read by", names(&node.outputs)),
    ]);
    facts.extend(times(node, run.now).map(|times| ("time", times)));
    facts.extend(node.expected.map(|expected| ("expected", expectation(expected.seconds, expected.basis))));
    facts.extend(memory(node).map(|memory| ("memory", memory)));
    if node.read_bytes > 0 {
        facts.push(("from disk", bytes(node.read_bytes)));
    }
    if let Some((step, path)) = &node.checkpoint {
        facts.push(("checkpoint", format!("after step {step}: {}", path.display())));
    }
    facts.extend(node.key.map(|key| ("key", key.to_string())));
    facts.extend(node.digest.map(|digest| ("result", digest.to_string())));
    facts.iter().flat_map(|(name, value)| fact(name, value, columns, state.theme)).collect()
}

fn times(node: &Node, now: f64) -> Option<String> {
    let started = node.started.map(|at| format!("started at {}", clock(at)));
    let ran = node.ran(now).map(|ran| match node.phase {
        Phase::Running => format!("runs for {}", clock(ran)),
        _ => format!("took {}", took(ran)),
    });
    let told: Vec<String> = started.into_iter().chain(ran).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn expectation(seconds: f64, basis: Basis) -> String {
    let basis = match basis {
        Basis::Measured => "as the last time",
        Basis::Scaled => "from the last time, with other shapes",
        Basis::Modelled => "by its shapes, at a measured speed",
        Basis::Assumed => "by its shapes, at an assumed speed",
    };
    format!("{}, {basis}", took(seconds))
}

fn memory(node: &Node) -> Option<String> {
    let expected = node.expected_bytes.map(|held| format!("{} expected", bytes(held)));
    let peak = node.peak_bytes.map(|held| format!("the process had held {} when it was done", bytes(held)));
    let told: Vec<String> = expected.into_iter().chain(peak).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// What it measured last, under each name.
fn numbers(state: &State, node: &Node, columns: usize) -> Vec<Line<'static>> {
    if node.series.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![heading("numbers", columns, state.theme)];
    let longest = node.series.iter().map(|series| width(&series.name)).max().unwrap_or(0).min(columns / 2);
    for series in &node.series {
        let name = crate::dashboard::state::text::pad(&harmless(&series.name), longest);
        let value = format!("  {}", quantity(series.last, &series.unit));
        let spans = vec![Span::styled(format!(" {name}"), state.theme.dim()), Span::raw(value)];
        lines.push(fitted(spans, columns));
    }
    lines
}

fn warnings(state: &State, node: &Node, columns: usize) -> Vec<Line<'static>> {
    let mine = state.run().problems.iter().filter(|problem| problem.node.as_ref() == Some(&node.name));
    let mut lines = Vec::new();
    for problem in mine.filter(|problem| problem.origin != Origin::Edit) {
        if lines.is_empty() {
            lines.push(heading("problems", columns, state.theme));
        }
        let style = state.theme.severity(problem.severity);
        let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        let parts = wrapped(&format!("{}{hint}", problem.message), columns.saturating_sub(2));
        lines.extend(parts.into_iter().map(|part| Line::styled(format!(" {part}"), style)));
    }
    lines
}

/// Its text, as it stands in the graph.
fn written(state: &State, node: &Node, columns: usize) -> Vec<Line<'static>> {
    let Some(written) = &node.written else { return Vec::new() };
    let mut lines = vec![heading("as it is written", columns, state.theme)];
    let shift = written.text.lines().skip(1).filter(|line| !line.trim().is_empty());
    let shift = shift.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    for (at, line) in written.text.lines().enumerate() {
        let line = if at == 0 { line } else { line.get(shift..).unwrap_or_default() };
        let parts = wrapped(line, columns.saturating_sub(1));
        lines.extend(parts.into_iter().map(|part| Line::raw(format!(" {part}"))));
    }
    lines
}

/// Its last lines of the log.
fn log(state: &State, node: &Node, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let mut told: Vec<_> =
        state.run().log.of(&node.name).rev().take(rows.saturating_sub(1).min(500)).collect();
    told.reverse();
    let title = format!("its log, {}", count(told.len(), "line"));
    let mut lines = vec![heading(&title, columns, state.theme)];
    for told in told {
        let style = if told.level == Level::Info { Style::new() } else { state.theme.level(told.level) };
        let spans = vec![
            Span::styled(pad_left(&clock(told.at), 7), state.theme.dim()),
            Span::styled(format!(" {} ", super::logs::sign(told.level)), style),
            Span::styled(told.text.clone(), style),
        ];
        lines.push(fitted(spans, columns));
    }
    lines
}
