//! `flow completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use flow_engine::Result;

use crate::Exit;

#[derive(Args)]
pub struct CompletionsArguments {
    /// The shell to complete for.
    shell: Shell,
}

pub fn completions<Program: CommandFactory>(arguments: &CompletionsArguments) -> Result<Exit> {
    clap_complete::generate(arguments.shell, &mut Program::command(), "flow", &mut std::io::stdout());
    Ok(Exit::Done)
}
