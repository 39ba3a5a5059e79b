//! What is in which layer, and in which order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::node::Node;
use super::{Map, Spot, Unit, Zoom, place, route};

/// How often the order of the layers is improved.
const SWEEPS: usize = 8;

/// Per node, its layer: after all that it reads, and what reads nothing just before its first reader.
pub fn layers(nodes: &[Node]) -> Vec<usize> {
    let mut layers = vec![0; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        layers[at] = node.inputs.iter().map(|&input| layers[input] + 1).max().unwrap_or(0);
    }
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| node.inputs.is_empty()) {
        let first = node.outputs.iter().map(|&output| layers[output]).min();
        layers[at] = first.map_or(0, |first: usize| first.saturating_sub(1));
    }
    layers
}

/// What has a row of its own in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Something that stands there, by its position.
    Spot(usize),
    /// Where the wires of something pass: its position, and the layer.
    Lane(usize, usize),
}

/// What joins two slots, and the positions of the spots that it joins in the end.
type Stretches = BTreeMap<(Slot, Slot), Vec<(usize, usize)>>;

/// A stretch of a wire between neighbouring layers.
#[derive(Debug, Clone)]
pub struct Link {
    /// Where it comes from.
    pub from: Slot,
    /// Where it leads.
    pub to: Slot,
    /// What it joins: positions of spots.
    pub joins: Vec<(usize, usize)>,
}

/// The layers with everything in them.
pub struct Columns {
    units: Vec<(Unit, usize)>,
    positions: HashMap<Unit, usize>,
    /// Per layer, what is in it, from top to bottom.
    pub slots: Vec<Vec<Slot>>,
    /// Per layer but the last, what joins it to the next.
    pub links: Vec<Vec<Link>>,
}

impl Columns {
    /// Everything in its layer, in an order that keeps wires from crossing.
    pub fn new(unit_of: &[Unit], layers: &[usize], edges: &BTreeSet<(usize, usize)>) -> Self {
        let mut units: Vec<(Unit, usize)> = Vec::new();
        let mut positions = HashMap::new();
        for (&unit, &layer) in unit_of.iter().zip(layers) {
            positions.entry(unit).or_insert_with(|| {
                units.push((unit, layer));
                units.len() - 1
            });
        }
        let count = units.iter().map(|(_, layer)| layer + 1).max().unwrap_or(0);
        let mut slots = vec![Vec::new(); count];
        for (at, (_, layer)) in units.iter().enumerate() {
            slots[*layer].push(Slot::Spot(at));
        }
        let joined: BTreeSet<(usize, usize)> =
            edges.iter().map(|&(from, to)| (positions[&unit_of[from]], positions[&unit_of[to]])).collect();
        let mut columns = Self { units, positions, slots, links: Vec::new() };
        columns.links = columns.linked(&joined, count);
        columns.sort();
        columns
    }

    /// The stretches of all wires, by layers; lanes are added where a wire passes a layer.
    fn linked(&mut self, joined: &BTreeSet<(usize, usize)>, count: usize) -> Vec<Vec<Link>> {
        let mut links: Vec<Stretches> = vec![Stretches::new(); count.saturating_sub(1)];
        let mut lanes = BTreeSet::new();
        for &(from, to) in joined {
            let (first, last) = (self.units[from].1, self.units[to].1);
            let mut slot = Slot::Spot(from);
            for (layer, links) in links.iter_mut().enumerate().take(last).skip(first) {
                let next = if layer + 1 == last { Slot::Spot(to) } else { Slot::Lane(from, layer + 1) };
                links.entry((slot, next)).or_default().push((from, to));
                if let Slot::Lane(..) = next
                    && lanes.insert(next)
                {
                    self.slots[layer + 1].push(next);
                }
                slot = next;
            }
        }
        let link = |((from, to), joins)| Link { from, to, joins };
        links.into_iter().map(|links| links.into_iter().map(link).collect()).collect()
    }

    /// Orders each layer by the middle of what it is joined to, back and forth.
    fn sort(&mut self) {
        for sweep in 0..SWEEPS {
            let is_forward = sweep % 2 == 0;
            let count = self.slots.len();
            for step in 1..count {
                let layer = if is_forward { step } else { count - 1 - step };
                self.sort_layer(layer, is_forward);
            }
        }
    }

    fn sort_layer(&mut self, layer: usize, by_sources: bool) {
        let (other, links) = match by_sources {
            true => (&self.slots[layer - 1], &self.links[layer - 1]),
            false => (&self.slots[layer + 1], &self.links[layer]),
        };
        let rows: HashMap<Slot, usize> = other.iter().enumerate().map(|(row, slot)| (*slot, row)).collect();
        let mut sums: HashMap<Slot, (f64, f64)> = HashMap::new();
        for link in links {
            let (mine, theirs) = if by_sources { (link.to, link.from) } else { (link.from, link.to) };
            let sum = sums.entry(mine).or_default();
            *sum = (sum.0 + rows[&theirs] as f64, sum.1 + 1.0);
        }
        let scale = other.len() as f64 / self.slots[layer].len().max(1) as f64;
        let mut keyed: Vec<(f64, Slot)> = self.slots[layer]
            .iter()
            .enumerate()
            .map(|(row, slot)| {
                let own = (row as f64 + 0.5) * scale - 0.5;
                (sums.get(slot).map_or(own, |(sum, count)| sum / count), *slot)
            })
            .collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.slots[layer] = keyed.into_iter().map(|(_, slot)| slot).collect();
    }

    /// The position that something has among the spots.
    pub fn position(&self, unit: Unit) -> usize {
        self.positions.get(&unit).copied().unwrap_or(0)
    }

    /// The map, as large as is asked for or as there is room; still without groups.
    pub fn drawn(&self, zoom: Option<Zoom>, room: (i32, i32), name: &dyn Fn(Unit, Zoom) -> usize) -> Map {
        let drawn = |zoom| self.drawn_at(zoom, room, name);
        if let Some(zoom) = zoom {
            return drawn(zoom);
        }
        let fits = |map: &Map| map.size.0 <= room.0 && map.size.1 <= room.1;
        let maps: Vec<Map> = Zoom::ALL.into_iter().map(drawn).collect();
        let best = maps.iter().position(fits).or(maps.iter().position(|map| map.size.1 <= room.1));
        maps.into_iter().nth(best.unwrap_or(Zoom::ALL.len() - 1)).unwrap_or_else(|| drawn(Zoom::Line))
    }

    fn drawn_at(&self, zoom: Zoom, room: (i32, i32), name: &dyn Fn(Unit, Zoom) -> usize) -> Map {
        let rows = place::rows(self, zoom);
        let channels: Vec<route::Channel> = (0..self.links.len())
            .map(|layer| route::Channel::new(&self.links[layer], |slot| rows[&slot] + self.port(slot, zoom)))
            .collect();
        let widths =
            self.widths(zoom, room.0 - channels.iter().map(route::Channel::width).sum::<i32>(), name);
        let mut x = 0;
        let mut map = Map {
            spots: vec![Spot { unit: Unit::Node(0), layer: 0, x: 0, y: 0, width: 0 }; self.units.len()],
            wires: Vec::new(),
            groups: Vec::new(),
            size: (0, 0),
            zoom,
            spot_of: Vec::new(),
            group_of: Vec::new(),
        };
        for (layer, slots) in self.slots.iter().enumerate() {
            let width = widths[layer];
            for slot in slots {
                let Slot::Spot(at) = *slot else { continue };
                map.spots[at] = Spot { unit: self.units[at].0, layer, x, y: rows[slot], width };
            }
            x += width;
            if let Some(channel) = channels.get(layer) {
                map.wires.extend(channel.wires(&self.links[layer], x, widths[layer + 1]));
                x += channel.width();
            }
        }
        map.size = (x, rows.iter().map(|(slot, row)| row + self.height(*slot, zoom)).max().unwrap_or(0));
        map
    }

    /// Columns of each layer: as the names need, or less if there is no room for that.
    fn widths(&self, zoom: Zoom, room: i32, name: &dyn Fn(Unit, Zoom) -> usize) -> Vec<i32> {
        const WIDEST: i32 = 34;
        const NARROWEST: i32 = 12;
        /// Where there is no room at all, this is wide enough to be read.
        const SCROLLED: i32 = 22;
        let mut widths = vec![NARROWEST; self.slots.len()];
        for (unit, layer) in &self.units {
            let wanted = i32::try_from(name(*unit, zoom)).unwrap_or(WIDEST).saturating_add(zoom.frame());
            widths[*layer] = widths[*layer].max(wanted.min(WIDEST));
        }
        let capped = |cap: i32| widths.iter().map(move |width| (*width).min(cap));
        let cap = (NARROWEST..=WIDEST).rev().find(|&cap| capped(cap).sum::<i32>() <= room);
        capped(cap.unwrap_or(SCROLLED)).collect()
    }

    /// Rows of a slot.
    pub fn height(&self, slot: Slot, zoom: Zoom) -> i32 {
        if let Slot::Spot(_) = slot { zoom.rows() } else { 1 }
    }

    /// The row of a slot that its wires are on.
    pub fn port(&self, slot: Slot, zoom: Zoom) -> i32 {
        if let Slot::Spot(_) = slot { zoom.port() } else { 0 }
    }
}
