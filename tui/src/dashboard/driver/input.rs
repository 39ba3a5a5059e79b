//! What the terminal sends, and that it is gone: a window that was closed, a connection that broke.
//!
//! crossterm, asked for an event of a terminal that is gone, asks it for ever. So it is only asked once the system has
//! said that the terminal is there.

use std::time::Duration;

use anyhow::{Context as _, bail};
use crossterm::event::{self, Event};
use flow_engine::Result;

/// The next event, if there is one before the time is over.
///
/// # Errors
/// A terminal that is gone.
pub fn next(wait: Duration) -> Result<Option<Event>> {
    if is_gone(Duration::ZERO)? {
        bail!("the terminal is gone");
    }
    // What was read already, but not handed over, does not wake the system.
    if !is_there()? && is_gone(wait)? {
        bail!("the terminal is gone");
    }
    if !is_there()? {
        return Ok(None);
    }
    event::read().map(Some).context("cannot read the terminal")
}

fn is_there() -> Result<bool> {
    event::poll(Duration::ZERO).context("cannot read the terminal")
}

/// Waits until the terminal has something to say, or the time is over.
#[cfg(unix)]
fn is_gone(wait: Duration) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;

    let stdin = std::io::stdin();
    let mut terminal = [PollFd::new(&stdin, PollFlags::IN)];
    let wait = Timespec::try_from(wait).context("cannot wait so long")?;
    match poll(&mut terminal, Some(&wait)) {
        // A signal: whoever calls looks at those next.
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error).context("cannot read the terminal"),
    }
    Ok(terminal[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL))
}

/// Where the system cannot tell, crossterm waits.
#[cfg(not(unix))]
fn is_gone(wait: Duration) -> Result<bool> {
    event::poll(wait).context("cannot read the terminal")?;
    Ok(false)
}
