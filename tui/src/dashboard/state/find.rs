//! Searching: what is typed after `/`.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{State, View, log};

/// Longer searches are cut off.
const LONGEST: usize = 100;

/// What is searched for.
#[derive(Debug, Clone, Default)]
pub struct Find {
    text: String,
    needle: String,
    /// Whether it is being typed.
    pub is_typed: bool,
}

impl Find {
    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// In lower case; empty if nothing is searched for.
    pub fn needle(&self) -> &str {
        &self.needle
    }

    /// Whether something is searched for.
    pub fn is_on(&self) -> bool {
        !self.needle.is_empty()
    }

    /// Whether a text is found.
    pub fn finds(&self, text: &str) -> bool {
        self.is_on() && log::contains(text, &self.needle)
    }

    fn set(&mut self, text: String) {
        self.needle = text.to_lowercase();
        self.text = text;
    }

    /// Searches for nothing.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl State {
    /// A key while a search is typed.
    pub(super) fn type_search(&mut self, key: KeyEvent) {
        let mut text = self.find.text.clone();
        match key.code {
            KeyCode::Enter => {
                self.find.is_typed = false;
                return self.search(1);
            }
            KeyCode::Esc => return self.find.clear(),
            KeyCode::Backspace if text.pop().is_none() => return self.find.clear(),
            KeyCode::Backspace => {}
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => text.clear(),
            KeyCode::Char(letter) if !letter.is_control() && text.chars().count() < LONGEST => {
                text.push(letter)
            }
            _ => return,
        }
        self.find.set(text);
        self.problems = Default::default();
        if !self.logs.follows {
            self.logs.at = 0;
        }
    }

    /// Goes to the next match, or to the one before.
    pub(super) fn search(&mut self, by: isize) {
        if !self.find.is_on() {
            return self.say("nothing is searched for: / does");
        }
        match self.view {
            View::Graph | View::Node => self.search_node(by),
            View::Logs => self.log_moved(by),
            View::Problems => self.problem_moved(by),
            _ => {}
        }
    }

    fn search_node(&mut self, by: isize) {
        let nodes = &self.run().nodes;
        let count = nodes.len();
        let from = self.selected().unwrap_or(0);
        let turn = |step: usize| if by > 0 { (from + step) % count } else { (from + count - step) % count };
        let found = (1..=count)
            .map(turn)
            .find(|&at| self.find.finds(&nodes[at].name) || self.find.finds(&nodes[at].kind));
        match found {
            Some(at) => {
                self.graph.follows = false;
                self.select(at);
            }
            None => self.say(format!("no node is called or of a kind like `{}`", self.find.text)),
        }
    }
}
