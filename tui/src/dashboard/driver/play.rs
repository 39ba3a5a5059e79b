//! Runs that are told from their folder: recorded ones at their pace, and another process's as it goes on.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use flow_engine::{Reader as _, Record, Result, Stop, runs};

use super::Dashboard;
use super::listener::Listener;
use super::stage::Stage;
use crate::dashboard::Message;

/// How often the clock of a recorded run goes on, and how soon a key ends it.
const BEAT: Duration = Duration::from_millis(100);

/// Shows a recorded run: all of it at once, or so many times as fast as it was.
///
/// # Errors
/// A folder without events.
pub fn replay(dashboard: &Dashboard, run: &Path, speed: Option<f64>, stop: &Stop) -> Result<()> {
    let records = runs::records(run)?;
    let mut listener = Listener::new(dashboard.stage.clone());
    let mut clock = speed.map(Clock::new);
    for record in records {
        if let Some(clock) = &mut clock {
            clock.wait_for(&record, &dashboard.stage, stop);
        }
        if stop.asked() {
            break;
        }
        listener.read(&record)?;
    }
    Ok(())
}

/// Shows a run as another process makes it, until that is over or somebody leaves.
///
/// # Errors
/// Events that cannot be read.
pub fn follow(dashboard: &Dashboard, run: &Path, stop: &Stop) -> Result<()> {
    let mut follow = runs::follow(run);
    let mut listener = Listener::new(dashboard.stage.clone());
    while !stop.asked() {
        let batch = follow.next_batch()?;
        if batch.begins_anew {
            dashboard.stage.begin_anew();
        }
        batch.records.iter().try_for_each(|record| listener.read(record))?;
        if batch.is_over {
            break;
        }
        if batch.records.is_empty() {
            thread::sleep(BEAT);
        }
    }
    Ok(())
}

/// The time of a recorded run.
struct Clock {
    speed: f64,
    began: Instant,
}

impl Clock {
    fn new(speed: f64) -> Self {
        Self { speed, began: Instant::now() }
    }

    /// Waits until it is time for a record.
    fn wait_for(&mut self, record: &Record, stage: &Stage, stop: &Stop) {
        while !stop.asked() {
            let now = self.began.elapsed().as_secs_f64() * self.speed;
            if now >= record.t {
                return;
            }
            stage.tell(Message::Now(now));
            let left = Duration::try_from_secs_f64((record.t - now) / self.speed).unwrap_or(BEAT);
            thread::sleep(left.min(BEAT));
        }
    }
}
