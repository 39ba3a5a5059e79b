//! The node that keys act on.

use std::sync::Arc;

use super::map::Unit;
use super::node::Node;
use super::{Shape, State, View};

impl State {
    /// The node that is selected in the graph.
    pub fn selected(&self) -> Option<usize> {
        self.selected.as_deref().and_then(|name| self.run().find(name))
    }

    /// The spot that is selected on the map.
    pub fn selected_spot(&self) -> Option<usize> {
        self.selected().and_then(|at| self.map().spot_of(at))
    }

    /// The node that keys act on in this view.
    pub fn here(&self) -> Option<&Node> {
        let run = self.run();
        let named = |name: &Arc<str>| run.node(name);
        match self.view {
            View::Graph | View::Node | View::Resources => run.nodes.get(self.selected()?),
            View::Training => run.nodes.get(self.training()?),
            View::Pictures => named(&run.pictures.get(self.picture_at())?.node),
            View::Logs => named(self.log_line()?.node.as_ref()?),
            View::Problems => named(self.problem()?.node.as_ref()?),
        }
    }

    /// The training that is shown: the selected node if it is one, or else the one that runs, or the last.
    pub fn training(&self) -> Option<usize> {
        let run = self.run();
        let selected = self.selected().filter(|&at| run.nodes[at].trains());
        let running = || run.trainings().find(|(_, node)| node.phase == super::Phase::Running);
        selected.or_else(|| running().or_else(|| run.trainings().last()).map(|(at, _)| at))
    }

    /// The folded group that is selected, if it is one.
    pub fn selected_group(&self) -> Option<&super::map::Group> {
        match self.map().spots.get(self.selected_spot()?)?.unit {
            Unit::Group(at) => self.map().groups.get(at),
            Unit::Node(_) => None,
        }
    }

    /// Selects a node by its position, and brings it into sight.
    pub(super) fn select(&mut self, at: usize) {
        let name = self.run().nodes.get(at).map(|node| Arc::clone(&node.raw_name));
        if name.is_some() && name != self.selected {
            self.selected = name;
            self.node.top = 0;
        }
        self.bring_into_sight();
    }

    /// Selects what stands at a spot.
    pub(super) fn select_spot(&mut self, spot: usize) {
        let first = self.map().spots.get(spot).and_then(|spot| self.map().members(spot).first().copied());
        if let Some(at) = first {
            self.select(at);
        }
    }

    /// Selects what runs, or the first node, if what was selected is gone.
    pub(super) fn select_something(&mut self) {
        if self.selected().is_none() {
            self.selected = self.run().nodes.first().map(|node| Arc::clone(&node.raw_name));
        }
        self.bring_into_sight();
    }

    /// Selects what has started, where that is followed.
    pub(super) fn follow(&mut self) {
        if let Some(latest) = self.run().latest.filter(|_| self.graph.follows) {
            self.select(latest);
        }
    }

    /// Scrolls the map as far as is needed to see what is selected.
    pub(super) fn bring_into_sight(&mut self) {
        let area = self.map_area();
        let room = (i32::from(area.width), i32::from(area.height));
        let map = self.map();
        let (size, rows) = (map.size, map.zoom.rows());
        let spot = self.selected_spot().and_then(|at| map.spots.get(at)).copied();
        let (mut x, mut y) = self.graph.scroll;
        if let Some(spot) = spot {
            x = near(x, spot.x, spot.width, room.0, 4);
            y = near(y, spot.y, rows, room.1, 1);
        }
        self.graph.scroll = (within(x, size.0, room.0), within(y, size.1, room.1));
    }

    /// The log's line that is selected.
    pub fn log_line(&self) -> Option<&super::Line> {
        let needle = self.find.needle();
        match self.logs.follows {
            true => self.run().log.chosen(self.logs.level, needle).next_back(),
            false => self.run().log.chosen(self.logs.level, needle).nth(self.logs.at),
        }
    }

    /// The problems that are listed.
    pub fn listed_problems(&self) -> impl Iterator<Item = &super::Problem> {
        self.run().problems.iter().filter(|problem| problem.matches(self.find.needle()))
    }

    /// The problem that is selected.
    pub fn problem(&self) -> Option<&super::Problem> {
        let last = self.listed_problems().count().checked_sub(1)?;
        self.listed_problems().nth(self.problems.at.min(last))
    }

    /// The pictures that are shown as large as they go: the selected one, or the two that are marked.
    pub fn large_pictures(&self) -> Vec<&super::Picture> {
        let pictures = &self.run().pictures;
        match self.pictures.shape {
            Shape::Pair => {
                let marked = self.pictures.marks.iter();
                marked.filter_map(|mark| pictures.iter().find(|picture| picture.path == *mark)).collect()
            }
            _ => pictures.get(self.picture_at()).into_iter().collect(),
        }
    }

    /// The position of the picture that is selected.
    pub fn picture_at(&self) -> usize {
        let last = self.run().pictures.len().saturating_sub(1);
        if self.pictures.follows { last } else { self.pictures.at.min(last) }
    }
}

/// A scroll at which a stretch is seen with a margin, as near to the old one as that allows.
fn near(scroll: i32, first: i32, length: i32, room: i32, margin: i32) -> i32 {
    let (lowest, highest) = (first + length + margin - room, first - margin);
    if lowest > highest { highest } else { scroll.clamp(lowest, highest) }
}

/// A scroll that shows no more emptiness than there must be.
pub(super) fn within(scroll: i32, size: i32, room: i32) -> i32 {
    scroll.clamp(0, (size - room).max(0))
}
