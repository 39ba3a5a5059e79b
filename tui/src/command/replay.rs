//! `flow replay RUN`: prints a run again, as it was printed or as its events.

use std::io::stdout;

use clap::{Args, ValueEnum};
use flow_engine::{Project, Reader, runs};

use crate::open::one;
use crate::show::ndjson::Ndjson;
use crate::show::plain::Plain;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct ReplayArguments {
    /// A run: its id, the beginning of one, its folder, or `last`.
    #[arg(default_value = "last")]
    run: String,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "plain")]
    ui: Ui,
}

#[derive(Clone, Copy, ValueEnum)]
enum Ui {
    /// Lines on standard error.
    Plain,
    /// One JSON object per event on standard output.
    Json,
}

pub fn replay(arguments: &ReplayArguments) -> Ending {
    let project = Project::here();
    let run = runs::find(&project, &arguments.run).map_err(one)?;
    let mut reader: Box<dyn Reader> = match arguments.ui {
        Ui::Plain => Box::new(Plain::without_bars()),
        Ui::Json => Box::new(Ndjson::new("standard output", stdout())),
    };
    for record in runs::records(&run).map_err(one)? {
        reader.read(&record).map_err(one)?;
    }
    Ok(Exit::Done)
}
