//! `flow lock GRAPH`: writes down what its results depend on, in `GRAPH.lock.ron`.

use clap::Args;
use flow_engine::{Diagnostic, Events, Lock, Problem, Ready, Session, Stop, Wanted, file};

use crate::open::{GraphArguments, SettingsArguments, one};
use crate::show::diagnostics::count;
use crate::show::out;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct LockArguments {
    #[command(flatten)]
    graph: GraphArguments,
    #[command(flatten)]
    settings: SettingsArguments,
}

pub fn lock(arguments: &LockArguments) -> Ending {
    let session = arguments.graph.session(&arguments.settings)?.with_store();
    let ready = arguments.graph.ready(&session, Wanted::default())?;
    let lock = Lock::of(&ready, &session, &Events::silent(), &Stop::default()).map_err(one)?;
    let path = Lock::beside(&arguments.graph.graph);
    file::write_if_changed(&path, lock.to_ron().map_err(one)?.as_bytes()).map_err(one)?;
    let (nodes, files) = (count(lock.nodes.len(), "node"), count(lock.files.len(), "file"));
    out::print(&format!("{}: {nodes}, {files}\n", path.display())).map_err(one)?;
    Ok(Exit::Done)
}

/// Holds a graph to the lock beside it.
///
/// # Errors
/// A lock that is not there, and everything that is not as it says.
pub fn hold(arguments: &GraphArguments, ready: &Ready<'_>, session: &Session) -> Result<(), Vec<Diagnostic>> {
    let path = Lock::beside(&arguments.graph);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let problem = Problem::new(format!("cannot read {}: {error}", path.display()));
        one(problem.hint(format!("`flow lock {}` writes it", arguments.graph.display())).into())
    })?;
    let locked = Lock::from_ron(&text)
        .map_err(|error| one(error.context(format!("{} is no lock", path.display()))))?;
    let now = Lock::of(ready, session, &Events::silent(), &Stop::default()).map_err(one)?;
    let differences = locked.differences(&now);
    if differences.is_empty() {
        return Ok(());
    }
    let hint = format!("`flow lock {}` locks what is there now", arguments.graph.display());
    Err(differences.into_iter().map(|difference| Diagnostic::error(difference).hint(&hint)).collect())
}
