//! What a node says when it cannot go on: the mistake and the mend, without a place.
//!
//! A node knows what went wrong but not where it stands in whose file; the
//! [`Diagnostic`](crate::Diagnostic) that a person reads adds node and place, once.

use std::fmt;

/// The result of everything a node does.
pub type Result<T, E = anyhow::Error> = std::result::Result<T, E>;

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

    /// The hint of the outermost problem in an error, whether it was raised or added as context.
    pub fn hint_of(error: &anyhow::Error) -> Option<&str> {
        let within = error.chain().filter_map(|cause| cause.downcast_ref::<Self>());
        error.downcast_ref::<Self>().into_iter().chain(within).find_map(|problem| problem.hint.as_deref())
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

/// A node cannot tell before it runs, and nothing is known to be wrong: a file that it downloads
/// when it runs, say.
///
/// A node that [reports](crate::Check::problem_with) this while its graph is checked gives nothing to
/// check the nodes behind it against, and the graph may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotYet {
    what: String,
}

impl NotYet {
    /// What is not known yet and when it will be, in one sentence without a full stop.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for NotYet {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_found_in_a_raised_problem_and_in_a_context() {
        let raised = anyhow::Error::from(Problem::new("a").hint("mend")).context("b");
        assert_eq!(Problem::hint_of(&raised), Some("mend"));
        let added = anyhow::anyhow!("a").context(Problem::new("b").hint("mend")).context("c");
        assert_eq!(Problem::hint_of(&added), Some("mend"));
    }
}
