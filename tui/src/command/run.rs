//! `flow run GRAPH`: runs a graph, once or after every edit.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use flow_engine::runs::{self, RunFolder};
use flow_engine::{
    Control, Diagnostic, Event, Events, Live, Lock, Options, Problem, Reader, Ready, Result, Run, Session,
    Status, Stop,
};

use crate::command::lock::hold;
use crate::command::plan::planned;
use crate::dashboard::Scope;
use crate::dashboard::driver::{Dashboard, World, can_be_shown};
use crate::open::{GraphArguments, SettingsArguments, StoreArguments, WantedArguments, one};

use crate::show::ndjson::Ndjson;
use crate::show::plain::Plain;
use crate::show::{ask, diagnostics, out, plan};
use crate::{Ending, Exit};

#[derive(Args)]
pub struct RunArguments {
    #[command(flatten)]
    pub(super) graph: GraphArguments,
    #[command(flatten)]
    pub(super) settings: SettingsArguments,
    #[command(flatten)]
    pub(super) store: StoreArguments,
    #[command(flatten)]
    pub(super) wanted: WantedArguments,
    /// Let what does not depend on a failed node still run; the exit code is then 4.
    #[arg(short, long)]
    pub(super) keep_going: bool,
    /// Only say what would run, as `flow plan` does.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Refuse to run if anything is not as the lock beside the graph says; `flow lock` writes it.
    #[arg(long)]
    pub(super) locked: bool,
    /// Run again whenever the graph or a file that it reads is saved, until Ctrl-C.
    #[arg(long, conflicts_with_all = ["dry_run", "locked"])]
    pub(super) watch: bool,
    /// With `--watch`: whether a saved edit takes effect at once, or asks first if a running node would stop.
    #[arg(long, value_enum, default_value = "auto", requires = "watch")]
    pub(super) reload: Reload,
    /// With `--watch`: look at the files so often, for network file systems that do not tell of edits.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "watch")]
    pub(super) poll: Option<Duration>,
    /// How the run is shown. `auto` is plain: bars on a terminal, lines elsewhere.
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) ui: Ui,
    /// Also write every event to this file, one JSON object per line.
    #[arg(long, value_name = "PATH")]
    pub(super) events: Option<PathBuf>,
    /// How many nodes may run at the same time; as many as there are processors, if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Ui {
    /// Plain.
    Auto,
    /// The dashboard, as `flow dash` shows it; plain where it cannot be shown.
    Tui,
    /// Bars on a terminal, lines elsewhere, both on standard error.
    Plain,
    /// One JSON object per event on standard output.
    Json,
    /// Nothing but errors.
    None,
}

/// What a run is held by.
#[derive(Clone)]
struct Reins {
    stop: Stop,
    control: Control,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Reload {
    /// At once.
    Auto,
    /// Ask on the terminal.
    Ask,
}

pub fn run(arguments: &RunArguments) -> Ending {
    let stop = Stop::default();
    // A screen hears signals itself.
    if !arguments.has_screen() {
        stop_on_ctrl_c(stop.clone()).map_err(one)?;
    }
    arguments.refuse_events_over_the_graph().map_err(one)?;
    let session = match arguments.graph.session_with(&arguments.settings, &arguments.store) {
        Ok(session) => session,
        Err(problems) => return arguments.rejected(problems),
    };
    if arguments.watch || arguments.is_steered() {
        return watch(arguments, &session, stop);
    }
    match arguments.ready(&session) {
        Ok(ready) if arguments.dry_run => {
            out::print(&plan::plan(&planned(&arguments.graph, &ready, &session), false)).map_err(one)?;
            Ok(Exit::Done)
        }
        Ok(ready) => once(arguments, &ready, &session, stop),
        Err(problems) => arguments.rejected(problems),
    }
}

fn once(arguments: &RunArguments, ready: &Ready<'_>, session: &Session, stop: Stop) -> Ending {
    let folder = arguments.folder(session);
    let before = arguments.graph.before(session, folder.as_ref().map(|folder| folder.path().to_path_buf()));
    let reins = Reins { stop, control: Control::default() };
    arguments.told(session, folder.as_ref(), &reins, |events| {
        let (told, options) = (events.clone(), arguments.options());
        let Reins { stop, control } = reins.clone();
        let run = Run { before, events: told, stop, control, options, ..Run::new(ready, session) };
        let outcome = run.execute();
        if let Some(folder) = &folder {
            // After the run, what it downloaded is there to be locked too.
            tell_if_not_written(write_down(folder, ready, session, &reins.stop), events);
        }
        Ok(exit(outcome.status))
    })
}

fn watch(arguments: &RunArguments, session: &Session, stop: Stop) -> Ending {
    if arguments.reload == Reload::Ask && (arguments.has_screen() || !ask::is_possible()) {
        let problem = Problem::new("`--reload ask` needs a terminal to ask on, without the dashboard");
        return Err(one(problem.hint("leave it out, and edits take effect at once").into()));
    }
    let folder = arguments.folder(session);
    let reins = Reins { stop: stop.clone(), control: Control::default() };
    arguments.told(session, folder.as_ref(), &reins, |events| {
        let live = Live {
            session,
            read: &|| arguments.graph.source(session),
            files: vec![arguments.graph.graph.clone()],
            wanted: arguments.wanted.wanted(),
            before: &|| arguments.graph.before(session, None),
            allow: &|change| arguments.reload == Reload::Auto || ask::about(change, &stop),
            events: events.clone(),
            stop: stop.clone(),
            control: reins.control.clone(),
            options: arguments.options(),
            is_watched: arguments.watch,
            poll: arguments.poll,
        };
        let status = live.run().map_err(one)?;
        if let (Some(folder), Ok(ready)) = (&folder, arguments.ready(session)) {
            tell_if_not_written(write_down(folder, &ready, session, &Stop::default()), events);
        }
        Ok(exit(status))
    })
}

/// Writes the graph and its lock into the run's folder.
fn write_down(folder: &RunFolder, ready: &Ready<'_>, session: &Session, stop: &Stop) -> Result<()> {
    folder.write(runs::GRAPH, &ready.graph.to_ron()?)?;
    // What was never there, or vanished meanwhile, cannot be locked.
    match Lock::of(ready, session, &Events::silent(), stop) {
        Ok(lock) => folder.write(runs::LOCK, &lock.to_ron()?),
        Err(_) => Ok(()),
    }
}

fn tell_if_not_written(written: Result<()>, events: &Events) {
    if let Err(error) = written {
        let message = format!("the run cannot be written down: {error:#}");
        events.emit(Event::Warning { node: None, message, hint: None });
    }
}

fn exit(status: Status) -> Exit {
    match status {
        Status::Done => Exit::Done,
        Status::Partial => Exit::Partial,
        Status::Failed => Exit::NodeFailed,
        Status::Cancelled => Exit::Cancelled,
    }
}

impl RunArguments {
    fn options(&self) -> Options {
        let jobs = self.jobs.map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from);
        Options { jobs, keep_going: self.keep_going, keep_results: false }
    }

    fn ready<'s>(&self, session: &'s Session) -> Result<Ready<'s>, Vec<Diagnostic>> {
        let ready = self.graph.ready(session, self.wanted.wanted())?;
        if self.locked {
            hold(&self.graph, &ready, session)?;
        }
        Ok(ready)
    }

    /// A folder for the run; where nothing can be written, the run goes on without.
    fn folder(&self, session: &Session) -> Option<RunFolder> {
        let made = RunFolder::create(&session.project, &self.graph.graph);
        made.inspect_err(|error| out::tell(&format!("warning: this run leaves no folder: {error:#}"))).ok()
    }

    /// Tells every mistake, to a program as an event.
    fn rejected(&self, problems: Vec<Diagnostic>) -> Ending {
        let (events, reading) = Events::for_readers(self.programs().map_err(one)?);
        events.emit(Event::GraphRejected { diagnostics: problems.iter().map(Diagnostic::report).collect() });
        drop(events);
        let is_read = reading.join().unwrap_or_default().is_empty();
        if self.ui == Ui::Json && is_read { Ok(Exit::Invalid) } else { Err(problems) }
    }

    /// Does something that is told, and waits until everybody has heard it.
    fn told(
        &self,
        session: &Session,
        folder: Option<&RunFolder>,
        reins: &Reins,
        act: impl FnOnce(&Events) -> Ending,
    ) -> Ending {
        let mut readers = self.programs().map_err(one)?;
        let dashboard = self.dashboard(session, reins).map_err(one)?;
        readers.extend(dashboard.as_ref().map(Dashboard::reader).or_else(|| self.people()));
        if let Some(folder) = folder {
            let path = folder.path().join(runs::EVENTS);
            let name = path.display().to_string();
            let file = File::create(&path).with_context(|| format!("cannot write {name}")).map_err(one)?;
            readers.push(Box::new(Ndjson::new(name, held_back(file))));
            readers
                .extend(session.store.as_ref().map(|store| Box::new(folder.links(store)) as Box<dyn Reader>));
        }
        let (events, reading) = Events::for_readers(readers);
        let ending = act(&events);
        drop(events);
        let unread = reading.join().unwrap_or_default();
        if let Some(dashboard) = dashboard {
            // The run itself says how it ended.
            dashboard.wait();
        }
        match ending {
            Ok(Exit::Done) if !unread.is_empty() => {
                unread.iter().for_each(|error| diagnostics::print(&[Diagnostic::from_error(error)]));
                Ok(Exit::NodeFailed)
            }
            ending => ending,
        }
    }

    /// Whether the run is shown on a screen.
    fn has_screen(&self) -> bool {
        self.ui == Ui::Tui && !self.dry_run && can_be_shown().is_ok()
    }

    /// Whether somebody may have nodes run again. What is held to a lock runs once, as it is.
    fn is_steered(&self) -> bool {
        self.has_screen() && !self.locked
    }

    /// The screen, if there is to be one.
    fn dashboard(&self, session: &Session, reins: &Reins) -> Result<Option<Dashboard>> {
        let Reins { stop, control } = reins.clone();
        let store = session.store.as_ref().map(|store| store.root().to_path_buf());
        let world = World { scope: Scope::Own, stop, control, store };
        self.has_screen().then(|| Dashboard::open(world)).transpose()
    }

    /// Whoever shows the run to a person.
    fn people(&self) -> Option<Box<dyn Reader>> {
        match self.ui {
            Ui::Auto | Ui::Tui | Ui::Plain => Some(Box::new(Plain::new())),
            Ui::Json => None,
            Ui::None => Some(Box::new(diagnostics::FailuresOnly)),
        }
    }

    /// Whoever hands the events to programs.
    fn programs(&self) -> Result<Vec<Box<dyn Reader>>> {
        let mut readers: Vec<Box<dyn Reader>> = Vec::new();
        if self.ui == Ui::Json {
            readers.push(Box::new(Ndjson::new("standard output", held_back(stdout()))));
        }
        if let Some(path) = &self.events {
            let name = path.display().to_string();
            let file = File::create(path).with_context(|| format!("cannot write events to {name}"))?;
            readers.push(Box::new(Ndjson::new(name, held_back(file))));
        }
        Ok(readers)
    }

    fn refuse_events_over_the_graph(&self) -> Result<()> {
        let Some(path) = self.events.as_ref().filter(|path| is_same_file(path, &self.graph.graph)) else {
            return Ok(());
        };
        let problem =
            Problem::new(format!("{} is the graph, and events would take its place", path.display()));
        Err(problem.hint("name another file").into())
    }
}

/// A stream that is handed many lines at once.
fn held_back<W: Write>(out: W) -> BufWriter<W> {
    BufWriter::with_capacity(1 << 16, out)
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

/// The first Ctrl-C asks the run to stop at its next step, the second ends the program.
fn stop_on_ctrl_c(stop: Stop) -> Result<()> {
    ctrlc::set_handler(move || {
        if stop.asked() {
            std::process::exit(Exit::Cancelled as i32);
        }
        stop.ask();
        out::tell("\nstopping at the next step; Ctrl-C again to stop now");
    })
    .context("cannot listen for Ctrl-C")
}
