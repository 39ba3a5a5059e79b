//! The terminal: taken for the screen, and given back whatever happens.
//!
//! There is one terminal, so whether it is taken is known to the whole process: a panic on any thread gives it back
//! before its message is printed. Nothing here knows what is drawn.

use std::env;
use std::io::{self, IsTerminal as _, Write, stdin, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::style::{Print, ResetColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use flow_engine::Result;
use ratatui::Frame;
use ratatui::backend::CrosstermBackend;

use super::keyed;

/// Clicks and the wheel, with places beyond column 223; no movements, which would only wake the program.
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1000l";
/// A terminal that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the screen is up.
static IS_UP: AtomicBool = AtomicBool::new(false);

/// Whether a dashboard can be shown here.
///
/// # Errors
/// Why it cannot, to be said in a sentence.
pub fn can_be_shown() -> Result<(), &'static str> {
    let is_set = |name: &str| env::var(name).is_ok_and(|value| !matches!(&*value, "" | "0" | "false"));
    match () {
        () if !stdin().is_terminal() => Err("standard input is no terminal"),
        () if !stdout().is_terminal() => Err("standard output is no terminal"),
        () if is_set("CI") => Err("`CI` is set"),
        () if cfg!(unix) && env::var("TERM").is_ok_and(|term| term == "dumb") => Err("the terminal is dumb"),
        () if cfg!(unix) && !is_set("TERM") => Err("`TERM` is not set"),
        () => Ok(()),
    }
}

type Inner = ratatui::Terminal<CrosstermBackend<Frames>>;

/// The terminal, taken until this is dropped.
pub struct Terminal {
    inner: Inner,
    has_mouse: bool,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// A terminal that is gone.
    pub fn take() -> Result<Self> {
        restore_on_panic();
        set_up().context("cannot take the terminal")?;
        let inner = blank().inspect_err(|_| restore());
        Ok(Self { inner: inner.context("cannot take the terminal")?, has_mouse: false })
    }

    /// Takes the terminal again after it was given back. Everything is drawn anew.
    ///
    /// # Errors
    /// A terminal that is gone.
    pub fn take_again(&mut self) -> Result<()> {
        let mut take = || {
            set_up()?;
            self.inner = blank()?;
            self.set_mouse(self.has_mouse)?;
            execute!(self.inner.backend_mut(), Clear(ClearType::All))
        };
        take().context("cannot take the terminal")
    }

    /// Draws a frame, and writes what differs from the last one. What is painted from is held no longer than `paint`
    /// takes, however slow the terminal is.
    ///
    /// # Errors
    /// A terminal that is gone.
    pub fn draw(&mut self, paint: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        let draw = || {
            queue!(self.inner.backend_mut(), BeginSynchronizedUpdate)?;
            self.inner.draw(paint)?;
            execute!(self.inner.backend_mut(), EndSynchronizedUpdate)
        };
        draw().context("cannot write to the terminal")
    }

    /// Has the terminal send clicks and the wheel, or keep them for itself.
    ///
    /// # Errors
    /// A terminal that is gone.
    pub fn set_mouse(&mut self, is_wanted: bool) -> io::Result<()> {
        self.has_mouse = is_wanted;
        self.write(if is_wanted { MOUSE_ON } else { MOUSE_OFF })
    }

    /// Writes something to the terminal that is no part of a frame.
    ///
    /// # Errors
    /// A terminal that is gone.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        execute!(self.inner.backend_mut(), Print(text))
    }
}

/// What is on its way to the screen. It gets there whole, or not at all if the terminal was given back meanwhile.
#[derive(Default)]
struct Frames {
    pending: Vec<u8>,
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut out = stdout().lock();
        let written = if is_up() { out.write_all(&self.pending).and_then(|()| out.flush()) } else { Ok(()) };
        self.pending.clear();
        written
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether the screen is up; not if somebody had to give the terminal back.
pub fn is_up() -> bool {
    IS_UP.load(Ordering::SeqCst)
}

/// A screen with nothing on it. ratatui's own way of clearing one asks the terminal where the cursor is.
fn blank() -> io::Result<Inner> {
    ratatui::Terminal::new(CrosstermBackend::new(Frames::default()))
}

fn set_up() -> io::Result<()> {
    keyed::end();
    // Whatever a shell has done to it meanwhile: what is taken already is not taken again.
    let _ = disable_raw_mode();
    IS_UP.store(true, Ordering::SeqCst);
    let taken =
        enable_raw_mode().and_then(|()| execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide));
    taken.inspect_err(|_| restore())
}

/// Gives the terminal back as it was, from whatever thread; nothing if it is not taken.
pub fn restore() {
    keyed::end();
    // Whoever writes a frame ends it before.
    let mut out = stdout().lock();
    if !IS_UP.swap(false, Ordering::SeqCst) {
        return;
    }
    // A terminal that is gone needs nothing.
    let _ = queue!(out, EndSynchronizedUpdate, Print(MOUSE_OFF), DisableBracketedPaste, ResetColor);
    let _ = queue!(out, LeaveAlternateScreen, Show);
    let _ = out.flush();
    let _ = disable_raw_mode();
}

/// As [`restore`], but waits only a moment for a terminal that hangs.
pub fn restore_soon() {
    let (done, wait) = channel();
    thread::spawn(move || {
        restore();
        // Whoever waited has gone on.
        let _ = done.send(());
    });
    // Later is too late.
    let _ = wait.recv_timeout(PATIENCE);
}

/// From now on, a panic gives the terminal back before its message is printed.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            print(panic);
        }));
    });
}
