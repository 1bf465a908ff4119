//! The `lagan` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    lagan::cli::main()
}
