//! Wires in the channel between two layers: right, along a track of their own, and right again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use super::Wire;
use super::columns::{Link, Slot};

/// A channel has no more tracks than this; more nets share the last.
const MOST_TRACKS: usize = 16;

/// The channel after a layer.
pub struct Channel {
    /// Per link, its rows before and after the channel, and its track.
    courses: Vec<(i32, i32, usize)>,
    tracks: usize,
}

/// Links that share a track: all from one slot, or all to one.
#[derive(Default)]
struct Net {
    sources: BTreeSet<i32>,
    targets: BTreeSet<i32>,
}

impl Net {
    fn span(&self) -> RangeInclusive<i32> {
        let rows = || self.sources.iter().chain(&self.targets).copied();
        rows().min().unwrap_or(0)..=rows().max().unwrap_or(0)
    }

    fn is_straight(&self) -> bool {
        let span = self.span();
        span.start() == span.end()
    }
}

impl Channel {
    /// Gives every link a track, by the row of each slot.
    pub fn new(links: &[Link], row: impl Fn(Slot) -> i32) -> Self {
        let nets = nets(links, row);
        let tracks = tracks(&nets);
        let mut courses = vec![(0, 0, 0); links.len()];
        for (net, track) in nets.iter().zip(&tracks) {
            for &(link, from, to) in &net.1 {
                courses[link] = (from, to, *track);
            }
        }
        let tracks = tracks.iter().map(|track| track + 1).max().unwrap_or(0);
        Self { courses, tracks }
    }

    /// Columns of the channel: one on either side of its tracks.
    pub fn width(&self) -> i32 {
        i32::try_from(self.tracks.max(1)).unwrap_or(0) + 2
    }

    /// The wires of the links, for a channel that begins at a column, before a layer of some columns.
    pub fn wires(&self, links: &[Link], x: i32, next: i32) -> Vec<Wire> {
        let end = x + self.width() - 1;
        let wire = |(link, &(from, to, track)): (&Link, &(i32, i32, usize))| {
            let turn = x + 1 + i32::try_from(track).unwrap_or(0);
            let has_arrow = matches!(link.to, Slot::Spot(_));
            let last = if has_arrow { end } else { end + next };
            let points = [(x, from), (turn, from), (turn, to), (last, to)];
            Wire { points, has_arrow, joins: link.joins.clone() }
        };
        links.iter().zip(&self.courses).map(wire).collect()
    }
}

type Course = (usize, i32, i32);

/// Links by what they have in common: where they come from, or where they lead if more of them lead there.
fn nets(links: &[Link], row: impl Fn(Slot) -> i32) -> Vec<(Net, Vec<Course>)> {
    let mut leaving: HashMap<Slot, usize> = HashMap::new();
    let mut arriving: HashMap<Slot, usize> = HashMap::new();
    for link in links {
        *leaving.entry(link.from).or_default() += 1;
        *arriving.entry(link.to).or_default() += 1;
    }
    let mut nets: BTreeMap<(bool, Slot), (Net, Vec<Course>)> = BTreeMap::new();
    for (at, link) in links.iter().enumerate() {
        let is_fan_in = arriving[&link.to] > leaving[&link.from];
        let shared = if is_fan_in { link.to } else { link.from };
        let (net, courses) = nets.entry((is_fan_in, shared)).or_default();
        let (from, to) = (row(link.from), row(link.to));
        net.sources.insert(from);
        net.targets.insert(to);
        courses.push((at, from, to));
    }
    nets.into_values().collect()
}

/// A track for each net: none overlaps another on its track, and none leaves along a row on which another arrives
/// before that one has turned off.
fn tracks(nets: &[(Net, Vec<Course>)]) -> Vec<usize> {
    let mut by_source: HashMap<i32, Vec<usize>> = HashMap::new();
    for (at, (net, _)) in nets.iter().enumerate().filter(|(_, (net, _))| !net.is_straight()) {
        net.sources.iter().for_each(|row| by_source.entry(*row).or_default().push(at));
    }
    let before: Vec<Vec<usize>> = nets
        .iter()
        .enumerate()
        .map(|(at, (net, _))| {
            let rows = net.targets.iter().filter_map(|row| by_source.get(row));
            rows.flatten().copied().filter(|&other| other != at).collect()
        })
        .collect();
    let mut tracks = vec![0; nets.len()];
    let mut taken: Vec<Vec<RangeInclusive<i32>>> = Vec::new();
    for at in in_turn(&before) {
        let net = &nets[at].0;
        if net.is_straight() {
            continue;
        }
        let first = before[at].iter().map(|&other| tracks[other] + 1).max().unwrap_or(0);
        let span = net.span();
        let is_free = |track: &usize| {
            taken.get(*track).is_none_or(|spans| {
                spans.iter().all(|other| other.end() < span.start() || span.end() < other.start())
            })
        };
        let track = (first..MOST_TRACKS).find(is_free).unwrap_or(MOST_TRACKS - 1);
        if taken.len() <= track {
            taken.resize(track + 1, Vec::new());
        }
        taken[track].push(span);
        tracks[at] = track;
    }
    tracks
}

/// An order in which each comes after those before it, as far as they do not go round in circles.
fn in_turn(before: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(before.len());
    let mut seen = vec![false; before.len()];
    for start in 0..before.len() {
        let mut stack = vec![(start, 0)];
        while let Some((at, next)) = stack.pop() {
            if next == 0 && std::mem::replace(&mut seen[at], true) {
                continue;
            }
            match before[at].get(next) {
                Some(&other) => {
                    stack.push((at, next + 1));
                    if !seen[other] {
                        stack.push((other, 0));
                    }
                }
                None => order.push(at),
            }
        }
    }
    order
}
