//! Where the nodes of a plan stand on the screen: layers from left to right, with wires between them.
//!
//! This is Sugiyama's method (Sugiyama, Tagawa and Toda 1981): every node gets a layer, wires that pass a layer get a
//! lane in it, an order within each layer keeps wires from crossing, rows follow from the neighbours, and the rest of a
//! wire runs in the channel between two layers. It is done once for a plan, not for a frame.

mod columns;
mod groups;
mod place;
mod route;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use columns::Columns;
pub use groups::Group;

use super::node::Node;
use super::text::width;

/// With more nodes than this, groups are folded until they are unfolded.
const MOST_UNFOLDED: usize = 24;

/// How large nodes are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Zoom {
    /// One line.
    Line,
    /// A box around one line.
    Small,
    /// A box around two lines.
    Large,
}

impl Zoom {
    const ALL: [Self; 3] = [Self::Large, Self::Small, Self::Line];

    /// The next larger one.
    pub fn larger(self) -> Option<Self> {
        match self {
            Self::Line => Some(Self::Small),
            Self::Small => Some(Self::Large),
            Self::Large => None,
        }
    }

    /// The next smaller one.
    pub fn smaller(self) -> Option<Self> {
        match self {
            Self::Line => None,
            Self::Small => Some(Self::Line),
            Self::Large => Some(Self::Small),
        }
    }

    /// Rows of a node.
    pub fn rows(self) -> i32 {
        match self {
            Self::Line => 1,
            Self::Small => 3,
            Self::Large => 4,
        }
    }

    /// The row of a node that its wires are on.
    pub fn port(self) -> i32 {
        i32::from(self != Self::Line)
    }

    /// Columns of a node beside its name.
    fn frame(self) -> i32 {
        match self {
            Self::Line => 8,
            Self::Small | Self::Large => 4,
        }
    }
}

/// What stands in one place of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// The node at a position of the plan.
    Node(usize),
    /// A folded group, by its position among the groups.
    Group(usize),
}

/// Something in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// What it is.
    pub unit: Unit,
    /// The layer that it is in.
    pub layer: usize,
    /// Its first column.
    pub x: i32,
    /// Its first row.
    pub y: i32,
    /// Its columns.
    pub width: i32,
}

/// A wire from one layer to the next.
#[derive(Debug, Clone)]
pub struct Wire {
    /// Its corners.
    pub points: [(i32, i32); 4],
    /// Whether it ends at something that stands there, and not in a lane.
    pub has_arrow: bool,
    /// What it joins: positions of spots, from and to.
    pub joins: Vec<(usize, usize)>,
}

/// A plan as it is drawn.
#[derive(Debug, Clone)]
pub struct Map {
    /// Everything that stands on it, by layers and then by rows.
    pub spots: Vec<Spot>,
    /// What joins it.
    pub wires: Vec<Wire>,
    /// Groups of like nodes, folded or not.
    pub groups: Vec<Group>,
    /// Columns and rows that it takes.
    pub size: (i32, i32),
    /// How large nodes are drawn.
    pub zoom: Zoom,
    /// Per node, the position of its spot, or of its group's.
    spot_of: Vec<usize>,
    /// Per node, the group that it belongs to.
    group_of: Vec<Option<usize>>,
}

impl Default for Map {
    fn default() -> Self {
        Self::new(&[], &HashSet::new(), None, (0, 0))
    }
}

impl Map {
    /// Lays out some nodes; groups are folded unless there are few nodes, except those that were `turned`. Without a
    /// zoom, it is as large as there is room.
    pub fn new(nodes: &[Node], turned: &HashSet<Arc<str>>, zoom: Option<Zoom>, room: (u16, u16)) -> Self {
        let layers = columns::layers(nodes);
        let groups = groups::of(nodes, &layers);
        let are_folded = nodes.len() > MOST_UNFOLDED;
        let is_folded = |group: &Group| are_folded != turned.contains(&group.name);
        let mut group_of = vec![None; nodes.len()];
        for (at, group) in groups.iter().enumerate() {
            group.members.iter().for_each(|&member| group_of[member] = Some(at));
        }
        let unit_of = |node: usize| match group_of[node].filter(|&group| is_folded(&groups[group])) {
            Some(group) => Unit::Group(group),
            None => Unit::Node(node),
        };
        let edges: BTreeSet<(usize, usize)> = nodes
            .iter()
            .enumerate()
            .flat_map(|(at, node)| node.inputs.iter().map(move |&input| (input, at)))
            .collect();
        let units: Vec<Unit> = (0..nodes.len()).map(unit_of).collect();
        let columns = Columns::new(&units, &layers, &edges);
        let names = |unit: Unit, zoom: Zoom| match unit {
            // The second line says how long it took as well.
            Unit::Node(at) if zoom == Zoom::Large => width(&nodes[at].name).max(nodes[at].kind.len() + 9),
            Unit::Node(at) => width(&nodes[at].name),
            Unit::Group(at) => width(&groups[at].label) + 6,
        };
        let room = (i32::from(room.0), i32::from(room.1));
        let drawn = columns.drawn(zoom, room, &names);
        let mut map = Self { groups, group_of, ..drawn };
        map.spot_of = units.iter().map(|unit| columns.position(*unit)).collect();
        map
    }

    /// The position of a node's spot, or of its group's.
    pub fn spot_of(&self, node: usize) -> Option<usize> {
        self.spot_of.get(node).copied()
    }

    /// The group that a node belongs to.
    pub fn group_of(&self, node: usize) -> Option<&Group> {
        self.group_of.get(node).copied().flatten().map(|at| &self.groups[at])
    }

    /// Where the map begins in a room that it is scrolled in: in the middle, if there is more room than map.
    pub fn origin(&self, scroll: (i32, i32), room: (u16, u16)) -> (i32, i32) {
        let begin = |scroll: i32, size: i32, room: u16| match i32::from(room) - size {
            rest if rest > 0 => rest / 2,
            _ => -scroll,
        };
        (begin(scroll.0, self.size.0, room.0), begin(scroll.1, self.size.1, room.1))
    }

    /// The spot at a column and a row.
    pub fn at(&self, x: i32, y: i32) -> Option<usize> {
        let rows = self.zoom.rows();
        self.spots.iter().position(|spot| {
            (spot.x..spot.x + spot.width).contains(&x) && (spot.y..spot.y + rows).contains(&y)
        })
    }

    /// The nodes of a spot.
    pub fn members<'a>(&'a self, spot: &'a Spot) -> &'a [usize] {
        match &spot.unit {
            Unit::Node(at) => std::slice::from_ref(at),
            Unit::Group(at) => &self.groups[*at].members,
        }
    }
}

#[cfg(test)]
mod tests;
