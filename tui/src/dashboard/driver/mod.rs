//! The half of the dashboard that touches the world: the terminal, keys, files, the machine, the run.
//!
//! A [`Dashboard`] is one more reader of a run's events, and a thread that draws. They meet at the
//! [`Stage`], where the state lives behind a lock that is held only to change it and to paint it into
//! ratatui's buffer: a terminal that is slow holds up nothing but its own pictures. When the screen is left, or breaks,
//! the plain printer goes on in its place.

mod clipboard;
mod editor;
mod input;
mod keyed;
mod listener;
mod pictures;
mod play;
mod resources;
mod screenshot;
mod show;
mod signals;
mod stage;
mod steering;
mod terminal;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use flow_engine::{Control, Reader, Result, Stop};

pub use self::play::{follow, replay};
pub use self::screenshot::Screenshot;
pub use self::terminal::can_be_shown;

use self::listener::Listener;
use self::resources::{Looking, Watched};
use self::show::Show;
use self::signals::{Asked, Listening};
use self::stage::Stage;
use self::steering::Steering;
use self::terminal::Terminal;
use super::{Message, Scope};

/// What a dashboard is connected to.
pub struct World {
    /// What may be done to the run.
    pub scope: Scope,
    /// Who ends the run.
    pub stop: Stop,
    /// Who steers it; asked only if the run is this process's own.
    pub control: Control,
    /// The folder of the store, if there is one.
    pub store: Option<PathBuf>,
}

/// A screen that shows a run until somebody leaves it.
pub struct Dashboard {
    stage: Arc<Stage>,
    showing: Option<JoinHandle<()>>,
    asked: Arc<Asked>,
    _listening: Listening,
    _looking: Looking,
}

impl Dashboard {
    /// Takes the terminal and shows a run that has told nothing yet.
    ///
    /// # Errors
    /// A terminal that is gone, or a system that gives no threads.
    pub fn open(world: World) -> Result<Self> {
        let World { scope, stop, control, store } = world;
        let asked = Arc::new(Asked::default());
        let terminal = Terminal::take()?;
        let stage = Arc::new(Stage::new(scope, Steering::new(scope, control, stop.clone())));
        let listening = Listening::begin(Arc::clone(&asked), stop)?;
        let is_own_process = scope == Scope::Own;
        let told = Arc::clone(&stage);
        let look = move |resources| told.tell(Message::Resources(resources));
        let looking = Looking::begin(Watched { store, is_own_process }, look)?;
        let show = Show::new(Arc::clone(&stage), terminal, Arc::clone(&asked));
        let showing = thread::Builder::new().name("dashboard".into()).spawn(move || show.run());
        let showing = Some(showing.context("cannot show the dashboard")?);
        Ok(Self { stage, showing, asked, _listening: listening, _looking: looking })
    }

    /// Who hands it the run's events. When it is dropped, the run tells nothing more.
    pub fn reader(&self) -> Box<dyn Reader> {
        Box::new(Listener::new(Arc::clone(&self.stage)))
    }

    /// Waits until somebody leaves the screen, and prints how the run ended below what was there before. Whether a
    /// signal ended it.
    pub fn wait(mut self) -> bool {
        self.join();
        self.stage.say_last_words();
        self.asked.end.load(Ordering::SeqCst)
    }

    fn join(&mut self) {
        // A screen that broke has said so by its panic.
        let _ = self.showing.take().map(JoinHandle::join);
    }
}

impl Drop for Dashboard {
    /// The screen goes with whoever shows it, also if that was an error.
    fn drop(&mut self) {
        self.stage.close();
        self.join();
    }
}
