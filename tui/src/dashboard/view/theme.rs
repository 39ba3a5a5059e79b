//! Colours, and what stands for them where there are none.

use flow_engine::Severity;
use ratatui::style::{Color, Modifier, Style};

use crate::dashboard::state::{Level, Phase};

/// The pictures of a wheel that turns.
const WHEEL: [&str; 8] = ["⣾", "⣽", "⣻", "⢿", "⡿", "⣟", "⣯", "⣷"];

/// Which colours there are. Only the sixteen of the terminal itself are used, none of them as a background, and none
/// says anything that a symbol or a word does not say as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    has_colours: bool,
}

impl Theme {
    /// The terminal's own colours.
    pub fn colour() -> Self {
        Self { has_colours: true }
    }

    /// None, for `NO_COLOR`: bold, dim and reversed letters only.
    pub fn plain() -> Self {
        Self { has_colours: false }
    }

    fn in_colour(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// What matters less.
    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What matters more.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is selected.
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A key, and what else can be pressed.
    pub fn key(self) -> Style {
        self.in_colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What matches a search.
    pub fn found(self) -> Style {
        self.in_colour(Color::Magenta).add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
    }

    /// What an edit has just changed, once it is seen and once it is not.
    pub fn flash(self, is_lit: bool) -> Style {
        let style = self.in_colour(Color::Magenta).add_modifier(Modifier::BOLD);
        if is_lit { style.add_modifier(Modifier::REVERSED) } else { style }
    }

    /// What went wrong.
    pub fn error(self) -> Style {
        self.in_colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What a person should know.
    pub fn warning(self) -> Style {
        self.in_colour(Color::Yellow)
    }

    /// What was gained.
    pub fn good(self) -> Style {
        self.in_colour(Color::Green)
    }

    /// What is under way.
    pub fn busy(self) -> Style {
        self.in_colour(Color::Cyan)
    }

    /// A second thing beside what is under way.
    pub fn other(self) -> Style {
        self.in_colour(Color::Magenta)
    }

    /// How a phase looks.
    pub fn phase(self, phase: Phase) -> Style {
        match phase {
            Phase::Waiting => self.dim(),
            Phase::Queued => Style::new(),
            Phase::Running => self.busy().add_modifier(Modifier::BOLD),
            Phase::Stored => self.in_colour(Color::Blue),
            Phase::Done => self.good(),
            Phase::Failed => self.error(),
            Phase::Skipped => self.warning(),
        }
    }

    /// How a level looks.
    pub fn level(self, level: Level) -> Style {
        match level {
            Level::Detail => self.dim(),
            Level::Info => Style::new(),
            Level::Warning => self.warning(),
            Level::Error => self.error(),
        }
    }

    /// How a problem looks.
    pub fn severity(self, severity: Severity) -> Style {
        match severity {
            Severity::Error => self.error(),
            Severity::Warning => self.warning(),
        }
    }
}

/// The symbol of a phase; what runs turns with the beat, unless it is held.
pub fn symbol(phase: Phase, beat: usize, is_paused: bool) -> &'static str {
    match phase {
        Phase::Waiting => "·",
        Phase::Queued => "○",
        Phase::Running if is_paused => "‖",
        Phase::Running => WHEEL[beat % WHEEL.len()],
        Phase::Stored => "=",
        Phase::Done => "✓",
        Phase::Failed => "✗",
        Phase::Skipped => "–",
    }
}
