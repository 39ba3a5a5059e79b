//! What happened, as lines; the oldest go when there are too many.

use std::collections::VecDeque;
use std::sync::Arc;

/// More lines than this are not kept.
pub const MOST_LINES: usize = 10_000;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For those who want to know everything.
    Detail,
    /// What a person follows.
    Info,
    /// What a person should know.
    Warning,
    /// What went wrong.
    Error,
}

impl Level {
    /// The next one, and from the last back to the first.
    pub fn next(self) -> Self {
        match self {
            Self::Detail => Self::Info,
            Self::Info => Self::Warning,
            Self::Warning => Self::Error,
            Self::Error => Self::Detail,
        }
    }

    /// What is shown from this level on.
    pub fn says(self) -> &'static str {
        match self {
            Self::Detail => "everything",
            Self::Info => "no details",
            Self::Warning => "warnings and errors",
            Self::Error => "errors",
        }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// When, in seconds of the run.
    pub at: f64,
    /// How much it matters.
    pub level: Level,
    /// Which node it is about.
    pub node: Option<Arc<str>>,
    /// What happened.
    pub text: String,
}

impl Line {
    /// Whether it holds a text, in lower case, in its node's name or in what it says.
    pub fn matches(&self, needle: &str) -> bool {
        let node = self.node.as_deref().unwrap_or_default();
        needle.is_empty() || contains(&self.text, needle) || contains(node, needle)
    }
}

/// Whether a text holds another that is in lower case.
pub fn contains(text: &str, needle: &str) -> bool {
    if text.is_ascii() && needle.is_ascii() {
        let (text, needle) = (text.as_bytes(), needle.as_bytes());
        return needle.is_empty() || text.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle));
    }
    text.to_lowercase().contains(needle)
}

/// The last lines.
#[derive(Debug, Clone, Default)]
pub struct Log {
    lines: VecDeque<Line>,
    /// How many lines are gone.
    pub gone: usize,
}

impl Log {
    /// Adds a line.
    pub fn push(&mut self, line: Line) {
        if self.lines.len() == MOST_LINES {
            self.lines.pop_front();
            self.gone += 1;
        }
        self.lines.push_back(line);
    }

    /// All lines, the oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> + ExactSizeIterator {
        self.lines.iter()
    }

    /// The lines from a level on that hold a text in lower case.
    pub fn chosen<'a>(&'a self, level: Level, needle: &'a str) -> impl DoubleEndedIterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.level >= level && line.matches(needle))
    }

    /// What a node did.
    pub fn of<'a>(&'a self, node: &'a str) -> impl DoubleEndedIterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.node.as_deref() == Some(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_go() {
        let mut log = Log::default();
        for at in 0..MOST_LINES + 5 {
            log.push(Line { at: at as f64, level: Level::Info, node: None, text: String::new() });
        }
        assert_eq!((log.lines().len(), log.gone), (MOST_LINES, 5));
        assert_eq!(log.lines().next().unwrap().at, 5.0);
    }

    #[test]
    fn letters_match_large_and_small() {
        assert!(contains("A Frog", "frog"));
        assert!(contains("ÄPFEL", "äpf"));
        assert!(!contains("frog", "frogs"));
    }
}
