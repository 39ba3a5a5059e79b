//! Going up and down, in each view in its own way.

use super::map::Spot;
use super::{Shape, State, View};
use crate::dashboard::keys::Action;

impl State {
    /// Goes where a key asks to; whether it was one of those.
    pub(super) fn step(&mut self, action: Action) -> bool {
        let half = (self.page() / 2).max(1) as isize;
        match action {
            Action::Down => self.moved(1),
            Action::Up => self.moved(-1),
            Action::HalfDown => self.moved(half),
            Action::HalfUp => self.moved(-half),
            Action::First => self.moved(isize::MIN),
            Action::Last => self.moved(isize::MAX),
            Action::Left => self.aside(-1),
            Action::Right => self.aside(1),
            _ => return false,
        }
        true
    }

    /// Goes down so many lines, or up.
    pub(super) fn moved(&mut self, by: isize) {
        match self.view {
            View::Problems if by.unsigned_abs() > 1 && !matches!(by, isize::MIN | isize::MAX) => {
                let last = crate::dashboard::view::problem_lines(self);
                self.problems.top = self.problems.top.saturating_add_signed(by).min(last);
            }
            View::Graph => self.graph_moved(by),
            View::Node => self.node_moved(by),
            View::Training => self.say("nothing to go up or down here: ← → choose another training"),
            View::Pictures => self.picture_moved(by),
            View::Logs => self.log_moved(by),
            View::Problems => self.problem_moved(by),
            View::Resources => {
                let last = self.run().machine.kept.len().saturating_sub(1);
                self.kept_top = self.kept_top.saturating_add_signed(by).min(last);
            }
        }
    }

    fn graph_moved(&mut self, by: isize) {
        self.graph.follows = false;
        let Some(from) = self.selected_spot() else { return self.say("the graph has no nodes") };
        let map = self.map();
        let layer = map.spots[from].layer;
        let mut order: Vec<usize> = (0..map.spots.len()).collect();
        order.sort_by_key(|&at| (map.spots[at].layer, map.spots[at].y));
        let is_far = matches!(by, isize::MIN | isize::MAX);
        if !is_far {
            order.retain(|&at| map.spots[at].layer == layer);
        }
        let at = order.iter().position(|&at| at == from).unwrap_or(0);
        let to = at.saturating_add_signed(by).min(order.len().saturating_sub(1));
        if to == at && !is_far {
            self.bring_into_sight();
            return self.say("nothing more in this layer: ← → go to the others");
        }
        self.select_spot(order[to]);
    }

    /// Goes to the layer before or after, and there to what is joined to the selected node, or else to what is nearest.
    fn graph_aside(&mut self, by: isize) {
        self.graph.follows = false;
        let Some(from) = self.selected_spot() else { return self.say("the graph has no nodes") };
        let map = self.map();
        let spot = map.spots[from];
        let joined = |at: usize| {
            let pair = if by > 0 { (from, at) } else { (at, from) };
            map.wires.iter().any(|wire| wire.joins.contains(&pair))
        };
        let is_aside =
            |other: &Spot| if by > 0 { other.layer > spot.layer } else { other.layer < spot.layer };
        let candidates = (0..map.spots.len()).filter(|&at| is_aside(&map.spots[at]));
        let found = candidates.min_by_key(|&at| {
            let other = map.spots[at];
            (!joined(at), other.layer.abs_diff(spot.layer), other.y.abs_diff(spot.y))
        });
        match found {
            Some(found) => self.select_spot(found),
            None if by > 0 => self.say("this is the last layer"),
            None => self.say("this is the first layer"),
        }
    }

    fn node_moved(&mut self, by: isize) {
        let lines = crate::dashboard::view::node_lines(self);
        let last = lines.saturating_sub(self.page());
        self.node.top = self.node.top.saturating_add_signed(by).min(last);
    }

    fn picture_moved(&mut self, by: isize) {
        let columns = self.sheet(self.body()).columns;
        match self.pictures.shape {
            Shape::Sheet => self.picture_aside(by.saturating_mul(columns as isize)),
            _ => self.picture_aside(by),
        }
    }

    fn picture_aside(&mut self, by: isize) {
        let Some(last) = self.run().pictures.len().checked_sub(1) else {
            return self.say("there are no pictures yet");
        };
        if self.pictures.shape == Shape::Pair {
            return self.say("these two are marked: Esc goes back to all");
        }
        self.pictures.at = self.picture_at().saturating_add_signed(by).min(last);
        self.pictures.follows = false;
    }

    pub(super) fn log_moved(&mut self, by: isize) {
        let count = self.run().log.chosen(self.logs.level, self.find.needle()).count();
        let last = count.saturating_sub(1);
        let from = if self.logs.follows { last } else { self.logs.at.min(last) };
        self.logs.at = from.saturating_add_signed(by).min(last);
        self.logs.follows = by == isize::MAX || (self.logs.follows && by > 0);
    }

    pub(super) fn problem_moved(&mut self, by: isize) {
        let last = self.listed_problems().count().saturating_sub(1);
        self.problems.at = self.problems.at.min(last).saturating_add_signed(by).min(last);
        self.problems.top = 0;
    }

    /// Goes to the left or to the right.
    fn aside(&mut self, by: isize) {
        match self.view {
            View::Graph => self.graph_aside(by),
            View::Node => self.node_aside(by),
            View::Training => self.training_aside(by),
            View::Pictures => self.picture_aside(by),
            View::Logs => self.logs.shift = self.logs.shift.saturating_add_signed(by * 8).min(2000),
            View::Problems | View::Resources => self.say("nothing to go to on that side"),
        }
    }

    fn node_aside(&mut self, by: isize) {
        let Some(last) = self.run().nodes.len().checked_sub(1) else {
            return self.say("the graph has no nodes");
        };
        self.graph.follows = false;
        let at = self.selected().unwrap_or(0).saturating_add_signed(by).min(last);
        self.select(at);
    }

    fn training_aside(&mut self, by: isize) {
        let trainings: Vec<usize> = self.run().trainings().map(|(at, _)| at).collect();
        let at = self.training().and_then(|shown| trainings.iter().position(|&at| at == shown));
        let to = at.map(|at| at.saturating_add_signed(by).min(trainings.len() - 1));
        match to {
            Some(to) if Some(to) != at => {
                self.graph.follows = false;
                self.select(trainings[to]);
            }
            Some(_) => self.say("there is no other training on that side"),
            None => self.say("nothing is trained"),
        }
    }
}
