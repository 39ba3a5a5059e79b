//! Writing where somebody may have stopped reading.
//!
//! `println!` panics on a closed pipe; these do not.

use std::io::{ErrorKind, Write, stderr, stdout};

use anyhow::Context as _;
use flow_engine::Result;

/// Writes a text to standard output.
///
/// # Errors
///
/// If it cannot be written; a reader who has gone is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    unless_gone(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
        .context("cannot write to standard output")
}

/// Writes a line to standard error, where there is nobody left to tell if that fails.
pub fn tell(line: &str) {
    let _ = writeln!(stderr().lock(), "{line}");
}

/// The outcome of a write; a reader who has gone has read enough.
pub fn unless_gone(outcome: std::io::Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// A name that a graph gave, without what would steer a terminal.
pub fn harmless(name: &str) -> String {
    let mut harmless = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_control() {
            harmless.extend(letter.escape_default());
        } else {
            harmless.push(letter);
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\u{1b}[31m\nb é"), "a\\u{1b}[31m\\nb é");
    }
}
