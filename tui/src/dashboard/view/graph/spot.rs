//! A node or a folded group on the map.

use ratatui::style::{Modifier, Style};

use super::canvas::Canvas;
use crate::dashboard::state::map::{Group, Spot, Unit, Zoom};
use crate::dashboard::state::text::{clock, fit, left, pad, took, width};
use crate::dashboard::state::{Node, Phase, State};
use crate::dashboard::view::Theme;
use crate::dashboard::view::bar::{bar, percent};
use crate::dashboard::view::theme::symbol;

/// Corners and edges of a box: the four corners, then level and upright edges, then where a wire leaves.
type Edges = [&'static str; 7];

const ROUND: Edges = ["╭", "╮", "╰", "╯", "─", "│", "├"];
const HEAVY: Edges = ["┏", "┓", "┗", "┛", "━", "┃", "┣"];
const DOUBLE: Edges = ["╔", "╗", "╚", "╝", "═", "║", "╟"];

/// What a spot says.
struct Says {
    phase: Phase,
    name: String,
    /// How many nodes it stands for, if they are more than one.
    times: String,
    /// A few words at the right of the name.
    brief: String,
    /// The second line, unless there is a bar: the kind, and how it went if there is room for that.
    kind: String,
    went: String,
    /// The share that is done while it runs, and the words beside the bar.
    ratio: Option<(f64, String)>,
    is_group: bool,
    is_found: bool,
    flash: bool,
    has_outputs: bool,
}

/// Draws what is at a spot.
pub fn draw(state: &State, canvas: &mut Canvas<'_>, spot: &Spot, is_selected: bool) {
    let zoom = state.map().zoom;
    if !canvas.sees(spot.x, spot.y, spot.width, zoom.rows()) {
        return;
    }
    let says = match spot.unit {
        Unit::Node(at) => state.run().nodes.get(at).map(|node| of_node(state, node)),
        Unit::Group(at) => state.map().groups.get(at).map(|group| of_group(state, group)),
    };
    let Some(says) = says else { return };
    match zoom {
        Zoom::Line => line(state, canvas, spot, &says, is_selected),
        Zoom::Small | Zoom::Large => boxed(state, canvas, spot, &says, is_selected),
    }
}

fn of_node(state: &State, node: &Node) -> Says {
    let run = state.run();
    let ran =
        node.ran(run.now).filter(|_| matches!(node.phase, Phase::Running | Phase::Done | Phase::Failed));
    let ratio = node.ratio();
    let went = match (node.phase, ran) {
        (Phase::Waiting | Phase::Queued, _) => String::new(),
        (Phase::Running, Some(ran)) => clock(ran),
        (Phase::Done, Some(ran)) => took(ran),
        (phase, _) => phase.word().to_owned(),
    };
    let brief = match ratio {
        Some(ratio) => percent(ratio),
        None => String::new(),
    };
    let time = node.progress.main().and_then(|track| track.left(run.now)).map(left);
    Says {
        phase: node.phase,
        name: node.name.to_string(),
        times: String::new(),
        brief,
        kind: node.kind.clone(),
        went,
        ratio: ratio.map(|ratio| (ratio, time.unwrap_or_default())),
        is_group: false,
        is_found: state.find.finds(&node.name) || state.find.finds(&node.kind),
        flash: node.flash_until > run.now,
        has_outputs: !node.outputs.is_empty(),
    }
}

fn of_group(state: &State, group: &Group) -> Says {
    let run = state.run();
    let nodes = || group.members.iter().filter_map(|&at| run.nodes.get(at));
    let counts = Phase::ALL.map(|phase| (phase, nodes().filter(|node| node.phase == phase).count()));
    let over: usize = counts.iter().filter(|(phase, _)| phase.is_over()).map(|(_, count)| count).sum();
    let all = group.members.len();
    let told = counts.iter().filter(|(_, count)| *count > 0);
    let told: Vec<String> = told
        .map(|(phase, count)| format!("{}{count}", symbol(*phase, state.beat(), run.is_paused)))
        .collect();
    let is_under_way = over < all && nodes().any(|node| node.phase != Phase::Waiting);
    Says {
        phase: together(&counts, over == all),
        name: group.label.clone(),
        times: format!(" ×{all}"),
        brief: if is_under_way { format!("{over}/{all}") } else { String::new() },
        kind: group.kind.clone(),
        went: told.join(" "),
        ratio: is_under_way.then(|| (over as f64 / all as f64, told.join(" "))),
        is_group: true,
        is_found: nodes().any(|node| state.find.finds(&node.name) || state.find.finds(&node.kind)),
        flash: nodes().any(|node| node.flash_until > run.now),
        has_outputs: nodes().any(|node| !node.outputs.is_empty()),
    }
}

/// Where a group stands: where its most urgent node does.
fn together(counts: &[(Phase, usize)], is_over: bool) -> Phase {
    let has = |phase: Phase| counts.iter().any(|(other, count)| *other == phase && *count > 0);
    let urgent = [Phase::Failed, Phase::Running, Phase::Queued, Phase::Skipped];
    let found = urgent.into_iter().find(|&phase| has(phase));
    found.unwrap_or(match (is_over, has(Phase::Done)) {
        (true, true) => Phase::Done,
        (true, false) => Phase::Stored,
        (false, _) => Phase::Waiting,
    })
}

/// How a spot is drawn: its edges, and its name.
fn styles(state: &State, says: &Says, is_selected: bool) -> (Style, Style) {
    let theme = state.theme;
    let edge = theme.phase(says.phase);
    let name = match says.phase {
        Phase::Waiting | Phase::Queued => Style::new(),
        phase => theme.phase(phase),
    };
    let name = if says.is_found { theme.found() } else { name };
    let name = if is_selected { name.add_modifier(Modifier::REVERSED | Modifier::BOLD) } else { name };
    if says.flash {
        let flash = theme.flash((state.beat() / 4).is_multiple_of(2));
        return (flash.remove_modifier(Modifier::REVERSED), flash);
    }
    match state.find.is_on() && !says.is_found && !is_selected {
        true => (theme.dim(), theme.dim()),
        false => (edge, name),
    }
}

fn boxed(state: &State, canvas: &mut Canvas<'_>, spot: &Spot, says: &Says, is_selected: bool) {
    let (edge, name) = styles(state, says, is_selected);
    let edges = match (is_selected, says.is_group) {
        (true, _) => HEAVY,
        (false, true) => DOUBLE,
        (false, false) => ROUND,
    };
    frame(canvas, spot, state.map().zoom.rows(), edges, edge, says.has_outputs);
    let room = (spot.width - 2).max(0) as usize;
    let is_small = state.map().zoom == Zoom::Small;
    if let Some((ratio, _)) = says.ratio.as_ref().filter(|_| is_small) {
        let columns = (spot.width - 2).max(0) as usize;
        let mut at = spot.x + 1;
        for part in bar(columns, *ratio, state.theme.phase(says.phase), state.theme) {
            at = canvas.put(at, spot.y + 2, &part.content, part.style);
        }
    }
    let brief = if is_small && says.ratio.is_some() { says.brief.as_str() } else { "" };
    title(state, canvas, (spot.x + 1, spot.y + 1), room, says, (name, brief));
    if !is_small {
        second(state, canvas, (spot.x + 1, spot.y + 2), room, says);
    }
}

fn frame(canvas: &mut Canvas<'_>, spot: &Spot, rows: i32, edges: Edges, style: Style, has_outputs: bool) {
    let [top_left, top_right, bottom_left, bottom_right, level, upright, out] = edges;
    let (right, bottom) = (spot.x + spot.width - 1, spot.y + rows - 1);
    let across = level.repeat((spot.width - 2).max(0) as usize);
    canvas.put(spot.x, spot.y, top_left, style);
    canvas.put(spot.x + 1, spot.y, &across, style);
    canvas.put(right, spot.y, top_right, style);
    for y in spot.y + 1..bottom {
        canvas.put(spot.x, y, upright, style);
        canvas.put(right, y, if has_outputs && y == spot.y + 1 { out } else { upright }, style);
    }
    canvas.put(spot.x, bottom, bottom_left, style);
    canvas.put(spot.x + 1, bottom, &across, style);
    canvas.put(right, bottom, bottom_right, style);
}

/// The symbol and the name, and a few words at the right.
fn title(
    state: &State,
    canvas: &mut Canvas<'_>,
    (x, y): (i32, i32),
    room: usize,
    says: &Says,
    (style, brief): (Style, &str),
) {
    let theme = state.theme;
    let symbol = symbol(says.phase, state.beat(), state.run().is_paused);
    let after = canvas.put(x, y, symbol, theme.phase(says.phase));
    let brief_room = if brief.is_empty() { 0 } else { width(brief) + 1 };
    let name_room = room.saturating_sub(2 + brief_room);
    let name = fit(&says.name, name_room.saturating_sub(width(&says.times)));
    let name = format!("{name}{}", says.times);
    let after = canvas.put(after, y, " ", Style::new());
    let begin = canvas.put(after, y, &name, style);
    let rest = name_room.saturating_sub(width(&name)) as i32;
    canvas.put(begin, y, &" ".repeat(rest as usize), Style::new());
    if !brief.is_empty() {
        canvas.put(begin + rest, y, &format!(" {brief}"), theme.phase(says.phase));
    }
}

/// A bar with what is left, or the kind and how it went.
fn second(state: &State, canvas: &mut Canvas<'_>, (x, y): (i32, i32), room: usize, says: &Says) {
    let theme: Theme = state.theme;
    let Some((ratio, words)) = &says.ratio else {
        let both = format!("  {} · {}", says.kind, says.went);
        let is_room = !says.went.is_empty() && width(&both) <= room;
        let about = if is_room { both } else { format!("  {}", says.kind) };
        canvas.put(x, y, &pad(&about, room), theme.dim());
        return;
    };
    let words = as_many(words, room.saturating_sub(says.brief.len() + 6), says.is_group);
    let beside = format!(" {}{}{words}", says.brief, if words.is_empty() { "" } else { " " });
    let columns = room.saturating_sub(width(&beside));
    let mut at = x;
    for part in bar(columns, *ratio, theme.phase(says.phase), theme) {
        at = canvas.put(at, y, &part.content, part.style);
    }
    canvas.put(at, y, &beside, theme.phase(says.phase));
}

/// As many words as fit, none of them cut off; of what says something only as a whole, all or none.
fn as_many(words: &str, columns: usize, has_parts: bool) -> String {
    let mut shown = words;
    while width(shown) > columns {
        let cut = shown.rfind(' ').filter(|_| has_parts).unwrap_or(0);
        shown = &shown[..cut];
    }
    shown.to_owned()
}

/// All of it on one line.
fn line(state: &State, canvas: &mut Canvas<'_>, spot: &Spot, says: &Says, is_selected: bool) {
    let (_, name) = styles(state, says, is_selected);
    let brief = if says.ratio.is_some() { says.brief.as_str() } else { "" };
    let marked = if says.is_group { "▤ " } else { "" };
    let x = canvas.put(spot.x, spot.y, marked, state.theme.phase(says.phase));
    let room = (spot.x + spot.width - x - 1).max(0) as usize;
    title(state, canvas, (x, spot.y), room, says, (name, brief));
    let end = if says.has_outputs { "╶" } else { " " };
    canvas.put(spot.x + spot.width - 1, spot.y, end, state.theme.dim());
}
