//! Asking on a terminal whether a saved edit may stop what runs.

use std::io::{IsTerminal as _, stderr, stdin};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use flow_engine::{Change, Stop};

use super::out::{harmless, tell};

/// Whether there is somebody to ask.
pub fn is_possible() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Whether an edit may take effect; asked only if something that runs would stop.
///
/// The question ends as well when the run is asked to stop.
pub fn about(change: &Change, stop: &Stop) -> bool {
    if change.stopped.is_empty() {
        return true;
    }
    let names: Vec<_> = change.stopped.iter().map(|name| harmless(name)).collect();
    tell(&format!(
        "\nthe edit would stop {}, and what they have done is lost. Apply it? [y/N]",
        names.join(", ")
    ));
    let (answered, answer) = channel();
    // Reading cannot be interrupted; a thread that still reads at the end ends with the program.
    thread::spawn(move || {
        let mut answer = String::new();
        let is_read = stdin().read_line(&mut answer).is_ok();
        let _ = answered.send(is_read && matches!(answer.trim(), "y" | "Y" | "yes"));
    });
    loop {
        match answer.recv_timeout(Duration::from_millis(50)) {
            Ok(is_yes) => return is_yes,
            Err(RecvTimeoutError::Timeout) if !stop.asked() => {}
            Err(_) => return false,
        }
    }
}
