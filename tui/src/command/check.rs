//! `flow check GRAPH`: every mistake, no weights read.

use clap::Args;
use flow_engine::Result;

use crate::Exit;
use crate::open::{GraphArguments, SettingsArguments};
use crate::show::diagnostics;

#[derive(Args)]
pub struct CheckArguments {
    #[command(flatten)]
    graph: GraphArguments,
    #[command(flatten)]
    settings: SettingsArguments,
}

pub fn check(arguments: &CheckArguments) -> Result<Exit> {
    let session = arguments.graph.session(&arguments.settings)?;
    match arguments.graph.checked(&session)? {
        Ok((graph, later)) => {
            diagnostics::print(&later);
            println!("{}: {}, no mistakes", graph.document.name, diagnostics::count(graph.len(), "node"));
            Ok(Exit::Done)
        }
        Err(problems) => {
            diagnostics::print(&problems);
            Ok(Exit::Invalid)
        }
    }
}
