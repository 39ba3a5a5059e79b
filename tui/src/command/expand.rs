//! `flow expand GRAPH`: the graph that a script makes, as a graph file.

use clap::Args;

use crate::open::{GraphArguments, SettingsArguments, one};
use crate::show::out;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct ExpandArguments {
    #[command(flatten)]
    graph: GraphArguments,
    #[command(flatten)]
    settings: SettingsArguments,
}

pub fn expand(arguments: &ExpandArguments) -> Ending {
    let session = arguments.graph.session(&arguments.settings)?;
    // What does not fit together is told where the script made it.
    let graph = arguments.graph.drawable(&session)?;
    let text = arguments.graph.expanded(&session, &graph)?;
    let text = flow_engine::format(&text).map_err(|broken| one(anyhow::anyhow!(broken.message)))?;
    out::print(&text).map_err(one)?;
    Ok(Exit::Done)
}
