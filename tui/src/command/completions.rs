//! `flow completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::open::one;
use crate::show::out;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct CompletionsArguments {
    /// The shell to complete for.
    shell: Shell,
}

pub fn completions<Program: CommandFactory>(arguments: &CompletionsArguments) -> Ending {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Program::command(), "flow", &mut script);
    out::print(&String::from_utf8_lossy(&script)).map_err(one)?;
    Ok(Exit::Done)
}
