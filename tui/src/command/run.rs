//! `flow run GRAPH`: runs a graph without a screen.

use std::fs::File;
use std::io::{BufWriter, stdout};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use flow_engine::{Diagnostic, Event, Events, Problem, Reader, Result, Run, Status, Stop};

use crate::open::{GraphArguments, SettingsArguments, one};
use crate::show::ndjson::Ndjson;
use crate::show::plain::Plain;
use crate::show::{diagnostics, out};
use crate::{Ending, Exit};

#[derive(Args)]
pub struct RunArguments {
    #[command(flatten)]
    graph: GraphArguments,
    #[command(flatten)]
    settings: SettingsArguments,
    /// How the run is shown. `auto` is plain: bars on a terminal, lines elsewhere.
    #[arg(long, value_enum, default_value = "auto")]
    ui: Ui,
    /// Also write every event to this file, one JSON object per line.
    #[arg(long, value_name = "PATH")]
    events: Option<PathBuf>,
    /// How many nodes may run at the same time; as many as there are processors, if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ui {
    /// Plain.
    Auto,
    /// Bars on a terminal, lines elsewhere, both on standard error.
    Plain,
    /// One JSON object per event on standard output.
    Json,
    /// Nothing but errors.
    None,
}

pub fn run(arguments: &RunArguments) -> Ending {
    let stop = Stop::default();
    stop_on_ctrl_c(stop.clone()).map_err(one)?;
    let (events, reading) = Events::for_readers(readers(arguments).map_err(one)?);
    let ending = execute(arguments, &events, stop);
    if let Err(problems) = &ending {
        events.emit(Event::GraphRejected { diagnostics: problems.iter().map(Diagnostic::report).collect() });
    }
    drop(events);
    let unread = reading.join().unwrap_or_default();
    let is_told = arguments.ui == Ui::Json && unread.is_empty();
    match ending {
        Err(_) if is_told => Ok(Exit::Invalid),
        Ok(Exit::Done) if !unread.is_empty() => {
            unread.iter().for_each(|error| diagnostics::print(&[Diagnostic::from_error(error)]));
            Ok(Exit::NodeFailed)
        }
        ending => ending,
    }
}

fn execute(arguments: &RunArguments, events: &Events, stop: Stop) -> Ending {
    let session = arguments.graph.session(&arguments.settings)?;
    let graph = arguments.graph.checked(&session)?;
    let jobs = arguments.jobs.map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from);
    let outcome = Run { graph: &graph, session: &session, events: events.clone(), stop, jobs }.execute();
    Ok(match outcome.status {
        Status::Done => Exit::Done,
        Status::Failed => Exit::NodeFailed,
        Status::Cancelled => Exit::Cancelled,
    })
}

fn readers(arguments: &RunArguments) -> Result<Vec<Box<dyn Reader>>> {
    let mut readers: Vec<Box<dyn Reader>> = Vec::new();
    match arguments.ui {
        Ui::Auto | Ui::Plain => readers.push(Box::new(Plain::new())),
        Ui::Json => readers.push(Box::new(Ndjson::new("standard output", stdout()))),
        Ui::None => readers.push(Box::new(diagnostics::FailuresOnly)),
    }
    if let Some(path) = &arguments.events {
        let name = path.display().to_string();
        if is_same_file(path, &arguments.graph.graph) {
            let problem = Problem::new(format!("{name} is the graph, and events would take its place"));
            return Err(problem.hint("name another file").into());
        }
        let file = File::create(path).with_context(|| format!("cannot write events to {name}"))?;
        readers.push(Box::new(Ndjson::new(name, BufWriter::new(file))));
    }
    Ok(readers)
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
