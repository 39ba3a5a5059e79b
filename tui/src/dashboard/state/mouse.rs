//! Clicks and the wheel.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::screen::{problem_rows, top};
use super::select::within;
use super::{Overlay, Shape, State, View};
use crate::dashboard::message::Effect;

/// Lines that a notch of the wheel moves by.
const NOTCH: isize = 3;

impl State {
    pub(super) fn mouse(&mut self, event: MouseEvent) -> Vec<Effect> {
        match event.kind {
            MouseEventKind::Down(MouseButton::Left) => self.click(Position::new(event.column, event.row)),
            MouseEventKind::ScrollDown => self.wheel(0, NOTCH),
            MouseEventKind::ScrollUp => self.wheel(0, -NOTCH),
            MouseEventKind::ScrollLeft => self.wheel(-2 * NOTCH, 0),
            MouseEventKind::ScrollRight => self.wheel(2 * NOTCH, 0),
            _ => return Vec::new(),
        }
        self.generation += 1;
        Vec::new()
    }

    fn wheel(&mut self, columns: isize, rows: isize) {
        match (self.overlay, self.view) {
            (Some(Overlay::Help(at)), _) => {
                let last = crate::dashboard::view::help_lines(self).saturating_sub(self.page());
                self.overlay = Some(Overlay::Help(at.saturating_add_signed(rows).min(last)));
            }
            (Some(_), _) | (None, View::Training) => {}
            (None, View::Graph) => self.scroll_map(columns as i32, rows as i32),
            (None, View::Pictures) => self.moved(rows.signum()),
            (None, _) => self.moved(rows),
        }
    }

    fn scroll_map(&mut self, columns: i32, rows: i32) {
        let area = self.map_area();
        let size = self.map().size;
        let (x, y) = self.graph.scroll;
        self.graph.follows = false;
        self.graph.scroll = (
            within(x + columns, size.0, i32::from(area.width)),
            within(y + rows, size.1, i32::from(area.height)),
        );
    }

    fn click(&mut self, at: Position) {
        if self.overlay.take().is_some() {
            return;
        }
        let area = Rect { x: 0, y: 0, width: self.size.0, height: self.size.1 };
        let Some(screen) = self.screen(area) else { return };
        if screen.tabs.contains(at) {
            let tabs = self.tabs(area.width);
            let tab = tabs.into_iter().find(|(_, _, columns)| columns.contains(&at.x));
            if let Some((view, _, _)) = tab {
                self.view = view;
            }
        } else if screen.banner.is_some_and(|banner| banner.contains(at)) {
            self.view = View::Problems;
        } else if screen.body.contains(at) {
            self.click_body(screen.body, at);
        }
    }

    fn click_body(&mut self, body: Rect, at: Position) {
        let row = usize::from(at.y - body.y);
        match self.view {
            View::Graph => self.click_map(i32::from(at.x - body.x), i32::from(at.y - body.y)),
            View::Pictures if self.pictures.shape == Shape::Sheet => self.click_sheet(body, at),
            View::Pictures => self.pictures.shape = Shape::Sheet,
            View::Logs if row > 0 => self.click_log(row - 1),
            View::Problems => {
                let count = self.listed_problems().count();
                let rows = usize::from(problem_rows(body, self.run().problems.len()));
                let clicked = top(self.problems.at, count, rows) + row;
                if row < rows && clicked < count {
                    (self.problems.at, self.problems.top) = (clicked, 0);
                }
            }
            _ => {}
        }
    }

    fn click_map(&mut self, x: i32, y: i32) {
        let area = self.map_area();
        let origin = self.map().origin(self.graph.scroll, (area.width, area.height));
        let found = match y < i32::from(area.height) {
            true => self.map().at(x - origin.0, y - origin.1),
            // The line below tells of what is selected.
            false => self.selected_spot(),
        };
        let Some(spot) = found else { return };
        self.graph.follows = false;
        match self.selected_spot() == Some(spot) {
            true => self.open(),
            false => self.select_spot(spot),
        }
    }

    fn click_sheet(&mut self, body: Rect, at: Position) {
        let super::screen::Sheet { columns, width, height } = self.sheet(body);
        let count = self.run().pictures.len();
        let rows = usize::from((body.height / height).max(1));
        let first = top(self.picture_at() / columns, count.div_ceil(columns), rows);
        let column = usize::from((at.x - body.x) / width).min(columns - 1);
        let clicked = (first + usize::from((at.y - body.y) / height)) * columns + column;
        if clicked >= count {
            return;
        }
        if clicked == self.picture_at() {
            return self.open();
        }
        (self.pictures.at, self.pictures.follows) = (clicked, false);
    }

    fn click_log(&mut self, row: usize) {
        let count = self.run().log.chosen(self.logs.level, self.find.needle()).count();
        let last = count.saturating_sub(1);
        let at = if self.logs.follows { last } else { self.logs.at.min(last) };
        let clicked = top(at, count, self.page()) + row;
        if clicked < count {
            (self.logs.at, self.logs.follows) = (clicked, false);
        }
    }
}
