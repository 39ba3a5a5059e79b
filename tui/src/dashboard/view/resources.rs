//! How the machine is: processors, memory, disk, graphics cards, and what is kept in memory.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{RenderDirection, Sparkline};

use super::bar::{bar, percent};
use super::pane::{block, fitted, nothing, scrollbar};
use crate::dashboard::Resources;
use crate::dashboard::message::Card;
use crate::dashboard::state::State;
use crate::dashboard::state::text::{bytes, count, pad, pad_left, took, width};

/// Columns of the names before bars.
const NAMES: usize = 11;
/// With so many columns, what is kept stands beside the rest.
const WIDE: u16 = 100;

/// Curves take no more rows.
const HIGHEST: u16 = 12;

/// The machine above what is kept, or beside it.
pub fn draw(state: &State, frame: &mut Frame<'_>, body: Rect) {
    let machine = &state.run().machine;
    let (above, below) = match &machine.now {
        None => (Rect { height: 0, ..body }, body),
        Some(_) if body.width >= WIDE => {
            let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(body);
            (left, right)
        }
        Some(now) => {
            let wanted = gauges(state, now, usize::from(body.width)).len() as u16 + 5;
            let most = body.height.saturating_sub(3).max(body.height * 2 / 3);
            let [above, below] =
                Layout::vertical([Constraint::Length(wanted.min(most)), Constraint::Fill(1)]).areas(body);
            (above, below)
        }
    };
    if let Some(now) = &machine.now {
        measured(state, now, frame, above);
    }
    kept(state, frame, below);
}

/// Bars for how things are, and curves for how they were.
fn measured(state: &State, now: &Resources, frame: &mut Frame<'_>, area: Rect) {
    let machine = &state.run().machine;
    let lines = gauges(state, now, usize::from(area.width));
    let rows = (lines.len() as u16).min(area.height);
    for (row, line) in (0..rows).zip(lines) {
        frame.render_widget(line, Rect { y: area.y + row, height: 1, ..area });
    }
    let rest = Rect { y: area.y + rows, height: (area.height - rows).min(HIGHEST), ..area };
    if rest.height < 3 {
        return;
    }
    let mut curves = vec![("processors", &machine.processors, 1000)];
    curves.push(("memory", &machine.memory, now.machine_memory.0.max(1)));
    curves.extend(machine.cards.first().map(|samples| ("card", samples, 1000)));
    let areas = Layout::horizontal(vec![Constraint::Fill(1); curves.len()]).split(rest);
    for ((name, samples, most), area) in curves.into_iter().zip(areas.iter()) {
        curve(state, frame, *area, (name, samples, most));
    }
}

fn curve(
    state: &State,
    frame: &mut Frame<'_>,
    area: Rect,
    (name, samples, most): (&str, &VecDeque<u64>, u64),
) {
    let greatest = samples.iter().copied().max().unwrap_or(0);
    // Memory of a small process on a large machine would be a flat line.
    let most = if name == "memory" { greatest.max(1) * 5 / 4 } else { most };
    let sparkline = Sparkline::default()
        .block(block(state.theme, format!(" {name} ")))
        .data(samples.iter().rev().copied())
        .direction(RenderDirection::RightToLeft)
        .max(most)
        .style(state.theme.busy());
    frame.render_widget(sparkline, area);
}

/// One line for each thing that can be full.
fn gauges(state: &State, now: &Resources, columns: usize) -> Vec<Line<'static>> {
    let mut lines = processors(state, now, columns);
    let (all, taken) = now.machine_memory;
    lines.push(gauge(
        state,
        "memory",
        share(taken, all),
        &format!("{} of {}", bytes(taken), bytes(all)),
        columns,
    ));
    lines.push(gauge(state, "  of flow", share(now.memory, all), &bytes(now.memory), columns));
    for card in &now.cards {
        lines.extend(card_lines(state, card, columns));
    }
    let mut disk = Vec::new();
    disk.extend(now.store.map(|store| format!("the store takes {}", bytes(store))));
    disk.extend(now.disk_free.map(|free| format!("{} free", bytes(free))));
    if !disk.is_empty() {
        let spans = vec![
            Span::styled(format!(" {}", pad("disk", NAMES)), state.theme.dim()),
            Span::raw(disk.join(", ")),
        ];
        lines.push(fitted(spans, columns));
    }
    lines
}

/// One bar for each processor if there are few, and one for all of them.
fn processors(state: &State, now: &Resources, columns: usize) -> Vec<Line<'static>> {
    let number = now.processors.len();
    let busy = now.processors.iter().sum::<f32>() / number.max(1) as f32;
    let says = format!("{}, flow takes {:.1}", count(number, "processor"), now.process);
    let mut lines = vec![gauge(state, "processors", f64::from(busy), &says, columns)];
    if number > 1 && number <= 8 {
        let each = now.processors.iter().enumerate();
        lines.extend(
            each.map(|(at, busy)| gauge(state, &format!("  {}", at + 1), f64::from(*busy), "", columns)),
        );
    }
    lines
}

fn card_lines(state: &State, card: &Card, columns: usize) -> [Line<'static>; 2] {
    let (all, taken) = card.memory;
    let about = format!("{}, {} °C", card.name, card.temperature);
    [
        gauge(state, "card", f64::from(card.busy), &crate::dashboard::state::text::harmless(&about), columns),
        gauge(state, "  memory", share(taken, all), &format!("{} of {}", bytes(taken), bytes(all)), columns),
    ]
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

fn gauge(state: &State, name: &str, ratio: f64, says: &str, columns: usize) -> Line<'static> {
    let theme = state.theme;
    let style = match ratio {
        ratio if ratio >= 0.95 => theme.error(),
        ratio if ratio >= 0.8 => theme.warning(),
        _ => theme.good(),
    };
    let room = (columns / 3).min(32);
    let mut spans = vec![Span::styled(format!(" {}", pad(name, NAMES)), theme.dim())];
    spans.extend(bar(room, ratio, style, theme));
    spans.push(Span::raw(format!(" {} ", pad_left(&percent(ratio), 4))));
    spans.push(Span::styled(says.to_owned(), theme.dim()));
    fitted(spans, columns)
}

/// What is kept in memory for other nodes, the largest first.
fn kept(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let (machine, theme) = (&state.run().machine, state.theme);
    let gone = match machine.evicted {
        0 => String::new(),
        evicted => format!(", {evicted} let go"),
    };
    let title = format!(
        " kept in memory: {}, {}{gone} ",
        count(machine.kept.len(), "thing"),
        bytes(machine.kept_bytes())
    );
    let frame_block = block(theme, title);
    let inner = frame_block.inner(area);
    frame.render_widget(frame_block, area);
    if machine.kept.is_empty() {
        return nothing(
            frame,
            inner,
            theme,
            "nothing yet: networks and encoded prompts are kept for the nodes that come",
        );
    }
    let mut things: Vec<_> = machine.kept.iter().collect();
    things.sort_by_key(|kept| std::cmp::Reverse(kept.bytes));
    let rows = usize::from(inner.height);
    let first = state.kept_top.min(things.len().saturating_sub(rows));
    for (row, kept) in things.iter().skip(first).take(rows).enumerate() {
        let about = format!("  {} · {}", kept.node, took(kept.seconds));
        let columns = usize::from(inner.width).saturating_sub(1);
        let what_room = columns.saturating_sub(9 + width(&about).min(columns / 3));
        let spans = vec![
            Span::styled(pad_left(&bytes(kept.bytes), 9), theme.strong()),
            Span::raw(format!("  {}", pad(&kept.what, what_room.saturating_sub(2)))),
            Span::styled(about, theme.dim()),
        ];
        frame.render_widget(fitted(spans, columns), Rect { y: inner.y + row as u16, height: 1, ..inner });
    }
    scrollbar(frame, inner, things.len(), first, theme);
}
