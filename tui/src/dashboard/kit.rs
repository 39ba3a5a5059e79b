//! What tests share: recorded runs, keys by name, and screens as text.

use std::path::Path;

use crossterm::event::KeyEvent;
use flow_engine::Record;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::keys::by_name;
use super::message::Card;
use super::state::State;
use super::{Effect, Message, Pictures, Resources, Scope, view};

/// Recorded runs, by name.
const RECORDINGS: [(&str, &str); 6] = [
    ("empty", include_str!("recordings/empty.ndjson")),
    ("failed", include_str!("recordings/failed.ndjson")),
    ("rejected", include_str!("recordings/rejected.ndjson")),
    ("running", include_str!("recordings/running.ndjson")),
    ("sweep", include_str!("recordings/sweep.ndjson")),
    ("training", include_str!("recordings/training.ndjson")),
];

/// The events of a recorded run.
pub fn recorded(name: &str) -> Vec<Record> {
    let (_, text) = RECORDINGS.iter().find(|(other, _)| *other == name).expect("a recording of that name");
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

/// A state that has heard a recorded run to its end.
pub fn heard(name: &str, scope: Scope, size: (u16, u16)) -> State {
    let mut state = State::new(scope, size);
    for record in recorded(name) {
        tell(&mut state, Message::Record(Box::new(record)));
    }
    let now = state.run().now;
    tell(&mut state, Message::Now(now + 0.5));
    state
}

/// Tells the state something that asks for nothing.
pub fn tell(state: &mut State, message: Message) {
    assert_eq!(state.update(message), []);
}

/// Presses a key by its name: `j`, `Ctrl-d`, `Enter`.
pub fn press(state: &mut State, name: &str) -> Vec<Effect> {
    state.update(Message::Key(key(name)))
}

/// Presses keys that ask nothing of the world.
pub fn keys(state: &mut State, names: &str) {
    for name in names.split(' ') {
        assert_eq!(press(state, name), [], "{name} asks for something");
    }
}

/// A key by its name.
pub fn key(name: &str) -> KeyEvent {
    by_name(name).expect("a key of that name")
}

/// A machine with a card.
pub fn machine(busy: f32) -> Message {
    Message::Resources(Resources {
        processors: vec![busy, busy * 0.6],
        process: busy * 1.7,
        memory: 412 << 20,
        machine_memory: (8 << 30, 3 << 30),
        store: Some(1_234_567_890),
        disk_free: Some(87 << 30),
        cards: vec![Card {
            name: "RTX 4090".into(),
            busy: busy * 0.9,
            memory: (24 << 30, 21 << 30),
            temperature: 64,
        }],
    })
}

/// Paints a hatched area with the name of the file in it.
pub struct Hatched;

impl Pictures for Hatched {
    fn paint(&mut self, picture: &Path, area: Rect, buffer: &mut Buffer) {
        let name = picture.file_name().unwrap_or_default().to_string_lossy();
        for y in area.top()..area.bottom() {
            buffer.set_string(area.x, y, "░".repeat(area.width.into()), Style::new());
        }
        if !area.is_empty() {
            buffer.set_stringn(area.x, area.y + area.height / 2, name, area.width.into(), Style::new());
        }
    }
}

/// The frame that a state draws.
pub fn frame(state: &State, (columns, rows): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
    terminal.draw(|frame| view::draw(state, &mut Hatched, frame)).expect("a frame");
    terminal.backend().buffer().clone()
}

/// The same as text, without blanks at the ends of lines.
pub fn text(state: &State) -> String {
    let buffer = frame(state, state.size);
    let columns = usize::from(buffer.area.width).max(1);
    let rows = buffer.content().chunks(columns).map(|row| {
        let mut line = String::new();
        let mut skip = 0;
        for cell in row {
            if skip == 0 {
                line.push_str(cell.symbol());
                skip = super::state::text::width(cell.symbol()).max(1);
            }
            skip -= 1;
        }
        line.trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}
