//! What is where on the screen: for those who draw it, and for those who find what was clicked.

use std::cmp::Reverse;
use std::ops::Range;

use ratatui::layout::Rect;

use super::text::width;
use super::{Overlay, State, View};

/// The fewest columns that a screen is drawn in.
pub const FEWEST_COLUMNS: u16 = 40;
/// The fewest rows that a screen is drawn in.
pub const FEWEST_ROWS: u16 = 12;

/// A picture of fewer columns says nothing.
const SMALLEST: u16 = 14;

/// The parts of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// What runs, and how far it has come.
    pub header: Rect,
    /// The views.
    pub tabs: Rect,
    /// What must not be missed.
    pub banner: Option<Rect>,
    /// The view.
    pub body: Rect,
    /// The keys, or what there is to say.
    pub footer: Rect,
}

impl Screen {
    /// The parts of an area; none if it is too small.
    pub fn new(area: Rect, has_banner: bool) -> Option<Self> {
        if area.width < FEWEST_COLUMNS || area.height < FEWEST_ROWS {
            return None;
        }
        let row = |y: u16| Rect { x: area.x, y: area.y + y, width: area.width, height: 1 };
        let top = 2 + u16::from(has_banner);
        let body = Rect { y: area.y + top, height: area.height - top - 1, ..area };
        let banner = has_banner.then(|| row(2));
        Some(Self { header: row(0), tabs: row(1), banner, body, footer: row(area.height - 1) })
    }
}

impl State {
    /// The parts of the screen; none if it is too small.
    pub fn screen(&self, area: Rect) -> Option<Screen> {
        Screen::new(area, self.run().mistakes() > 0)
    }

    /// Where the view is.
    pub fn body(&self) -> Rect {
        let area = Rect { x: 0, y: 0, width: self.size.0, height: self.size.1 };
        self.screen(area).map_or(Rect::default(), |screen| screen.body)
    }

    /// Of the graph's view, where the map is: all but the line below it that tells of the selected node.
    pub fn map_area(&self) -> Rect {
        let body = self.body();
        Rect { height: body.height.saturating_sub(1), ..body }
    }

    /// How the contact sheet stands in the view.
    pub fn sheet(&self, body: Rect) -> Sheet {
        Sheet::new(body, self.run().pictures.len(), self.pictures.width)
    }

    /// The text of each tab and its columns. Where there is no room for all titles, the others are numbers.
    pub fn tabs(&self, columns: u16) -> Vec<(View, String, Range<u16>)> {
        let titles = |is_short: bool| View::ALL.map(|view| self.tab(view, is_short));
        let all = titles(false);
        let total: usize = all.iter().map(|title| width(title)).sum();
        let shown = if total <= usize::from(columns) { all } else { titles(true) };
        let mut x = 0;
        let tab = |(view, title): (View, String)| {
            let end = x + u16::try_from(width(&title)).unwrap_or(0);
            (view, title, std::mem::replace(&mut x, end)..end)
        };
        View::ALL.into_iter().zip(shown).map(tab).collect()
    }

    fn tab(&self, view: View, is_short: bool) -> String {
        let number = view as usize + 1;
        if is_short && view != self.view {
            return format!(" {number} ");
        }
        let count = match view {
            View::Pictures => self.run().pictures.len(),
            View::Problems => self.run().problems.len(),
            _ => 0,
        };
        match count {
            0 => format!(" {number} {} ", view.title()),
            count => format!(" {number} {}·{count} ", view.title()),
        }
    }

    /// How many rows of the view are for a list, and so how far half a page is.
    pub fn page(&self) -> usize {
        let rows = usize::from(self.body().height);
        match (self.overlay, self.view) {
            (Some(Overlay::Help(_) | Overlay::Diff(_)), _) => rows,
            (_, View::Logs) => rows.saturating_sub(1),
            (_, View::Problems) => usize::from(problem_rows(self.body(), self.run().problems.len())),
            _ => rows,
        }
        .max(1)
    }
}

/// How many rows problems are listed in; what the selected one says stands below.
pub fn problem_rows(body: Rect, count: usize) -> u16 {
    let wanted = u16::try_from(count).unwrap_or(u16::MAX);
    wanted.clamp(1, (body.height / 3).max(1))
}

/// The first line of a list that is shown, so that the selected one is, and stands in the middle if there is more on
/// both sides.
pub fn top(at: usize, count: usize, rows: usize) -> usize {
    at.saturating_sub(rows / 2).min(count.saturating_sub(rows))
}

/// How the pictures of a contact sheet stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sheet {
    /// How many stand beside each other.
    pub columns: usize,
    /// Columns of each.
    pub width: u16,
    /// Rows of each, with its label.
    pub height: u16,
}

impl Sheet {
    /// A sheet of so many pictures of a wanted width; if none is wanted, they are as large as lets all of them be seen.
    pub fn new(body: Rect, count: usize, wanted: Option<u16>) -> Self {
        let narrowest = |width: u16| (body.width / width).max(1);
        if let Some(width) = wanted {
            return Self::of(body, narrowest(width), 1);
        }
        let all = (1..=narrowest(SMALLEST)).map(|columns| {
            let rows = count.div_ceil(usize::from(columns)).max(1);
            Self::of(body, columns, u16::try_from(rows).unwrap_or(u16::MAX))
        });
        let best = all
            .filter(|sheet| sheet.side() >= SMALLEST)
            .max_by_key(|sheet| (sheet.side(), Reverse(sheet.columns)));
        best.unwrap_or_else(|| Self::of(body, narrowest(SMALLEST + 4), 1))
    }

    /// So many columns of pictures, with room for so many rows.
    fn of(body: Rect, columns: u16, rows: u16) -> Self {
        let width = body.width / columns;
        let height = (width / 2 + 2).min(body.height / rows).max(4);
        Self { columns: usize::from(columns), width, height: height.min(body.height.max(1)) }
    }

    /// Columns of the largest square picture.
    fn side(self) -> u16 {
        self.width.min(2 * self.height.saturating_sub(2))
    }
}
