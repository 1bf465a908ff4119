//! `lagan retention convert`

mod convert;

use clap::{Args, Subcommand};

/// Look at what policies do, and write them.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Convert(convert::Arguments),
}

/// Does what `lagan retention` was asked to.
///
/// # Errors
/// What each action says.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Convert(arguments) => convert::run(arguments),
    }
}
