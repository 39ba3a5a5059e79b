//! `flow check GRAPH`: every mistake, no weights read.

use clap::Args;

use crate::open::{GraphArguments, SettingsArguments, one};
use crate::show::diagnostics::{self, count};
use crate::show::out;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct CheckArguments {
    #[command(flatten)]
    graph: GraphArguments,
    #[command(flatten)]
    settings: SettingsArguments,
}

pub fn check(arguments: &CheckArguments) -> Ending {
    let session = arguments.graph.session(&arguments.settings)?;
    let graph = arguments.graph.checked(&session)?;
    diagnostics::print(&graph.notes);
    out::print(&format!("{}: {}, no mistakes\n", graph.document.name, count(graph.len(), "node")))
        .map_err(one)?;
    Ok(Exit::Done)
}
