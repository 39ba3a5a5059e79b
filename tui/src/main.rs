//! `flow`, the program: one verb per file, and the readers of a run's events.
//!
//! It knows graphs, diagnostics and events, and never a tensor.

#![warn(clippy::print_stdout, clippy::print_stderr)] // they panic where nobody reads any more

mod command;
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
    /// Find every mistake of a graph without reading any weights.
    Check(command::check::CheckArguments),
    /// List the kinds of nodes, or say everything about one.
    Nodes(command::nodes::NodesArguments),
    /// Print a graph as a picture for Graphviz or Mermaid.
    Dag(command::dag::DagArguments),
    /// Say what a file of weights is, or how large adapters are.
    Inspect(command::inspect::InspectArguments),
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
    Cancelled = 130,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Run(arguments) => command::run::run(&arguments),
        Verb::Check(arguments) => command::check::check(&arguments),
        Verb::Nodes(arguments) => command::nodes::nodes(&arguments),
        Verb::Dag(arguments) => command::dag::dag(&arguments),
        Verb::Inspect(arguments) => command::inspect::inspect(&arguments),
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
