//! Running another program.

use std::{
    ffi::OsStr,
    fmt,
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

/// A program with its arguments, its environment and what it reads.
///
/// A program that is missing fails the test: `tests/run` installs it.
pub(crate) struct Program {
    command: Command,
    line: String,
    input: Option<Vec<u8>>,
}

impl Program {
    pub(crate) fn new(name: impl AsRef<OsStr>) -> Self {
        let line = name.as_ref().to_string_lossy().into_owned();
        Self { command: Command::new(name), line, input: None }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.line.push(' ');
        self.line.push_str(&argument.as_ref().to_string_lossy());
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Program::arg)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn folder(mut self, folder: &std::path::Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Runs to the end, whatever it is.
    pub(crate) fn output(mut self) -> Output {
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("could not run {}: {error}; `tests/run` installs it", self.line));
        let stdin = child.stdin.take();
        let input = self.input.unwrap_or_default();
        let output = thread::scope(|scope| {
            // At the same time: a program that waits for its output to be read reads no input.
            scope.spawn(move || {
                // A program may end without reading everything; how it ended is what counts.
                stdin.map(|mut stdin| stdin.write_all(&input))
            });
            child.wait_with_output().unwrap()
        });
        Output {
            line: self.line,
            status: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts it and leaves it running.
    pub(crate) fn start(mut self) -> std::process::Child {
        self.command
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("could not run {}: {error}; `tests/run` installs it", self.line))
    }

    /// Like [`Program::start`], with what it prints in a file.
    pub(crate) fn start_logging(mut self, log: &std::path::Path) -> std::process::Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        self.command.stdout(log.try_clone().unwrap()).stderr(log);
        self.start()
    }

    /// Runs it, and fails the test unless it ends well.
    ///
    /// # Returns
    ///
    /// What it printed, without the newline at the end.
    pub(crate) fn succeeds(self) -> String {
        let output = self.output();
        assert!(output.is_success(), "{output}");
        output.text()
    }

    /// Runs it, and fails the test if it ends well.
    ///
    /// # Returns
    ///
    /// What it complained of.
    pub(crate) fn fails(self) -> String {
        let output = self.output();
        assert!(!output.is_success(), "this should have failed: {output}");
        output.stderr
    }
}

/// What became of a program.
pub(crate) struct Output {
    line: String,
    status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn is_success(&self) -> bool {
        self.status == Some(0)
    }

    /// What it printed, without the newline at the end.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// What it printed if it ended well, else all about its failure.
    pub(crate) fn into_result(self) -> Result<String, String> {
        if self.is_success() { Ok(self.text()) } else { Err(self.to_string()) }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}` ended with {:?}", self.line, self.status)?;
        write!(f, "{}{}", self.text(), self.stderr)
    }
}
