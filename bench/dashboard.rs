//! The dashboard alone: what a frame takes, and how many events a second it takes in.
//!
//! A frame of 200 nodes must take less than 3 ms, and 100,000 events less than a second. What a whole run loses by it is
//! for `dashboard.sh`.

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use flow_engine::plan::State as Planned;
use flow_engine::{Event, PlannedNode, Record};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// The pure half of the program's own, which is no library.
#[path = "../tui/src/dashboard"]
#[expect(dead_code, unused_imports, reason = "the program uses the rest")]
mod dashboard {
    pub mod keys;
    #[cfg(test)]
    mod kit;
    pub mod message;
    pub mod state;
    pub mod view;

    pub use message::{Effect, Message, Pictures, Resources, Scope};
}

use dashboard::state::State;
use dashboard::{Message, Pictures, Scope, view};

const NODES: usize = 200;
const EVENTS: u64 = 100_000;
const SIZE: (u16, u16) = (200, 60);

/// Paints nothing.
struct Blank;

impl Pictures for Blank {
    fn paint(&mut self, _: &Path, _: Rect, _: &mut Buffer) {}
}

/// A model, pictures of it in chains of two, and a sheet of them all.
fn plan() -> Vec<PlannedNode> {
    let planned = |node: String, kind: &str, inputs: Vec<String>| PlannedNode {
        node,
        kind: kind.into(),
        inputs,
        key: None,
        state: Planned::Run,
        why: String::new(),
        expected: None,
        read_bytes: 0,
        peak_bytes: None,
        written: None,
    };
    let chains = (NODES - 2) / 2;
    let mut nodes = vec![planned("base".into(), "LoadSDXL", Vec::new())];
    for at in 0..chains {
        nodes.push(planned(format!("adapter {at}"), "ApplyPaRa", vec!["base".into()]));
        nodes.push(planned(format!("picture {at}"), "DDIMSample", vec![format!("adapter {at}")]));
    }
    let pictures = (0..chains).map(|at| format!("picture {at}")).collect();
    nodes.push(planned("sheet".into(), "Grid", pictures));
    nodes
}

fn record(seq: u64, event: Event) -> Message {
    Message::Record(Box::new(Record { schema: 1, seq, t: seq as f64 * 1e-5, event }))
}

/// A run in which everything is under way.
fn running() -> State {
    let mut state = State::new(Scope::Own, SIZE);
    let nodes = plan();
    let names: Vec<String> = nodes.iter().map(|node| node.node.clone()).collect();
    state.update(record(0, Event::Plan { nodes }));
    for node in names {
        state.update(record(1, Event::NodeStarted { node, kind: "Kind".into(), key: None }));
    }
    state
}

fn story() -> Vec<Message> {
    let event = |at: u64| match at % 4 {
        0 => Event::Progress { node: "picture 3".into(), done: at, total: EVENTS, unit: "step".into() },
        1 => Event::Warning { node: Some("picture 4".into()), message: format!("event {at}"), hint: None },
        at_loss => Event::Metric {
            node: "picture 5".into(),
            name: if at_loss == 2 { "loss" } else { "learning rate" }.into(),
            value: at as f64,
            step: Some(at),
            unit: String::new(),
        },
    };
    (0..EVENTS).map(|at| record(at, event(at))).collect()
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a frame of 200 nodes at 200x60");
    for (name, key) in [("graph", '1'), ("node", '2'), ("logs", '5')] {
        let mut state = running();
        state.update(Message::Key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE)));
        let mut terminal = Terminal::new(TestBackend::new(SIZE.0, SIZE.1)).unwrap();
        let mut now = 1.0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                now += 0.05;
                state.update(Message::Now(now));
                terminal.draw(|frame| view::draw(&state, &mut Blank, frame)).map(drop).unwrap();
            });
        });
    }
    group.finish();
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("events");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(20);
    group.bench_function("100,000 of a training", |bencher| {
        let prepare = || (running(), story());
        bencher.iter_batched(
            prepare,
            |(mut state, story)| {
                story.into_iter().for_each(|message| drop(black_box(state.update(message))));
                state
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
    criterion.bench_function("a plan of 200 nodes, laid out", |bencher| bencher.iter(running));
}

criterion_group!(benches, frames, events);
criterion_main!(benches);
