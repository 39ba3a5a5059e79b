//! Whatever happens and whatever is pressed, the dashboard neither breaks nor draws outside its frame.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use flow_engine::{Digest, Event, PlannedNode, Record, Status};
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr as _;

use super::State;
use super::tests::planned;
use crate::dashboard::kit::{frame, machine};
use crate::dashboard::{Message, Scope};

/// Names that a graph may give and a screen must bear.
const NAMES: [&str; 8] = [
    "a",
    "base",
    "picture 1",
    "picture 2",
    "パンダの写真パンダの写真パンダの写真パンダの写真",
    "a\u{1b}[31m\u{202e}b\nc\td",
    "",
    "a very long name that goes on and on and on and on and on and on and on and on and on and on",
];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(&NAMES[..]).prop_map(str::to_owned)
}

fn digest() -> Digest {
    Digest::of(b"anything")
}

/// A plan in which every node reads some of those before it.
fn plan() -> impl Strategy<Value = Vec<PlannedNode>> {
    let node = (name(), prop::collection::vec(any::<prop::sample::Index>(), 0..3), 0..60_u32);
    prop::collection::vec(node, 0..40).prop_map(|nodes| {
        let mut plan: Vec<PlannedNode> = Vec::new();
        for (name, inputs, number) in nodes {
            let name = if number < 50 { format!("{name} {number}") } else { name };
            let read: Vec<String> = match plan.len() {
                0 => Vec::new(),
                count => inputs.iter().map(|input| plan[input.index(count)].node.clone()).collect(),
            };
            if plan.iter().all(|other| other.node != name) {
                let read: Vec<&str> = read.iter().map(String::as_str).collect();
                plan.push(planned(&name, "Kind", &read));
            }
        }
        plan
    })
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), 0.0..10.0, Just(f64::NAN), Just(f64::INFINITY), Just(0.0)]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => plan().prop_map(|nodes| Event::Plan { nodes }),
        2 => name().prop_map(|node| Event::NodeQueued { node }),
        3 => name().prop_map(|node| Event::NodeStarted { node, kind: "Kind".into(), key: None }),
        1 => name().prop_map(|node| Event::CacheHit { node, key: digest(), digest: digest() }),
        2 => (name(), any::<u64>(), any::<u64>(), name()).prop_map(|(node, done, total, unit)| {
            Event::Progress { node, done, total, unit }
        }),
        4 => (name(), number(), prop::option::of(0..100_u64)).prop_map(|(node, value, step)| {
            Event::Metric { node, name: "loss".into(), value, step, unit: String::new() }
        }),
        1 => (name(), name()).prop_map(|(node, path)| Event::Preview { node, label: path.clone(), path }),
        1 => (prop::option::of(name()), name()).prop_map(|(node, message)| {
            Event::Warning { node, hint: Some(message.clone()), message }
        }),
        1 => (name(), report()).prop_map(|(node, diagnostic)| Event::NodeFailed { node, diagnostic }),
        1 => (name(), name()).prop_map(|(node, because)| Event::NodeSkipped { node, because }),
        1 => (name(), number()).prop_map(|(node, seconds)| {
            Event::NodeFinished { node, digest: digest(), seconds, peak_bytes: Some(u64::MAX) }
        }),
        1 => (name(), name()).prop_map(|(node, what)| Event::Kept { node, what, bytes: 1 << 40, seconds: 1.0 }),
        1 => prop::collection::vec(report(), 0..3).prop_map(|diagnostics| Event::GraphRejected { diagnostics }),
        1 => (name(), name(), name()).prop_map(|(a, b, c)| Event::GraphReloaded {
            added: vec![a],
            changed: vec![b],
            removed: vec![c],
        }),
        1 => Just(Event::Paused),
        1 => number().prop_map(|seconds| {
            Event::RunFinished { status: Status::Partial, seconds, finished: 1, failed: 2, skipped: 3 }
        }),
    ]
}

fn report() -> impl Strategy<Value = flow_engine::DiagnosticReport> {
    (name(), prop::option::of(name()), 0..300_usize, 0..300_usize).prop_map(|(text, node, line, column)| {
        flow_engine::DiagnosticReport {
            severity: flow_engine::Severity::Error,
            message: text.clone(),
            causes: vec![text.clone()],
            node,
            file: Some("graphs/a.ron".into()),
            line: Some(line),
            column: Some(column),
            source: Some(text.clone()),
            hint: Some(text),
        }
    })
}

fn key() -> impl Strategy<Value = KeyEvent> {
    let letters = prop::sample::select("jkgGdunNfzxrRpsSeymhq?/ +-ol1234567ab".chars().collect::<Vec<_>>());
    let named = prop::sample::select(vec![
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Backspace,
        KeyCode::PageDown,
        KeyCode::F(1),
        KeyCode::Char('パ'),
    ]);
    let code = prop_oneof![5 => letters.prop_map(KeyCode::Char), 2 => named];
    let modifiers = prop_oneof![9 => Just(KeyModifiers::NONE), 1 => Just(KeyModifiers::CONTROL)];
    (code, modifiers).prop_map(|(code, modifiers)| KeyEvent::new(code, modifiers))
}

fn mouse() -> impl Strategy<Value = MouseEvent> {
    let kind = prop::sample::select(vec![
        MouseEventKind::Down(MouseButton::Left),
        MouseEventKind::ScrollDown,
        MouseEventKind::ScrollUp,
        MouseEventKind::ScrollRight,
        MouseEventKind::Moved,
    ]);
    (kind, 0..220_u16, 0..70_u16).prop_map(|(kind, column, row)| MouseEvent {
        kind,
        column,
        row,
        modifiers: KeyModifiers::NONE,
    })
}

fn size() -> impl Strategy<Value = (u16, u16)> {
    prop_oneof![(0..60_u16, 0..30_u16), (40..140_u16, 12..50_u16)]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        10 => (event(), 0.0..1e6).prop_map(|(event, t)| {
            Message::Record(Box::new(Record { schema: 1, seq: 0, t, event }))
        }),
        10 => key().prop_map(Message::Key),
        2 => mouse().prop_map(Message::Mouse),
        1 => size().prop_map(|(columns, rows)| Message::Resize(columns, rows)),
        1 => number().prop_map(Message::Now),
        1 => (0.0..1.0_f32).prop_map(machine),
        1 => name().prop_map(Message::Notice),
    ]
}

/// Draws a frame, and looks whether a terminal would keep every cell of it in its place.
fn draw(state: &State, size: (u16, u16)) -> Result<(), TestCaseError> {
    // What is drawn outside the screen panics.
    let buffer = frame(state, size);
    let columns = usize::from(size.0).max(1);
    for (at, cell) in buffer.content().iter().enumerate() {
        let (symbol, column) = (cell.symbol(), at % columns);
        prop_assert!(!symbol.chars().any(char::is_control), "{symbol:?} moves the cursor");
        prop_assert!(column + symbol.width() <= columns, "{symbol:?} reaches over the right edge");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_story_and_any_keys_can_be_drawn(
        nodes in plan(),
        first in size(),
        other in size(),
        messages in prop::collection::vec(message(), 0..80),
    ) {
        let mut state = State::new(Scope::Own, first);
        state.update(Message::Record(Box::new(Record { schema: 1, seq: 0, t: 0.0, event: Event::Plan { nodes } })));
        for (at, message) in messages.into_iter().enumerate() {
            state.update(message);
            if at % 4 == 0 {
                draw(&state, state.size)?;
            }
        }
        draw(&state, state.size)?;
        // The terminal may have another size than the state was told of.
        draw(&state, other)?;
    }
}
