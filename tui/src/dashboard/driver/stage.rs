//! Where the run, the keys and the screen meet: the state behind its lock, and what is printed without a screen.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flow_engine::{Event, Reader as _, Record};

use super::steering::Steering;
use crate::dashboard::state::State;
use crate::dashboard::view::Theme;
use crate::dashboard::{Effect, Message, Scope};
use crate::show::out::tell;
use crate::show::plain::Plain;

/// So many of the latest events are printed when the screen is left for the plain stream.
const RECENT: usize = 100;
/// What the screen is taken to be before it is asked.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// Everything that the threads of a dashboard share.
pub struct Stage {
    scope: Scope,
    scene: Mutex<Scene>,
    /// Whether there is something new to draw that the state does not know of: a picture.
    has_more: AtomicBool,
    /// Whether the screen is to go, whatever somebody wants to look at.
    is_closed: AtomicBool,
}

/// What is behind the lock.
pub struct Scene {
    /// What the screen shows.
    pub state: State,
    /// What was asked of the world, and not done yet.
    pub effects: Vec<Effect>,
    /// What the run has come to, as far as leaving it is concerned.
    pub steering: Steering,
    /// When the run started.
    started: Option<Instant>,
    /// The printer, while there is no screen.
    plain: Option<Plain>,
    recent: VecDeque<Record>,
    /// How the run ended, and what failed in it.
    last_words: Vec<Record>,
}

impl Stage {
    /// An empty one.
    pub fn new(scope: Scope, steering: Steering) -> Self {
        let scene = Scene {
            state: new_state(scope),
            effects: Vec::new(),
            steering,
            started: None,
            plain: None,
            recent: VecDeque::new(),
            last_words: Vec::new(),
        };
        Self {
            scope,
            scene: Mutex::new(scene),
            has_more: AtomicBool::new(true),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The state and what belongs to it. What waits for it is drawing, or the run's events: be brief.
    pub fn lock(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the state something.
    pub fn tell(&self, message: Message) {
        self.lock().tell(message);
    }

    /// Takes in what happened in the run.
    pub fn hear(&self, record: &Record) {
        let mut scene = self.lock();
        scene.follow_clock(record, self.scope);
        scene.remember(record);
        scene.steering.hear(&record.event);
        if let Some(plain) = &mut scene.plain {
            // Plain prints where it can.
            let _ = plain.read(record);
        }
        scene.tell(Message::Record(Box::new(record.clone())));
    }

    /// Forgets the run: what comes is another's story.
    pub fn begin_anew(&self) {
        let mut scene = self.lock();
        (scene.started, scene.state) = (None, new_state(self.scope));
        scene.recent.clear();
        drop(scene);
        self.has_more_to_draw();
    }

    /// Nothing more will happen in the run.
    pub fn end(&self) {
        self.lock().steering.end();
        self.tell(Message::End);
    }

    /// What is to be done about what the state has asked for.
    pub fn take_effects(&self) -> Vec<Effect> {
        std::mem::take(&mut self.lock().effects)
    }

    /// There is something new to draw that the state does not know of.
    pub fn has_more_to_draw(&self) {
        self.has_more.store(true, Ordering::Release);
    }

    /// Whether a screen on which this generation of the state was drawn shows something that is not so any more. The
    /// time goes on with it.
    pub fn is_stale(&self, drawn: Option<u64>) -> bool {
        let mut scene = self.lock();
        scene.tell_time();
        drawn != Some(scene.state.generation()) || self.has_more.load(Ordering::Acquire)
    }

    /// The state to be drawn now, all of it.
    pub fn to_draw(&self) -> MutexGuard<'_, Scene> {
        self.has_more.store(false, Ordering::Release);
        self.lock()
    }

    /// Has the screen go.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Whether the screen is to go.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Prints the latest events, and from now on each one as it happens.
    pub fn print_lines(&self) {
        let mut scene = self.lock();
        let mut plain = Plain::without_bars();
        for record in &scene.recent {
            let _ = plain.read(record);
        }
        scene.plain = Some(plain);
    }

    /// The screen is gone for good. A run of this process that is not over is told in lines.
    pub fn go_on_in_lines(&self) {
        let mut scene = self.lock();
        scene.steering.let_go();
        let goes_on = scene.steering.is_busy() && self.scope == Scope::Own;
        let is_told = scene.plain.is_some();
        if goes_on && scene.steering.is_stopping() {
            tell("stopping at the next step; Ctrl-C again to stop now");
        }
        drop(scene);
        if goes_on && !is_told {
            self.print_lines();
        }
    }

    /// Prints nothing any more.
    pub fn print_nothing(&self) {
        self.lock().plain = None;
    }

    /// Prints how the run ended, unless lines have told it.
    pub fn say_last_words(&self) {
        let scene = self.lock();
        if self.scope != Scope::Own || scene.plain.is_some() {
            return;
        }
        let mut plain = Plain::without_bars();
        for record in &scene.last_words {
            let _ = plain.read(record);
        }
    }
}

impl Scene {
    /// Tells the state something, and keeps what it asks for.
    pub fn tell(&mut self, message: Message) {
        let effects = self.state.update(message);
        self.effects.extend(effects);
    }

    /// Tells the state what time it is, in a run that goes on now.
    pub fn tell_time(&mut self) {
        if let Some(started) = self.started {
            self.tell(Message::Now(started.elapsed().as_secs_f64()));
        }
    }

    /// Finds out when the run started: of the events that tell it, the one that came fastest is nearest to the truth.
    fn follow_clock(&mut self, record: &Record, scope: Scope) {
        let ago = match (scope, &record.event) {
            (Scope::Own, _) => record.t,
            (Scope::Attached, Event::RunStarted { time, .. }) => seconds_since(*time),
            _ => return,
        };
        let started = Duration::try_from_secs_f64(ago).ok().and_then(|ago| Instant::now().checked_sub(ago));
        self.started = match (self.started, started) {
            (Some(known), Some(new)) => Some(known.min(new)),
            (known, new) => known.or(new),
        };
    }

    fn remember(&mut self, record: &Record) {
        match &record.event {
            Event::Progress { .. } | Event::Metric { .. } => return,
            Event::Plan { .. } => self.last_words.clear(),
            Event::NodeFailed { .. } if self.last_words.len() < RECENT => {
                self.last_words.push(record.clone())
            }
            Event::RunFinished { .. } => self.last_words.push(record.clone()),
            _ => {}
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(record.clone());
    }
}

/// Nothing is known yet, on this terminal.
fn new_state(scope: Scope) -> State {
    let size = crossterm::terminal::size().unwrap_or(USUAL_SIZE);
    let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let theme = if has_colours { Theme::colour() } else { Theme::plain() };
    State::new(scope, size).themed(theme)
}

fn seconds_since(time: f64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs_f64() - time).max(0.0)
}
