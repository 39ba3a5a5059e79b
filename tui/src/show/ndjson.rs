//! Events as NDJSON: one JSON object per line, flushed at each, for programs that watch.

use std::io::Write;

use flow_engine::{Reader, Record};

/// Writes every record to a stream.
pub struct Ndjson<W> {
    out: W,
}

impl<W: Write> Ndjson<W> {
    /// Onto this stream.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write + Send> Reader for Ndjson<W> {
    fn read(&mut self, record: &Record) {
        // A stream that was closed has read enough; the run goes on.
        if let Ok(line) = serde_json::to_string(record) {
            let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        }
    }
}
