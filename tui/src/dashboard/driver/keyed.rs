//! A terminal that prints lines as always, but hands over each key without Enter: for the plain stream.

#[cfg(unix)]
mod unix {
    use std::io::stdin;
    use std::sync::{Mutex, PoisonError};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// How the terminal was before.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    /// Begins; where it cannot, keys come with Enter.
    pub fn begin() {
        let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is_some() {
            return;
        }
        let Ok(found) = tcgetattr(stdin()) else { return };
        let mut keyed = found.clone();
        keyed.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
        if tcsetattr(stdin(), OptionalActions::Now, &keyed).is_ok() {
            *before = Some(found);
        }
    }

    /// Ends, if it has begun.
    pub fn end() {
        // Whoever holds it ends it as well.
        let Ok(mut before) = BEFORE.try_lock() else { return };
        if let Some(before) = before.take() {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        }
    }
}

#[cfg(not(unix))]
mod unix {
    /// Begins: keys come with Enter here.
    pub fn begin() {}

    /// Ends.
    pub fn end() {}
}

pub use unix::{begin, end};
