//! How each view is looked at: where it is scrolled to, and what of it is shown.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::log::Level;
use super::map::Zoom;

/// How the graph is looked at.
#[derive(Debug, Clone, Default)]
pub struct GraphLook {
    /// The column and the row of the map in the upper left corner.
    pub scroll: (i32, i32),
    /// How large nodes are drawn; as there is room, if it is not set.
    pub zoom: Option<Zoom>,
    /// Groups that are folded where others are not, or the other way round.
    pub turned: HashSet<Arc<str>>,
    /// Whether what starts is selected.
    pub follows: bool,
}

/// How a node is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeLook {
    /// The first line that is shown.
    pub top: usize,
}

/// How curves are looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Curves {
    /// How often the steps that are shown were halved, from the beginning on.
    pub halvings: u32,
}

/// How pictures are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// All of them on a contact sheet.
    #[default]
    Sheet,
    /// One as large as it goes.
    Single,
    /// The two that are marked, side by side.
    Pair,
}

/// How pictures are looked at.
#[derive(Debug, Clone)]
pub struct PictureLook {
    /// Which one is selected.
    pub at: usize,
    /// How they are arranged.
    pub shape: Shape,
    /// How many columns a picture of the contact sheet takes; if it is not set, as many as lets all of them be seen.
    pub width: Option<u16>,
    /// Those that are marked, two at most.
    pub marks: Vec<PathBuf>,
    /// Whether the newest is selected.
    pub follows: bool,
}

impl Default for PictureLook {
    fn default() -> Self {
        Self { at: 0, shape: Shape::Sheet, width: None, marks: Vec::new(), follows: true }
    }
}

/// How logs are looked at.
#[derive(Debug, Clone, Copy)]
pub struct LogLook {
    /// From which level on lines are shown.
    pub level: Level,
    /// Which of them is selected.
    pub at: usize,
    /// How many columns of the texts are left out.
    pub shift: usize,
    /// Whether the newest is selected.
    pub follows: bool,
}

impl Default for LogLook {
    fn default() -> Self {
        Self { level: Level::Info, at: 0, shift: 0, follows: true }
    }
}

/// How problems are looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProblemLook {
    /// Which one is selected.
    pub at: usize,
    /// The first line of it that is shown.
    pub top: usize,
}
