//! `lagan completion bash|zsh|fish`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{CommandLine, output};

/// Print a script that completes the program's command line.
///
/// bash: `lagan completion bash > /etc/bash_completion.d/lagan`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell to complete in.
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// If standard output cannot be written to.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "lagan", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
