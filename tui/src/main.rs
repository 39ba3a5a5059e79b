//! `flow`, the program: one verb per file, and the readers of a run's events.
//!
//! It knows graphs, diagnostics and events, and never a tensor.

#![warn(clippy::print_stdout, clippy::print_stderr)] // they panic where nobody reads any more

mod command;
mod dashboard;
mod open;
mod show;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flow_engine::Diagnostic;

/// Run node graphs that personalize text-to-image models.
#[derive(Parser)]
#[command(name = "flow", version, arg_required_else_help = true, infer_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a graph.
    Run(command::run::RunArguments),
    /// Run a graph on a screen, show a run again, or look at the run of another process.
    Dash(command::dash::DashArguments),
    /// Find every mistake of a graph without reading any weights.
    Check(command::check::CheckArguments),
    /// Say what would run, why, and how long it will take.
    Plan(command::plan::PlanArguments),
    /// Say everything that decides a node's result, and whether it is stored.
    Explain(command::explain::ExplainArguments),
    /// Compare two graphs or two runs by what they mean.
    Diff(command::diff::DiffArguments),
    /// Write down what a graph's results depend on, to hold later runs to it.
    Lock(command::lock::LockArguments),
    /// Print the graph that a script makes, as a graph file.
    Expand(command::expand::ExpandArguments),
    /// Give graph files their one layout.
    Fmt(command::fmt::FmtArguments),
    /// Write what editors need to complete and check graphs.
    Schema(command::schema::SchemaArguments),
    /// List the runs of a project.
    Runs(command::runs::RunsArguments),
    /// Print a run again.
    Replay(command::replay::ReplayArguments),
    /// Look after stored results.
    Store(command::store::StoreArguments),
    /// List the kinds of nodes, or say everything about one.
    Nodes(command::nodes::NodesArguments),
    /// Print a graph as a picture for Graphviz or Mermaid.
    Dag(command::dag::DagArguments),
    /// Say what a file of weights is, or how large adapters are.
    Inspect(command::inspect::InspectArguments),
    /// Ask people blindly whose pictures they prefer, and count what they say.
    Survey(command::survey::SurveyArguments),
    /// Print the completions for a shell.
    Completions(command::completions::CompletionsArguments),
}

/// How a verb ends: an exit code, or everything that is wrong with what it was given.
type Ending = Result<Exit, Vec<Diagnostic>>;

/// What the program's exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done = 0,
    NodeFailed = 1,
    Invalid = 2,
    Partial = 4,
    Cancelled = 130,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lets freed memory wait before the system gets it back.
///
/// A training step frees in the end what the next one takes at once, and the system clears every page on the way. With the
/// allocator's own second, ten steps of SDXL's widths had 228,000 page faults, with these ten 27,000.
/// `MIMALLOC_PURGE_DELAY` says another time, in milliseconds.
fn settle_memory() {
    /// `mi_option_purge_delay`, which the crate has no name for.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const MILLISECONDS: std::ffi::c_long = 10_000;
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
        return;
    }
    #[expect(unsafe_code, reason = "a call into C")]
    // SAFETY: the option is one that this release of mimalloc has, and any time is a value of it.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, MILLISECONDS);
    }
}

/// The number of threads for everything, and how long candle's own wait for work, in the variables in which they are looked
/// for.
///
/// candle asks for the first in every product, and where the variable is not set it reads `/proc/cpuinfo` each time: most of
/// the time of a small model's training step. Its threads for sums and the like turn in circles after each, for a
/// millisecond on some processors, and keep a core from the products: a tenth of a training step of SDXL's widths.
fn settle_threads() {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = num_cpus::get_physical().min(allowed).max(1);
    settle("RAYON_NUM_THREADS", threads);
    settle("CANDLE_BARRIER_POOL_SPIN_LIMIT", 1);
}

/// Sets a variable that nobody has set.
fn settle(variable: &str, value: usize) {
    if std::env::var_os(variable).is_some() {
        return;
    }
    #[expect(unsafe_code, reason = "the environment is shared by all threads")]
    // SAFETY: this is the first thing that the program does, and there is no other thread yet.
    unsafe {
        std::env::set_var(variable, value.to_string());
    }
}

fn main() -> ExitCode {
    settle_threads();
    settle_memory();
    let result = match Arguments::parse().verb {
        Verb::Run(arguments) => command::run::run(&arguments),
        Verb::Dash(arguments) => command::dash::dash(arguments),
        Verb::Check(arguments) => command::check::check(&arguments),
        Verb::Plan(arguments) => command::plan::plan(&arguments),
        Verb::Explain(arguments) => command::explain::explain(&arguments),
        Verb::Diff(arguments) => command::diff::diff(&arguments),
        Verb::Lock(arguments) => command::lock::lock(&arguments),
        Verb::Expand(arguments) => command::expand::expand(&arguments),
        Verb::Fmt(arguments) => command::fmt::fmt(&arguments),
        Verb::Schema(arguments) => command::schema::schema(&arguments),
        Verb::Runs(arguments) => command::runs::runs(&arguments),
        Verb::Replay(arguments) => command::replay::replay(&arguments),
        Verb::Store(arguments) => command::store::store(&arguments),
        Verb::Nodes(arguments) => command::nodes::nodes(&arguments),
        Verb::Dag(arguments) => command::dag::dag(&arguments),
        Verb::Inspect(arguments) => command::inspect::inspect(&arguments),
        Verb::Survey(arguments) => command::survey::survey(&arguments),
        Verb::Completions(arguments) => command::completions::completions::<Arguments>(&arguments),
    };
    let exit = result.unwrap_or_else(|problems| {
        show::diagnostics::print(&problems);
        Exit::Invalid
    });
    ExitCode::from(exit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
