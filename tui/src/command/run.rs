//! `flow run GRAPH`: runs a graph without a screen.

use std::fs::File;
use std::io::{BufWriter, stderr, stdout};
use std::path::PathBuf;
use std::thread::available_parallelism;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use flow_engine::{Diagnostic, Event, Events, Reader, Result, Run, Status, Stop};

use crate::Exit;
use crate::open::{GraphArguments, SettingsArguments};
use crate::show::diagnostics;
use crate::show::ndjson::Ndjson;
use crate::show::plain::Plain;

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

pub fn run(arguments: &RunArguments) -> Result<Exit> {
    let session = arguments.graph.session(&arguments.settings)?;
    let (events, reading) = Events::for_readers(readers(arguments)?);
    let exit = match arguments.graph.checked(&session)? {
        Ok((graph, _)) => {
            let stop = Stop::default();
            stop_on_ctrl_c(stop.clone())?;
            let jobs =
                arguments.jobs.map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from);
            let outcome = Run { graph: &graph, session: &session, events, stop, jobs }.execute();
            match outcome.status {
                Status::Done => Exit::Done,
                Status::Failed => Exit::NodeFailed,
                Status::Cancelled => Exit::Cancelled,
            }
        }
        Err(problems) => {
            reject(&problems, &events, arguments.ui);
            drop(events);
            Exit::Invalid
        }
    };
    // A reader that panicked has said so; the run itself is over.
    let _ = reading.join();
    Ok(exit)
}

fn readers(arguments: &RunArguments) -> Result<Vec<Box<dyn Reader>>> {
    let mut readers: Vec<Box<dyn Reader>> = Vec::new();
    match arguments.ui {
        Ui::Auto | Ui::Plain => readers.push(Box::new(Plain::new())),
        Ui::Json => readers.push(Box::new(Ndjson::new(stdout()))),
        Ui::None => readers.push(Box::new(diagnostics::FailuresOnly)),
    }
    if let Some(path) = &arguments.events {
        let file =
            File::create(path).with_context(|| format!("cannot write events to {}", path.display()))?;
        readers.push(Box::new(Ndjson::new(BufWriter::new(file))));
    }
    Ok(readers)
}

/// Tells that a graph cannot run: in the event stream always, and to a person where one reads.
fn reject(problems: &[Diagnostic], events: &Events, ui: Ui) {
    events.emit(Event::GraphRejected { diagnostics: problems.iter().map(Diagnostic::report).collect() });
    if ui != Ui::Json {
        diagnostics::print(problems);
    }
}

/// The first Ctrl-C asks the run to stop at its next step, the second ends the program.
fn stop_on_ctrl_c(stop: Stop) -> Result<()> {
    ctrlc::set_handler(move || {
        if stop.asked() {
            std::process::exit(Exit::Cancelled as i32);
        }
        stop.ask();
        use std::io::Write as _;
        let _ = writeln!(stderr(), "\nstopping at the next step; Ctrl-C again to stop now");
    })
    .context("cannot listen for Ctrl-C")
}
