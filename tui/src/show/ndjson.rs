//! Events as NDJSON: one JSON object per line, for programs that watch.
//!
//! Whoever follows is to see events soon, and a hundred thousand steps in a second are not to be as many calls of the
//! system: what tells how far something has come may wait a moment, over a stream that holds it back, and everything
//! else is handed on at once.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use flow_engine::{Event, Reader, Record, Result};

use super::out::unless_gone;

/// How long a line may wait while others come.
const SOON: Duration = Duration::from_millis(50);

/// Writes every record to a stream.
pub struct Ndjson<W> {
    name: String,
    out: W,
    /// When the stream was last flushed.
    flushed: Instant,
}

impl<W: Write> Ndjson<W> {
    /// Onto a stream that errors call by this name.
    pub fn new(name: impl Into<String>, out: W) -> Self {
        Self { name: name.into(), out, flushed: Instant::now() }
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        let line = serde_json::to_string(record)?;
        let written = writeln!(self.out, "{line}");
        unless_gone(written).with_context(|| self.describe())
    }

    fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        let flushed = self.out.flush();
        unless_gone(flushed).with_context(|| self.describe())
    }

    fn describe(&self) -> String {
        format!("cannot write events to {}", self.name)
    }
}

impl<W: Write + Send> Reader for Ndjson<W> {
    fn read(&mut self, record: &Record) -> Result<()> {
        self.write(record)?;
        let may_wait = matches!(record.event, Event::Progress { .. } | Event::Metric { .. });
        if may_wait && self.flushed.elapsed() < SOON {
            return Ok(());
        }
        self.flush()
    }

    fn rest(&mut self) -> Result<()> {
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufWriter, Result};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Notes how many lines it is given at once.
    #[derive(Clone, Default)]
    struct Noting(Arc<Mutex<Vec<usize>>>);

    impl Write for Noting {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.lock().unwrap().push(bytes.iter().filter(|&&byte| byte == b'\n').count());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn record(event: Event) -> Record {
        Record { schema: 1, seq: 0, t: 0.0, event }
    }

    fn step() -> Record {
        record(Event::Progress { node: "a".into(), done: 1, total: 2, unit: "step".into() })
    }

    #[test]
    fn steps_wait_for_one_another_and_everything_else_is_handed_on_at_once() {
        let noting = Noting::default();
        let mut reader = Ndjson::new("notes", BufWriter::with_capacity(1 << 20, noting.clone()));
        for _ in 0..3 {
            reader.read(&step()).unwrap();
        }
        assert!(noting.0.lock().unwrap().is_empty());
        reader.read(&record(Event::Paused)).unwrap();
        reader.read(&record(Event::Resumed)).unwrap();
        assert_eq!(*noting.0.lock().unwrap(), [4, 1]);
        reader.read(&step()).unwrap();
        reader.rest().unwrap();
        assert_eq!(*noting.0.lock().unwrap(), [4, 1, 1]);
    }

    #[test]
    fn no_step_waits_long_while_others_come() {
        let noting = Noting::default();
        let mut reader = Ndjson::new("notes", BufWriter::with_capacity(1 << 20, noting.clone()));
        std::thread::sleep(2 * SOON);
        reader.read(&step()).unwrap();
        assert_eq!(*noting.0.lock().unwrap(), [1]);
    }
}
