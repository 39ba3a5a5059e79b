//! Nodes that take their time, and runs that a test steers meanwhile.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Number, ready};
use crate::*;

/// Longer than any machine takes, so that a test which waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Wait for ever, or not at all.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    /// 0 ends at once, all else never.
    pub until: u32,
}

impl Node for Wait {
    const KIND: &'static str = "Wait";
    type Output = Number;

    fn run(&self, cx: &Cx<'_>) -> Result<Number> {
        if self.until == 0 {
            return Ok(Number(0.0));
        }
        loop {
            cx.stop_if_asked()?;
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// Count, one number in a millisecond.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    /// The last number.
    pub to: u32,
}

impl Node for Count {
    const KIND: &'static str = "Count";
    type Output = Number;

    fn run(&self, cx: &Cx<'_>) -> Result<Number> {
        for number in 0..self.to {
            cx.progress(number as usize, self.to as usize, "number")?;
            for wish in cx.wishes() {
                match wish {
                    Wish::Checkpoint => cx.checkpoint(Path::new("wish"), number.into()),
                    Wish::Sample => cx.preview(Path::new("wish"), &number.to_string()),
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Number(self.to.into()))
    }
}

/// A run as it is told, while it goes on.
pub(crate) struct Heard {
    pub control: Control,
    pub stop: Stop,
    pub events: Receiver<Record>,
    pub seen: Vec<Event>,
}

impl Heard {
    /// Waits for an event.
    pub(crate) fn until(&mut self, is_it: impl Fn(&Event) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Record { event, .. }) => {
                    let is_found = is_it(&event);
                    self.seen.push(event);
                    if is_found {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("it never came; seen: {:?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("the run ended; seen: {:?}", self.seen),
            }
        }
    }

    pub(crate) fn until_counting(&mut self, name: &str) {
        self.until(|event| matches!(event, Event::Progress { node, done: 1.., .. } if node == name));
    }

    /// All that is told in a while.
    pub(crate) fn in_the_next(&mut self, while_: Duration) -> Vec<Event> {
        thread::sleep(while_);
        self.events.try_iter().map(|record| record.event).collect()
    }
}

/// Asks to stop also where a test fails, which would wait for the run for ever.
struct AskAtEnd(Stop);

impl Drop for AskAtEnd {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// Runs a graph that a test steers, to its end: a test stops what counts for ever. The outcome, and all that was told.
pub(crate) fn steered(
    session: &Session,
    nodes: &str,
    options: Options,
    test: impl FnOnce(&mut Heard),
) -> (Outcome, Vec<Event>) {
    let ready = ready(session, nodes, Wanted::default());
    let (events, receiver) = Events::channel();
    let mut heard =
        Heard { control: Control::default(), stop: Stop::default(), events: receiver, seen: Vec::new() };
    let (control, stop) = (heard.control.clone(), heard.stop.clone());
    thread::scope(|scope| {
        let ready = &ready;
        let running =
            scope.spawn(move || Run { events, control, stop, options, ..Run::new(ready, session) }.execute());
        let ending = AskAtEnd(heard.stop.clone());
        test(&mut heard);
        // A test that came to its end leaves the run alone.
        std::mem::forget(ending);
        let outcome = running.join().unwrap();
        let Heard { events, mut seen, .. } = heard;
        seen.extend(events.into_iter().map(|record| record.event));
        (outcome, seen)
    })
}
