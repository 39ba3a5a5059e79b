//! How the machine is: processors, memory, disk, graphics cards, and what is kept in memory.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{RenderDirection, Sparkline};

use super::bar::{bar, percent};
use super::pane::{block, fitted, nothing, scrollbar};
use crate::dashboard::Resources;
use crate::dashboard::message::{Card, Scope};
use crate::dashboard::state::text::{bytes, count, fit, harmless, pad, pad_left, took, width};
use crate::dashboard::state::{Kept, State};

/// Columns of the names before bars.
const NAMES: usize = 11;
/// Columns of a share in percent, with a blank on either side.
const PERCENT: usize = 6;
/// Bars are no shorter, whatever stands beside them.
const SHORTEST_BAR: usize = 4;
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
    let busy = machine.processors.back().map_or(0.0, |busy| *busy as f64 / 1000.0);
    let mut curves = vec![Curve::new(format!("processors {}", percent(busy)), &machine.processors, 1000)];
    if state.scope == Scope::Own {
        // Memory of a small process on a large machine would be a flat line.
        let greatest = machine.memory.iter().copied().max().unwrap_or(0);
        let title = format!("flow's memory {}", bytes(now.memory));
        curves.push(Curve::new(title, &machine.memory, greatest.max(1) * 5 / 4));
    }
    let cards = machine.cards.iter().zip(&now.cards).take(1);
    curves.extend(
        cards.map(|(samples, card)| Curve::new(format!("card {}", percent(card.busy.into())), samples, 1000)),
    );
    let areas = Layout::horizontal(vec![Constraint::Fill(1); curves.len()]).split(rest);
    for (curve, area) in curves.into_iter().zip(areas.iter()) {
        curve.draw(state, frame, *area);
    }
}

/// How something was, the newest at the right.
struct Curve<'a> {
    title: String,
    samples: &'a VecDeque<u64>,
    /// What fills the whole height.
    most: u64,
}

impl<'a> Curve<'a> {
    fn new(title: String, samples: &'a VecDeque<u64>, most: u64) -> Self {
        Self { title, samples, most }
    }

    fn draw(&self, state: &State, frame: &mut Frame<'_>, area: Rect) {
        let title = fit(&self.title, usize::from(area.width).saturating_sub(4)).into_owned();
        let sparkline = Sparkline::default()
            .block(block(state.theme, format!(" {title} ")))
            .data(self.samples.iter().rev().copied())
            .direction(RenderDirection::RightToLeft)
            .max(self.most)
            .style(state.theme.busy());
        frame.render_widget(sparkline, area);
    }
}

/// One line for each thing that can be full. Their bars are as long as what stands beside them allows.
fn gauges(state: &State, now: &Resources, columns: usize) -> Vec<Line<'static>> {
    // Of another's process nothing is known.
    let is_own = state.scope == Scope::Own;
    let mut gauges = processors(now, is_own);
    let (all, taken) = now.machine_memory;
    gauges.push(Gauge::new("memory", share(taken, all), of(taken, all)));
    if is_own {
        gauges.push(Gauge::new("  of flow", share(now.memory, all), bytes(now.memory)));
    }
    gauges.extend(now.cards.iter().flat_map(card));
    let says = gauges.iter().map(|gauge| width(&gauge.says)).max().unwrap_or(0);
    let room = columns.saturating_sub(says + NAMES + PERCENT + 2).clamp(SHORTEST_BAR, 32);
    let mut lines: Vec<Line<'static>> =
        gauges.iter().map(|gauge| gauge.line(state, room.min(columns / 3), columns)).collect();
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

/// How full something is.
struct Gauge {
    name: String,
    ratio: f64,
    says: String,
}

impl Gauge {
    fn new(name: impl Into<String>, ratio: f64, says: impl Into<String>) -> Self {
        Self { name: name.into(), ratio, says: says.into() }
    }

    fn line(&self, state: &State, room: usize, columns: usize) -> Line<'static> {
        let theme = state.theme;
        let style = match self.ratio {
            ratio if ratio >= 0.95 => theme.error(),
            ratio if ratio >= 0.8 => theme.warning(),
            _ => theme.good(),
        };
        let mut spans = vec![Span::styled(format!(" {}", pad(&self.name, NAMES)), theme.dim())];
        spans.extend(bar(room, self.ratio, style, theme));
        spans.push(Span::raw(format!(" {} ", pad_left(&percent(self.ratio), PERCENT - 2))));
        spans.push(Span::styled(self.says.clone(), theme.dim()));
        fitted(spans, columns)
    }
}

/// One bar for all processors, and one for each of them if there are few.
fn processors(now: &Resources, is_own: bool) -> Vec<Gauge> {
    let number = now.processors.len();
    let busy = now.processors.iter().sum::<f32>() / number.max(1) as f32;
    let says = match is_own {
        true => format!("flow {:.1} of {number}", now.process),
        false => format!("{number} of them"),
    };
    let mut gauges = vec![Gauge::new("processors", f64::from(busy), says)];
    if number > 1 && number <= 8 {
        let each = now.processors.iter().enumerate();
        gauges.extend(each.map(|(at, busy)| Gauge::new(format!("  {}", at + 1), f64::from(*busy), "")));
    }
    gauges
}

fn card(card: &Card) -> [Gauge; 2] {
    let (all, taken) = card.memory;
    let about = format!("{}, {} °C", harmless(&card.name), card.temperature);
    [
        Gauge::new("card", f64::from(card.busy), about),
        Gauge::new("  memory", share(taken, all), of(taken, all)),
    ]
}

fn of(taken: u64, all: u64) -> String {
    format!("{} of {}", bytes(taken), bytes(all))
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
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
        let columns = usize::from(inner.width).saturating_sub(1);
        let about = made(kept, columns / 3);
        let what_room = columns.saturating_sub(9 + width(&about));
        let spans = vec![
            Span::styled(pad_left(&bytes(kept.bytes), 9), theme.strong()),
            Span::raw(format!("  {}", pad(&kept.what, what_room.saturating_sub(2)))),
            Span::styled(about, theme.dim()),
        ];
        frame.render_widget(fitted(spans, columns), Rect { y: inner.y + row as u16, height: 1, ..inner });
    }
    scrollbar(frame, inner, things.len(), first, theme);
}

/// For which node something was made, and how long that took if there is room for both.
fn made(kept: &Kept, columns: usize) -> String {
    let both = format!("  {} · {}", kept.node, took(kept.seconds));
    if width(&both) <= columns { both } else { fit(&format!("  {}", kept.node), columns).into_owned() }
}
