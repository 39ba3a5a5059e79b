//! The thread of the screen: it waits for keys, draws what has changed, and carries out what was asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossterm::event::{Event, KeyEventKind};
use flow_engine::Result;

use super::pictures::{Painter, way};
use super::signals::{self, Asked};
use super::stage::Stage;
use super::terminal::{self, Terminal};
use super::{clipboard, editor, input, keyed};
use crate::dashboard::{Effect, Message, view};
use crate::show::out::tell;

/// A frame is drawn no sooner after another.
const FRAME: Duration = Duration::from_millis(50);
/// How often files that are on the screen are looked at.
const LOOK: Duration = Duration::from_millis(1100);
/// What a program that was asked to end twice says.
const CANCELLED: i32 = 130;

/// Shows a stage on a terminal.
pub struct Show {
    stage: Arc<Stage>,
    terminal: Terminal,
    asked: Arc<Asked>,
    pictures: Option<Painter>,
    /// The columns and rows that the state knows of.
    size: (u16, u16),
    /// Which generation of the state was drawn last, and when.
    drawn: Option<(u64, Instant)>,
}

/// Whether the screen goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Yes,
    /// It is to go.
    No,
}

impl Show {
    /// Of nothing yet.
    pub fn new(stage: Arc<Stage>, terminal: Terminal, asked: Arc<Asked>) -> Self {
        Self { stage, terminal, asked, pictures: None, size: (0, 0), drawn: None }
    }

    /// Shows it until somebody leaves, or the terminal is gone. A run that goes on is told in lines then.
    pub fn run(mut self) {
        let lines = LinesInstead { stage: Arc::clone(&self.stage) };
        let shown = self.show();
        drop(self);
        drop(lines);
        if let Err(error) = shown {
            tell(&format!("the dashboard ends: {error:#}"));
        }
    }

    fn show(&mut self) -> Result<()> {
        let (way, notice) = way();
        let stage = Arc::clone(&self.stage);
        self.pictures = Some(Painter::new(way, move || stage.has_more_to_draw())?);
        notice.into_iter().for_each(|notice| self.notice(notice));
        while self.turn()? == On::Yes {}
        Ok(())
    }

    /// Everything that can happen, in turn.
    fn turn(&mut self) -> Result<On> {
        if self.heed_signals()? == On::No || self.carry_out()? == On::No || self.is_over() {
            return Ok(On::No);
        }
        if !terminal::is_up() {
            // Somebody panicked, was caught, and left a message on the screen below.
            self.come_again()?;
            self.notice("something panicked; `h` shows what it said".to_owned());
        }
        self.look_at_pictures();
        let until_frame = self.drawn.map_or(Duration::ZERO, |(_, at)| FRAME.saturating_sub(at.elapsed()));
        match self.stage.is_stale(self.drawn.map(|(generation, _)| generation)) {
            true if until_frame.is_zero() => self.draw()?,
            true => self.take_in(until_frame)?,
            false => self.take_in(FRAME)?,
        }
        Ok(On::Yes)
    }

    fn is_over(&self) -> bool {
        self.stage.is_closed() || self.stage.lock().steering.is_over()
    }

    fn heed_signals(&mut self) -> Result<On> {
        if self.asked.end.load(Ordering::SeqCst) {
            return Ok(On::No);
        }
        if Asked::take(&self.asked.step_back) {
            terminal::restore();
            signals::stop_here();
            self.come_again()?;
        }
        if Asked::take(&self.asked.come_again) {
            self.come_again()?;
        }
        Ok(On::Yes)
    }

    /// Has pictures on the screen painted again now and then: whoever paints them finds out whether they are others.
    fn look_at_pictures(&mut self) {
        let is_due = self.drawn.is_some_and(|(_, at)| at.elapsed() >= LOOK);
        if is_due && self.pictures.as_mut().is_some_and(Painter::take_painted) {
            self.stage.has_more_to_draw();
        }
    }

    fn draw(&mut self) -> Result<()> {
        let Self { stage, terminal, pictures, size, drawn, .. } = self;
        let Some(pictures) = pictures else { return Ok(()) };
        terminal.draw(|frame| {
            let mut scene = stage.to_draw();
            let now = (frame.area().width, frame.area().height);
            if std::mem::replace(size, now) != now {
                scene.tell(Message::Resize(now.0, now.1));
            }
            *drawn = Some((scene.state.generation(), Instant::now()));
            view::draw(&scene.state, pictures, frame);
        })
    }

    /// Waits for keys and the like, and takes in all that are there.
    fn take_in(&mut self, mut wait: Duration) -> Result<()> {
        while let Some(event) = input::next(wait)? {
            match event {
                Event::Key(key) if key.kind != KeyEventKind::Release => self.stage.tell(Message::Key(key)),
                Event::Mouse(mouse) => self.stage.tell(Message::Mouse(mouse)),
                // The terminal says how large it is when it is drawn.
                Event::Resize(..) => self.stage.has_more_to_draw(),
                Event::Paste(_) => self.notice("pasting does nothing here".to_owned()),
                _ => {}
            }
            wait = Duration::ZERO;
            if !self.stage.lock().effects.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self) -> Result<On> {
        for effect in self.stage.take_effects() {
            if self.carry_out_one(effect)? == On::No {
                return Ok(On::No);
            }
        }
        Ok(On::Yes)
    }

    fn carry_out_one(&mut self, effect: Effect) -> Result<On> {
        match effect {
            Effect::Leave => return Ok(On::No),
            Effect::Drop => return self.drop_to_lines(),
            Effect::Suspend => self.suspend()?,
            Effect::Edit { file, line, column } => {
                let edited = self.beside(|| editor::edit(&file, line, column))?;
                edited.unwrap_or_else(|why| self.notice(why));
            }
            Effect::Copy(text) => self.copy(&text)?,
            Effect::Mouse(is_wanted) => {
                self.terminal.set_mouse(is_wanted).context("cannot write to the terminal")?;
            }
            Effect::StopNow if self.stage.lock().steering.is_stopping() => {
                terminal::restore_soon();
                std::process::exit(CANCELLED);
            }
            asked_of_the_run => {
                let notice = self.stage.lock().steering.ask(asked_of_the_run);
                notice.into_iter().for_each(|notice| self.notice(notice));
            }
        }
        Ok(On::Yes)
    }

    fn notice(&self, text: String) {
        self.stage.tell(Message::Notice(text));
    }

    fn copy(&mut self, text: &str) -> Result<()> {
        let notice = match clipboard::sequence(text) {
            Ok(sequence) => {
                self.terminal.write(&sequence).context("cannot write to the terminal")?;
                "copied, if the terminal lets programs copy".to_owned()
            }
            Err(why) => why,
        };
        self.notice(notice);
        Ok(())
    }

    fn suspend(&mut self) -> Result<()> {
        if !signals::has_shell() {
            self.notice("there is no shell here to step back to".to_owned());
            return Ok(());
        }
        terminal::restore();
        signals::step_back(&self.asked);
        self.come_again()
    }

    /// Lets another program have the terminal.
    fn beside<T>(&mut self, act: impl FnOnce() -> T) -> Result<T> {
        terminal::restore();
        self.asked.is_away.store(true, Ordering::SeqCst);
        let done = act();
        self.asked.is_away.store(false, Ordering::SeqCst);
        self.come_again()?;
        Ok(done)
    }

    /// Takes the terminal again, once the shell has put the program before it.
    fn come_again(&mut self) -> Result<()> {
        Asked::take(&self.asked.come_again);
        while !signals::is_in_front()? {
            if self.asked.end.load(Ordering::SeqCst) || self.is_over() {
                return Ok(());
            }
            thread::sleep(FRAME);
        }
        self.terminal.take_again()?;
        if let Some(pictures) = &self.pictures {
            pictures.forget();
        }
        self.stage.has_more_to_draw();
        Ok(())
    }

    /// Leaves the screen for lines that scroll and can be selected, until a key is pressed.
    fn drop_to_lines(&mut self) -> Result<On> {
        terminal::restore();
        self.stage.print_lines();
        tell("-- any key comes back to the dashboard --");
        keyed::begin();
        while !self.a_key_was_pressed()? {
            if self.asked.end.load(Ordering::SeqCst) || self.is_over() {
                return Ok(On::No);
            }
            if Asked::take(&self.asked.step_back) {
                keyed::end();
                signals::stop_here();
            }
            if Asked::take(&self.asked.come_again) {
                keyed::end();
                keyed::begin();
            }
        }
        self.stage.print_nothing();
        self.come_again()?;
        Ok(On::Yes)
    }

    fn a_key_was_pressed(&self) -> Result<bool> {
        // Who is not before the terminal must not read from it.
        if !signals::is_in_front()? {
            thread::sleep(FRAME);
            return Ok(false);
        }
        let event = input::next(FRAME)?;
        Ok(matches!(event, Some(Event::Key(key)) if key.kind != KeyEventKind::Release))
    }
}

/// However the screen goes: a run that is not over is told in lines from then on.
struct LinesInstead {
    stage: Arc<Stage>,
}

impl Drop for LinesInstead {
    fn drop(&mut self) {
        self.stage.go_on_in_lines();
    }
}
