//! Events as NDJSON: one JSON object per line, flushed at each, for programs that watch.

use std::io::Write;

use anyhow::Context as _;
use flow_engine::{Reader, Record, Result};

use super::out::unless_gone;

/// Writes every record to a stream.
pub struct Ndjson<W> {
    name: String,
    out: W,
}

impl<W: Write> Ndjson<W> {
    /// Onto a stream that errors call by this name.
    pub fn new(name: impl Into<String>, out: W) -> Self {
        Self { name: name.into(), out }
    }
}

impl<W: Write + Send> Reader for Ndjson<W> {
    fn read(&mut self, record: &Record) -> Result<()> {
        let line = serde_json::to_string(record)?;
        let written = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        unless_gone(written).with_context(|| format!("cannot write events to {}", self.name))
    }
}
