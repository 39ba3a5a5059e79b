//! The dashboard as a reader of a run: what happens is taken in at once, and nothing waits in a queue.

use std::sync::Arc;

use flow_engine::{Reader, Record, Result};

use super::stage::Stage;

/// Hears a run until it is dropped.
pub struct Listener {
    stage: Arc<Stage>,
}

impl Listener {
    /// For this stage.
    pub fn new(stage: Arc<Stage>) -> Self {
        Self { stage }
    }
}

impl Reader for Listener {
    fn read(&mut self, record: &Record) -> Result<()> {
        self.stage.hear(record);
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stage.end();
    }
}
