//! `flow plan GRAPH`: what would run, and why.

use clap::Args;
use flow_engine::{Events, Plan, Ready, Session, Stop};

use crate::open::{GraphArguments, SettingsArguments, StoreArguments, WantedArguments, one};
use crate::show::out;
use crate::show::plain::Plain;
use crate::show::plan as shown;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct PlanArguments {
    #[command(flatten)]
    graph: GraphArguments,
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    wanted: WantedArguments,
    /// List every node, however many have their result stored.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn plan(arguments: &PlanArguments) -> Ending {
    let session = arguments.graph.session_with(&arguments.settings, &arguments.store)?;
    let ready = arguments.graph.ready(&session, arguments.wanted.wanted())?;
    let plan = planned(&arguments.graph, &ready, &session);
    let text =
        if arguments.json { shown::json(&plan).map_err(one)? } else { shown::plan(&plan, arguments.all) };
    out::print(&text).map_err(one)?;
    // The process ends here, and a large graph takes long to be taken apart.
    std::mem::forget((ready, plan));
    Ok(Exit::Done)
}

/// The plan of a graph; that large files are read for it is shown.
pub fn planned(graph: &GraphArguments, ready: &Ready<'_>, session: &Session) -> Plan {
    let (events, reading) = Events::for_readers(vec![Box::new(Plain::new())]);
    let plan = ready.plan(session, &graph.before(session, None), &events, &Stop::default());
    drop(events);
    // Whoever stopped reading has read enough.
    let _ = reading.join();
    plan
}
