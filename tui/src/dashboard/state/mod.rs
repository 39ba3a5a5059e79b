//! What the dashboard knows and shows: changed by messages, and by nothing else.

mod act;
mod find;
mod log;
mod look;
mod machine;
pub mod map;
mod mouse;
mod node;
mod problem;
mod progress;
mod record;
mod run;
pub mod screen;
mod select;
mod series;
mod steer;
mod step;
pub mod text;
mod wait;

use std::sync::Arc;

use super::message::{Effect, Message, Scope};
use super::view::Theme;
pub use act::CHOICES;
pub use find::Find;
pub use log::{Level, Line};
pub use look::{Curves, GraphLook, LogLook, NodeLook, PictureLook, ProblemLook, Shape};
pub use machine::Kept;
use map::Map;
pub use node::{Node, Phase};
pub use problem::{Origin, Problem};
pub use progress::Track;
pub use record::outcome;
pub use run::{Picture, Run};
pub use series::{Point, Series};

/// How long the status line says something, in seconds.
const NOTICE_SECONDS: f64 = 8.0;
/// How often a second something moves.
pub const BEATS_PER_SECOND: f64 = 8.0;

/// What fills the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// What runs, what waits, and what reads what.
    Graph,
    /// One node.
    Node,
    /// Curves.
    Training,
    /// Previews and results.
    Pictures,
    /// What happened.
    Logs,
    /// What went wrong, and where.
    Problems,
    /// How the machine is.
    Resources,
}

impl View {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Graph,
        Self::Node,
        Self::Training,
        Self::Pictures,
        Self::Logs,
        Self::Problems,
        Self::Resources,
    ];

    /// What it is called.
    pub fn title(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::Node => "node",
            Self::Training => "training",
            Self::Pictures => "pictures",
            Self::Logs => "logs",
            Self::Problems => "problems",
            Self::Resources => "resources",
        }
    }

    /// The one so many further on, round and round.
    pub fn shifted(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// What lies over a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// The keys, from a line on.
    Help(usize),
    /// What the last saved edit changed, from a line on.
    Diff(usize),
    /// How to leave; which of the choices is selected.
    Quit(usize),
}

/// How far the end has been asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stopping {
    /// Not at all.
    #[default]
    No,
    /// After the next checkpoint.
    AfterCheckpoint,
    /// At once.
    Now,
}

/// Everything that the dashboard knows.
pub struct State {
    /// What may be done to the run.
    pub scope: Scope,
    /// Columns and rows of the frame.
    pub size: (u16, u16),
    /// Which colours there are.
    pub theme: Theme,
    /// What fills the screen.
    pub view: View,
    /// What lies over it.
    pub overlay: Option<Overlay>,
    /// How the graph is looked at.
    pub graph: GraphLook,
    /// How a node is looked at.
    pub node: NodeLook,
    /// How curves are looked at.
    pub curves: Curves,
    /// How pictures are looked at.
    pub pictures: PictureLook,
    /// How logs are looked at.
    pub logs: LogLook,
    /// How problems are looked at.
    pub problems: ProblemLook,
    /// The first of the things kept in memory that is shown.
    pub kept_top: usize,
    /// What is searched for.
    pub find: Find,
    /// Whether clicks and the wheel are taken.
    pub has_mouse: bool,
    /// How far the end has been asked for.
    pub stopping: Stopping,
    /// The node that keys act on, by its name in the graph.
    selected: Option<Arc<str>>,
    notice: Option<(String, f64)>,
    live: Scene,
    held: Option<Box<Scene>>,
    generation: u64,
}

/// A run with the map of its graph.
#[derive(Clone, Default)]
struct Scene {
    run: Run,
    map: Map,
}

impl State {
    /// Nothing is known yet; the frame has so many columns and rows.
    pub fn new(scope: Scope, size: (u16, u16)) -> Self {
        Self {
            scope,
            size,
            theme: Theme::colour(),
            view: View::Graph,
            overlay: None,
            graph: GraphLook::default(),
            node: NodeLook::default(),
            curves: Curves::default(),
            pictures: PictureLook::default(),
            logs: LogLook::default(),
            problems: ProblemLook::default(),
            kept_top: 0,
            find: Find::default(),
            has_mouse: false,
            stopping: Stopping::No,
            selected: None,
            notice: None,
            live: Scene::default(),
            held: None,
            generation: 0,
        }
    }

    /// The same in other colours.
    #[must_use]
    pub fn themed(mut self, theme: Theme) -> Self {
        self.theme = theme;
        self
    }

    /// The run as it is shown: as it is, or as it was when the screen was held still.
    pub fn run(&self) -> &Run {
        self.held.as_deref().map_or(&self.live.run, |held| &held.run)
    }

    /// The map of the run as it is shown.
    pub fn map(&self) -> &Map {
        self.held.as_deref().map_or(&self.live.map, |held| &held.map)
    }

    /// Whether the screen is held still.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// A number that is another whenever something to be seen has changed: what was drawn under the same number need not
    /// be drawn again.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What the status line says, if anything.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_ref().map(|(text, _)| text.as_str())
    }

    /// How many times something that moves by itself has moved.
    pub fn beat(&self) -> usize {
        (self.run().now * BEATS_PER_SECOND) as usize
    }

    /// Takes in what has happened, and says what is to be done about it.
    pub fn update(&mut self, message: Message) -> Vec<Effect> {
        match message {
            Message::Record(record) => self.record(*record),
            Message::Now(now) => self.pass(now),
            Message::End => {
                self.live.run.is_at_end = true;
                self.generation += 1;
            }
            Message::Resize(columns, rows) => {
                self.size = (columns, rows);
                self.lay_out();
                self.generation += 1;
            }
            Message::Resources(resources) => {
                self.live.run.machine.measure(resources);
                self.generation += u64::from(self.view == View::Resources && !self.is_held());
            }
            Message::Notice(text) => self.say(text),
            Message::Key(key) => return self.key(key),
            Message::Mouse(event) => return self.mouse(event),
        }
        Vec::new()
    }

    fn record(&mut self, record: flow_engine::Record) {
        let (plans, latest) = (self.live.run.plans, self.live.run.latest);
        let is_edit = matches!(record.event, flow_engine::Event::GraphReloaded { .. });
        self.live.run.apply(record);
        if let Some(reload) = self.live.run.reload.as_ref().filter(|_| is_edit) {
            self.say(reload.summary());
        }
        if self.is_held() {
            return;
        }
        self.generation += 1;
        if self.live.run.plans != plans {
            self.graph.turned.clear();
            self.lay_out();
        } else if self.live.run.latest != latest {
            self.follow();
        }
    }

    fn pass(&mut self, now: f64) {
        let run = &mut self.live.run;
        let now = now.max(run.now);
        let before = std::mem::replace(&mut run.now, now);
        let beat = |now: f64, per_second: f64| (now * per_second) as u64;
        let beats = |per_second| beat(before, per_second) != beat(run.now, per_second);
        let moved = if run.moves() || self.stopping != Stopping::No {
            beats(BEATS_PER_SECOND)
        } else {
            !run.is_at_end && run.outcome.is_none() && beats(1.0)
        };
        let is_over = self.notice.take_if(|(_, until)| *until <= now).is_some();
        if is_over || (moved && !self.is_held()) {
            self.generation += 1;
        }
    }

    /// Says something in the status line.
    fn say(&mut self, text: impl Into<String>) {
        let text: String = text.into();
        self.notice = Some((text::harmless(&text).into_owned(), self.live.run.now + NOTICE_SECONDS));
        self.generation += 1;
    }

    /// Lays out the map anew, and keeps what is selected in sight.
    fn lay_out(&mut self) {
        let room = self.map_area();
        let room = (room.width, room.height);
        let scene = self.held.as_deref_mut().unwrap_or(&mut self.live);
        scene.map = Map::new(&scene.run.nodes, &self.graph.turned, self.graph.zoom, room);
        self.select_something();
    }
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
