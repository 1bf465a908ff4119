//! The command line: one file a subcommand, and what they share.
//!
//! This layer wires the others together. It owns the process: the clock, the configuration, the log, the signals,
//! the exit code. Nothing else does.

mod clock;
mod completion;
mod config;
mod crd;
mod credentials;
mod exit;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gc;
mod image;
mod import;
mod listener;
mod local_registry;
mod local_socket;
mod object_storage;
mod objects;
mod operator;
mod output;
mod pace;
mod probes;
mod progress;
mod redis;
mod registry;
mod registry_client;
mod registry_folder;
mod registry_server;
mod registry_target;
mod retention;
mod run_outcome;
mod scrub;
mod secret_file;
mod serve;
mod shutdown;
mod site_policy;
mod span_export;
mod storage_fault;
mod telemetry;
mod trash;
mod up;
mod version;
mod yaml;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};

use exit::{Exit, exit_of};

const ABOUT: &str = "Container registries with undelete and retention policies";

const EXIT_CODES: &str = "Exit codes:
  0   done
  1   failed
  64  the command line, a configuration or an object is wrong; nothing was done
  65  damage was found, and is still there
  69  the registry does not answer, or its object store does not
  75  it stopped before it changed anything, and goes on when somebody confirms
  77  the object store refuses the credentials";

/// What the user typed.
#[derive(Debug, Parser)]
#[command(name = "lagan", version, about = ABOUT, after_help = EXIT_CODES, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Operator(operator::Arguments),
    Serve(serve::Arguments),
    Up(up::Arguments),
    Trash(trash::Arguments),
    Retention(retention::Arguments),
    Gc(gc::Arguments),
    Scrub(scrub::Arguments),
    Import(import::Arguments),
    Crd(crd::Arguments),
    Completion(completion::Arguments),
    /// Print the program's version.
    Version,
}

/// Does what the command line says, and says on standard error what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(help) => {
            let exit = if help.use_stderr() { Exit::Usage } else { Exit::Done };
            // Nothing can be done about a terminal that is gone.
            let _ = help.print();
            return exit.into();
        }
    };
    match dispatch(command) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            let _ = writeln!(io::stderr(), "lagan: {error:#}");
            exit_of(&error).into()
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    // The provider is the process's choice; that one was chosen before is no harm.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match command {
        Command::Operator(arguments) => block_on(operator::run(arguments)),
        Command::Serve(arguments) => block_on(serve::run(arguments)),
        Command::Up(arguments) => block_on(up::run(arguments)),
        Command::Trash(arguments) => block_on(trash::run(arguments)),
        Command::Retention(arguments) => block_on(retention::run(arguments)),
        Command::Gc(arguments) => block_on(gc::run(arguments)),
        Command::Scrub(arguments) => block_on(scrub::run(arguments)),
        Command::Import(arguments) => block_on(import::run(arguments)),
        Command::Crd(arguments) => crd::run(&arguments),
        Command::Completion(arguments) => completion::run(&arguments),
        Command::Version => version::run(),
    }
}

/// Runs a command that waits for the network or the disk. What it leaves behind is cut off when it answers.
fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("could not start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
