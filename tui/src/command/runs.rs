//! `flow runs`: the runs of a project, latest first.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use flow_engine::runs::PastRun;
use flow_engine::{Project, Status, runs as past};

use crate::open::one;
use crate::show::out::{self, harmless};
use crate::show::table::{Column, table};
use crate::{Ending, Exit};

#[derive(Args)]
pub struct RunsArguments {
    /// Only the runs of this graph.
    graph: Option<PathBuf>,
    /// As many at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
}

pub fn runs(arguments: &RunsArguments) -> Ending {
    let project = arguments.graph.as_deref().map_or_else(Project::here, Project::of);
    let runs = match &arguments.graph {
        Some(graph) => {
            past::of_graph(&project, graph).filter_map(PastRun::read).take(arguments.last).collect()
        }
        None => past::list(&project, arguments.last),
    };
    let columns = [
        Column::Words("run"),
        Column::Words("started"),
        Column::Words("graph"),
        Column::Words("ended"),
        Column::Number("nodes"),
        Column::Number("failed"),
        Column::Number("seconds"),
    ];
    let text =
        if runs.is_empty() { "no runs yet\n".to_owned() } else { table(&columns, runs.iter().map(row)) };
    out::print(&text).map_err(one)?;
    Ok(Exit::Done)
}

fn row(run: &PastRun) -> Vec<String> {
    let started = UNIX_EPOCH + Duration::try_from_secs_f64(run.time).unwrap_or_default();
    let ended = match run.end.map(|end| end.status) {
        None if past::is_running(&run.path) => "no: it goes on",
        None => "no: it was killed",
        Some(Status::Done) => "done",
        Some(Status::Partial) => "in part",
        Some(Status::Failed) => "failed",
        Some(Status::Cancelled) => "cancelled",
    };
    vec![
        run.id(),
        humantime::format_rfc3339_seconds(started).to_string(),
        harmless(&run.graph),
        ended.to_owned(),
        run.end.map_or(format!("{}", run.nodes), |end| format!("{} of {}", end.finished, run.nodes)),
        run.end.map(|end| end.failed.to_string()).unwrap_or_default(),
        run.end.map(|end| format!("{:.1}", end.seconds)).unwrap_or_default(),
    ]
}
