//! A training: its loss, raw and smoothed, and the other numbers of its steps.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Padding};

use super::bar::{bar, percent};
use super::pane::{block, fitted, nothing, whole};
use super::theme::symbol;
use super::ticks::{parts_of, ticks, told};
use crate::dashboard::state::text::{clock, harmless, left, number, pace, quantity, took, width};
use crate::dashboard::state::{Node, Phase, Point, Series, State};

/// With so many rows, the small curves stand below the loss.
const TALL: u16 = 16;
/// A shorter bar says less than the number beside it.
const SHORTEST_BAR: usize = 8;
/// With so many columns, a chart has a margin, and its axis a label in the middle.
const ROOMY: u16 = 36;

/// The training that is chosen.
pub fn draw(state: &State, frame: &mut Frame<'_>, body: Rect) {
    let Some(node) = state.training().and_then(|at| state.run().nodes.get(at)) else {
        return nothing(frame, body, state.theme, "nothing is trained, or no step was told yet");
    };
    let columns = usize::from(body.width);
    let row = |y: u16| Rect { y: body.y + y, height: 1, ..body };
    frame.render_widget(title(state, node, columns), row(0));
    frame.render_widget(steps(state, node, columns), row(1));
    frame.render_widget(figures(state, node, columns), row(2));
    let rest = Rect { y: body.y + 3, height: body.height - 3, ..body };
    if body.height < TALL {
        return loss(state, node, frame, rest);
    }
    let [above, below] = Layout::vertical([Constraint::Fill(2), Constraint::Fill(1)]).areas(rest);
    loss(state, node, frame, above);
    let small = ["learning rate", "gradient norm", "seconds per step"];
    let areas: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).areas(below);
    for (name, area) in small.into_iter().zip(areas) {
        let Some(series) = node.series(name) else { continue };
        let says = format!(" {name} {} ", quantity(series.last, &series.unit));
        let points = seen(state, series, |point| point.raw);
        let drawn = [Drawn { points, style: state.theme.busy(), is_line: true, marker: Marker::Braille }];
        chart(state, frame, area, Line::raw(says), &drawn);
    }
}

/// Which training, and which of several.
fn title(state: &State, node: &Node, columns: usize) -> Line<'static> {
    let theme = state.theme;
    let symbol = symbol(node.phase, state.beat(), state.run().is_paused);
    let mut spans = vec![
        Span::styled(format!(" {symbol} "), theme.phase(node.phase)),
        Span::styled(node.name.to_string(), theme.strong()),
        Span::styled(format!("  {}", node.phase.word()), theme.phase(node.phase)),
    ];
    let all: Vec<&str> = state.run().trainings().map(|(_, node)| &*node.name).collect();
    if all.len() > 1 {
        let at = all.iter().position(|name| *name == &*node.name).unwrap_or(0);
        spans.push(Span::styled(format!("  {} of {} trainings, ← →", at + 1, all.len()), theme.dim()));
    }
    fitted(spans, columns)
}

/// How far it has come, how fast it goes, and how long it takes.
fn steps(state: &State, node: &Node, columns: usize) -> Line<'static> {
    let theme = state.theme;
    let Some(track) = node.progress.main() else { return Line::styled(" no step yet", theme.dim()) };
    let mut says =
        vec![format!(" {} {} of {}", harmless(&track.unit), track.done, track.total), percent(track.ratio())];
    if node.phase == Phase::Running {
        says.extend(track.pace().map(|per_second| pace(per_second, "step")));
        says.extend(track.left(state.run().now).map(left));
    }
    if let Some(inner) = node.progress.inner() {
        says.push(format!("{} {} of {}", inner.unit, inner.done, inner.total));
    }
    // What does not fit is left out from the end, and a bar that is too short says nothing.
    while says.len() > 2 && width(&says.join(" · ")) + 1 > columns {
        says.pop();
    }
    let says = says.join(" · ");
    let room = columns.saturating_sub(width(&says) + 2).min(40);
    let room = if room < SHORTEST_BAR { 0 } else { room };
    let mut spans = vec![Span::raw(" ")];
    spans.extend(bar(room, track.ratio(), theme.phase(node.phase), theme));
    spans.push(Span::raw(says));
    fitted(spans, columns)
}

/// The last numbers.
fn figures(state: &State, node: &Node, columns: usize) -> Line<'static> {
    let theme = state.theme;
    let short = [
        ("loss", "loss"),
        ("smoothed loss", "smoothed"),
        ("validation loss", "validation"),
        ("learning rate", "rate"),
        ("gradient norm", "gradient"),
    ];
    let part = |name: &str, value: String, style: Style| {
        vec![Span::styled(format!(" {name} "), theme.dim()), Span::styled(format!("{value} "), style)]
    };
    let measured = short.into_iter().filter_map(|(name, short)| {
        node.series(name).map(|series| part(short, number(series.last), theme.strong()))
    });
    let mut parts: Vec<Vec<Span<'static>>> = measured.collect();
    if let Some((step, _)) = &node.checkpoint {
        parts.push(part("checkpoint", format!("at step {step}"), Style::new()));
    }
    if let Some(ran) = node.ran(state.run().now) {
        let is_running = node.phase == Phase::Running;
        let ran = if is_running { clock(ran) } else { took(ran) };
        parts.push(part(if is_running { "runs for" } else { "took" }, ran, Style::new()));
    }
    whole(parts, columns)
}

/// A curve as it is drawn.
struct Drawn {
    points: Vec<(f64, f64)>,
    style: Style,
    is_line: bool,
    marker: Marker,
}

fn loss(state: &State, node: &Node, frame: &mut Frame<'_>, area: Rect) {
    let theme = state.theme;
    let Some(raw) = node.series("loss") else { return };
    let smooth = match node.series("smoothed loss") {
        Some(series) => seen(state, series, |point| point.raw),
        None => seen(state, raw, |point| point.smooth),
    };
    let highest = smooth.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let each = seen(state, raw, |point| point.raw);
    let most = usual(&each).max(highest);
    let each = each.into_iter().map(|(step, loss)| (step, loss.min(most))).collect();
    let mut curves = vec![
        Drawn { points: each, style: theme.dim(), is_line: false, marker: Marker::Braille },
        Drawn { points: smooth, style: theme.busy(), is_line: true, marker: Marker::Braille },
    ];
    let mut title = vec![
        vec![Span::styled(" loss ", theme.strong())],
        vec![Span::styled("· each step ", theme.dim())],
        vec![Span::styled("⠤ smoothed ", theme.busy())],
    ];
    if let Some(validation) = node.series("validation loss") {
        let points = seen(state, validation, |point| point.raw);
        curves.push(Drawn { points, style: theme.other(), is_line: false, marker: Marker::Dot });
        title.push(vec![Span::styled("• validation ", theme.other())]);
    }
    let title = whole(title, usize::from(area.width).saturating_sub(2));
    chart(state, frame, area, title, &curves);
}

/// What nearly all of some values are below: a single step that went wrong does not flatten all others. It is drawn at the
/// upper edge.
fn usual(points: &[(f64, f64)]) -> f64 {
    let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) * 97 / 100).copied().unwrap_or(0.0)
}

/// The points of a number within the steps that are shown.
fn seen(state: &State, series: &Series, value: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let points = series.points();
    let last = points.last().map_or(0.0, |point| point.x);
    let first = last - last / f64::from(1 << state.curves.halvings.min(16));
    points.iter().filter(|point| point.x >= first).map(|point| (point.x, value(point))).collect()
}

fn chart(state: &State, frame: &mut Frame<'_>, area: Rect, title: Line<'static>, curves: &[Drawn]) {
    let theme = state.theme;
    let points = || curves.iter().flat_map(|curve| &curve.points);
    if points().next().is_none() || area.height < 4 {
        frame.render_widget(block(theme, title), area);
        return;
    }
    let x = bounds(points().map(|point| point.0), 0.0);
    let y = bounds(points().map(|point| point.1), 0.0);
    let y = ticks(y, parts_of(area.height));
    let datasets = curves.iter().map(|curve| {
        let kind = if curve.is_line { GraphType::Line } else { GraphType::Scatter };
        Dataset::default().marker(curve.marker).graph_type(kind).style(curve.style).data(&curve.points)
    });
    let axis = |bounds: [f64; 2], labels: Vec<String>| {
        Axis::default().bounds(bounds).labels(labels).style(theme.dim())
    };
    let framed = block(theme, title).title_bottom(Line::styled(" step ", theme.dim()).right_aligned());
    let framed = if area.width >= ROOMY { framed.padding(Padding::horizontal(1)) } else { framed };
    let chart = Chart::new(datasets.collect())
        .block(framed)
        .x_axis(axis(x, ends(x, area.width >= ROOMY)))
        .y_axis(axis([y[0], y[y.len() - 1]], told(&y)).labels_alignment(Alignment::Right))
        .legend_position(None);
    frame.render_widget(chart, area);
}

/// The labels of the axis of steps: its ends, and its middle if there is room.
fn ends(bounds: [f64; 2], has_middle: bool) -> Vec<String> {
    let middle = f64::midpoint(bounds[0], bounds[1]);
    let values = if has_middle { vec![bounds[0], middle, bounds[1]] } else { bounds.to_vec() };
    values.into_iter().map(|step| format!("{step:.0}")).collect()
}

/// The least and the greatest of some values, with a margin; never the same.
fn bounds(values: impl Iterator<Item = f64>, margin: f64) -> [f64; 2] {
    let (least, greatest) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
        (least.min(value), greatest.max(value))
    });
    let span = greatest - least;
    if !greatest.is_finite() || greatest.abs() > 1e300 || least.abs() > 1e300 {
        return [-1.0, 1.0];
    }
    if span <= f64::EPSILON * greatest.abs().max(1e-12) {
        let around = if greatest == 0.0 { 0.5 } else { greatest.abs() * 0.5 };
        return [greatest - around, greatest + around];
    }
    [least - span * margin, greatest + span * margin]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_never_empty() {
        for values in [vec![], vec![0.0], vec![2.0, 2.0], vec![f64::MAX, f64::MIN], vec![1e-9, 1e-9]] {
            let [least, greatest] = bounds(values.iter().copied(), 0.05);
            assert!(least < greatest && least.is_finite() && greatest.is_finite(), "{values:?}");
        }
    }
}
