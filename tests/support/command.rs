//! The program under test, to be run.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

/// Where it is: `LAGAN_BINARY`, if that is in the environment, else what was built with the test.
pub(crate) fn binary() -> String {
    env::var("LAGAN_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_lagan").to_owned())
}

/// `lagan serve` with the `serve.yaml` of a folder, to be completed. What it writes goes into `log` there, and it dies
/// with the thread that starts it, even if that is killed.
pub(crate) fn serve(folder: &Path) -> Command {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", &binary(), "serve", "--config"]).arg(folder.join("serve.yaml"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}
