//! The keys: one table that the dashboard consults, and from which its help is made.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::state::View;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Go down.
    Down,
    /// Go up.
    Up,
    /// Go left.
    Left,
    /// Go right.
    Right,
    /// Go to the beginning.
    First,
    /// Go to the end.
    Last,
    /// Go half a page down.
    HalfDown,
    /// Go half a page up.
    HalfUp,
    /// Show the next view.
    NextView,
    /// Show the view before.
    PreviousView,
    /// Show a view.
    Show(View),
    /// Open what is selected.
    Open,
    /// Go back.
    Back,
    /// Begin a search.
    Find,
    /// Go to the next match.
    NextFound,
    /// Go to the match before.
    PreviousFound,
    /// Show less, and larger.
    Larger,
    /// Show more, and smaller.
    Smaller,
    /// Fold a group, or unfold it.
    Fold,
    /// Mark a picture.
    Mark,
    /// Show another level of the log.
    Level,
    /// Follow what is new, or no more.
    Follow,
    /// Hold the screen still, or let it go on.
    Freeze,
    /// Show what the last edit changed.
    Diff,
    /// Open the editor.
    Edit,
    /// Copy what is selected.
    Copy,
    /// Take the mouse, or leave it.
    Mouse,
    /// Cancel a node.
    Cancel,
    /// Run a node again.
    RunAgain,
    /// Run again whatever failed.
    RunFailedAgain,
    /// Hold the run, or let it go on.
    Pause,
    /// Have a checkpoint saved.
    Checkpoint,
    /// Have a preview drawn.
    Sample,
    /// Leave the screen for the plain stream.
    Drop,
    /// Leave the screen for the shell.
    Suspend,
    /// Leave, by choice.
    Quit,
    /// Stop, as Ctrl-C does.
    Interrupt,
    /// Show the keys.
    Help,
}

/// A heading of the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Going about.
    Move,
    /// Choosing what is seen.
    Look,
    /// Asking something of the run.
    Steer,
    /// Leaving, and coming back.
    Leave,
}

impl Section {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 4] = [Self::Move, Self::Look, Self::Steer, Self::Leave];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Look => "look",
            Self::Steer => "steer the run",
            Self::Leave => "leave",
        }
    }
}

/// A key with its modifiers.
type Chord = (KeyCode, KeyModifiers);

/// One row of the table.
pub struct Binding {
    /// The keys, any of which will do.
    pub chords: &'static [Chord],
    /// How they are written.
    pub shown: &'static str,
    /// What they ask for.
    pub action: Action,
    /// The heading that the help lists them under.
    pub section: Section,
    /// What they do, for the help.
    pub says: &'static str,
    /// The views that they work in; all, if there are none.
    pub views: &'static [View],
    /// What they do in a word, for the last line of the screen; empty if they are not worth it.
    pub short: &'static str,
}

impl Binding {
    /// Whether the keys do something in a view.
    pub fn works_in(&self, view: View) -> bool {
        self.views.is_empty() || self.views.contains(&view)
    }
}

const fn plain(key: char) -> Chord {
    (KeyCode::Char(key), KeyModifiers::NONE)
}

const fn control(key: char) -> Chord {
    (KeyCode::Char(key), KeyModifiers::CONTROL)
}

const fn named(key: KeyCode) -> Chord {
    (key, KeyModifiers::NONE)
}

macro_rules! bindings {
    ($($shown:literal [$($chord:expr),+] $action:expr, $section:ident, $says:literal
        $(, in [$($view:ident),+])? $(, short $short:literal)?;)+) => {
        &[$(Binding {
            chords: &[$($chord),+],
            shown: $shown,
            action: $action,
            section: Section::$section,
            says: $says,
            views: &[$($(View::$view),+)?],
            short: concat!($($short)?),
        }),+]
    };
}

/// Every key that does something, in the order of the help.
pub const BINDINGS: &[Binding] = bindings![
    "j ↓" [plain('j'), named(KeyCode::Down)] Action::Down, Move, "down";
    "k ↑" [plain('k'), named(KeyCode::Up)] Action::Up, Move, "up";
    "←" [named(KeyCode::Left)] Action::Left, Move, "left; the node before this one";
    "→" [named(KeyCode::Right)] Action::Right, Move, "right; the node after this one";
    "g" [plain('g'), named(KeyCode::Home)] Action::First, Move, "to the beginning";
    "G" [plain('G'), named(KeyCode::End)] Action::Last, Move, "to the end";
    "Ctrl-d" [control('d'), named(KeyCode::PageDown)] Action::HalfDown, Move, "half a page down";
    "Ctrl-u" [control('u'), named(KeyCode::PageUp)] Action::HalfUp, Move, "half a page up";
    "Enter" [named(KeyCode::Enter)] Action::Open, Move, "open what is selected",
        in [Graph, Training, Pictures, Logs, Problems], short "open";
    "Esc" [named(KeyCode::Esc)] Action::Back, Move, "back; end a search", short "";
    "Tab" [named(KeyCode::Tab)] Action::NextView, Look, "next view", short "view";
    "Shift-Tab" [named(KeyCode::BackTab)] Action::PreviousView, Look, "previous view";
    "1" [plain('1')] Action::Show(View::Graph), Look, "graph: what runs, what waits";
    "2" [plain('2')] Action::Show(View::Node), Look, "node: one of them";
    "3" [plain('3')] Action::Show(View::Training), Look, "training: its curves";
    "4" [plain('4')] Action::Show(View::Pictures), Look, "pictures: previews and results";
    "5" [plain('5')] Action::Show(View::Logs), Look, "logs: what happened";
    "6" [plain('6')] Action::Show(View::Problems), Look, "problems: what went wrong, and where";
    "7" [plain('7')] Action::Show(View::Resources), Look, "resources: processors, memory, disk";
    "/" [plain('/')] Action::Find, Look, "search; in logs and problems, show only what matches",
        in [Graph, Node, Logs, Problems], short "search";
    "n" [plain('n')] Action::NextFound, Look, "next match", in [Graph, Node, Logs, Problems];
    "N" [plain('N')] Action::PreviousFound, Look, "previous match", in [Graph, Node, Logs, Problems];
    "f" [plain('f')] Action::Follow, Look, "follow what runs, or the end of the log",
        in [Graph, Node, Training, Pictures, Logs], short "follow";
    "z" [plain('z')] Action::Freeze, Look, "hold the screen still; the run goes on";
    "+" [plain('+'), plain('=')] Action::Larger, Look, "larger; fewer steps of the curves",
        in [Graph, Training, Pictures], short "";
    "-" [plain('-')] Action::Smaller, Look, "smaller; more steps of the curves",
        in [Graph, Training, Pictures], short "";
    "o" [plain('o')] Action::Fold, Look, "fold or unfold a group of like nodes", in [Graph], short "fold";
    "Space" [plain(' ')] Action::Mark, Look, "mark a picture; two of them stand side by side",
        in [Pictures], short "mark";
    "l" [plain('l')] Action::Level, Look, "how much the log tells", in [Logs], short "level";
    "d" [plain('d')] Action::Diff, Look, "what the last saved edit changed", short "diff";
    "e" [plain('e')] Action::Edit, Look, "open the graph at this place in $EDITOR", short "edit";
    "y" [plain('y')] Action::Copy, Look, "copy what is selected";
    "m" [plain('m')] Action::Mouse, Look, "mouse on or off; off, the terminal selects text";
    "p" [plain('p')] Action::Pause, Steer, "hold every node at its next step, or go on", short "pause";
    "x" [plain('x')] Action::Cancel, Steer, "cancel this node", short "cancel";
    "r" [plain('r')] Action::RunAgain, Steer, "run this node again, and what depends on it", short "rerun";
    "R" [plain('R')] Action::RunFailedAgain, Steer, "run again whatever failed or was stopped",
        short "retry";
    "s" [plain('s')] Action::Checkpoint, Steer, "save a checkpoint of this node now",
        in [Graph, Node, Training], short "save";
    "S" [plain('S')] Action::Sample, Steer, "draw a preview of this node now",
        in [Graph, Node, Training, Pictures], short "sample";
    "h" [plain('h')] Action::Drop, Leave, "to the plain stream, and back with any key";
    "Ctrl-Z" [control('z')] Action::Suspend, Leave, "to the shell; `fg` comes back";
    "q" [plain('q')] Action::Quit, Leave, "quit, by choice after a checkpoint or now", short "quit";
    "Ctrl-C" [control('c')] Action::Interrupt, Leave, "stop after the next checkpoint; twice: now";
    "?" [plain('?'), named(KeyCode::F(1))] Action::Help, Leave, "this help", short "help";
];

/// The row of a key, if it has one.
pub fn binding(key: &KeyEvent) -> Option<&'static Binding> {
    let chord = chord(key);
    BINDINGS.iter().find(|binding| binding.chords.contains(&chord))
}

/// A key without what its character says already: `G` comes with Shift, or does not.
fn chord(key: &KeyEvent) -> Chord {
    let kept = key.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT);
    match key.code {
        KeyCode::Char(letter) if kept == KeyModifiers::CONTROL => {
            (KeyCode::Char(letter.to_ascii_lowercase()), kept)
        }
        code => (code, kept),
    }
}

/// The key of a name: `j`, `Ctrl-d`, `Enter`.
pub fn by_name(name: &str) -> Option<KeyEvent> {
    let (name, modifiers) = match name.strip_prefix("Ctrl-") {
        Some(name) => (name, KeyModifiers::CONTROL),
        None => (name, KeyModifiers::NONE),
    };
    let mut letters = name.chars();
    let code = match name {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Tab" => KeyCode::Tab,
        "Space" => KeyCode::Char(' '),
        "Up" => KeyCode::Up,
        "Down" => KeyCode::Down,
        "Left" => KeyCode::Left,
        "Right" => KeyCode::Right,
        "Backspace" => KeyCode::Backspace,
        _ => KeyCode::Char(letters.next().filter(|_| letters.next().is_none())?),
    };
    Some(KeyEvent::new(code, modifiers))
}

/// How a key is written.
pub fn written(key: &KeyEvent) -> String {
    if let Some(binding) = binding(key) {
        return binding.shown.to_owned();
    }
    let name = match key.code {
        KeyCode::Char(letter) if letter.is_control() => "that key".to_owned(),
        KeyCode::Char(letter) => letter.to_string(),
        code => format!("{code:?}"),
    };
    if key.modifiers.contains(KeyModifiers::CONTROL) { format!("Ctrl-{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_is_bound_twice() {
        let mut seen = HashSet::new();
        for chord in BINDINGS.iter().flat_map(|binding| binding.chords) {
            assert!(seen.insert(chord), "{chord:?} is bound twice");
        }
    }

    #[test]
    fn shift_makes_no_difference_to_a_letter_that_is_written_large() {
        let with = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        let without = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::NONE);
        assert_eq!(binding(&with).unwrap().action, Action::Last);
        assert_eq!(binding(&without).unwrap().action, Action::Last);
    }

    #[test]
    fn every_view_has_a_key() {
        for view in View::ALL {
            assert!(BINDINGS.iter().any(|binding| binding.action == Action::Show(view)));
        }
    }
}
