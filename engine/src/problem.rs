//! What a node says when it cannot go on: the mistake and the mend, without a place.
//!
//! A node knows what went wrong but not where it stands in whose file; the
//! [`Diagnostic`](crate::Diagnostic) that a person reads adds node and place, once.

use std::fmt;

/// The result of everything a node does.
pub type Result<T> = anyhow::Result<T>;

/// A mistake in words for a person, and what to do about it.
///
/// It travels inside an [`anyhow::Error`], so `?` works everywhere and causes pile up below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// A problem said in one sentence, without a full stop: what is wrong, and with which thing.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The hint of the outermost problem in an error's chain, if any of them has one.
    pub fn hint_of(error: &anyhow::Error) -> Option<&str> {
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<Self>())
            .find_map(|problem| problem.hint.as_deref())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// The node was asked to stop and did, at a step where stopping is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

impl std::error::Error for Cancelled {}
