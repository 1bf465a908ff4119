//! How long a program takes, and how much memory.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::memory::kib;

/// How often to look at a process: its largest memory is what the system remembers, so that only its end may be missed.
const LOOK: Duration = Duration::from_millis(10);

/// What a program took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) time: Duration,
    /// In bytes.
    pub(crate) most_resident: u64,
    pub(crate) exit: Option<i32>,
}

/// Runs a program to its end; what it printed, and what it took.
pub(crate) fn run(command: &mut Command) -> (String, Measured) {
    let [output, errors] = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
    command.stdin(Stdio::null()).stdout(output.reopen().unwrap()).stderr(errors.reopen().unwrap());
    let began = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let mut most_resident = 0;
    loop {
        most_resident = most_resident.max(self::most_resident(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            let measured = Measured { time: began.elapsed(), most_resident, exit: status.code() };
            if !status.success() {
                eprintln!("{}", fs::read_to_string(errors.path()).unwrap_or_default());
            }
            return (fs::read_to_string(output.path()).unwrap_or_default(), measured);
        }
        thread::sleep(LOOK);
    }
}

/// The most that a process has had resident so far, in bytes; 0 when it is gone.
pub(crate) fn most_resident(process: u32) -> u64 {
    kib(process, "VmHWM").unwrap_or_default() * 1024
}
