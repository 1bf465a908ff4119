//! The system calls of a program, as strace tells them.

use std::{collections::HashMap, fmt::Write as _, fs, path::Path, process::Command};

/// Longer than anything that is written here at once.
const STRING_LIMIT: &str = "16777216";

/// What the path of an open file ends with that has no name any more.
pub(crate) const DELETED: &str = " (deleted)";

/// One call, or one end of it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Its arguments as strace prints them; empty of one that only begins.
    pub(crate) arguments: Vec<String>,
    /// What it returned.
    pub(crate) result: String,
}

/// What happened, in order.
#[derive(Debug, Clone)]
pub(crate) enum Line {
    /// A call began in a thread, with the arguments it was given.
    Begin { thread: u32, call: Call },
    /// The same call ended.
    End { thread: u32, call: Call },
}

/// Runs a program under strace, and returns what it and its threads did, and what it said if it failed. `inject` is what
/// strace is to do to its calls.
pub(crate) fn run(
    log: &Path,
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    inject: Option<&str>,
) -> (Vec<Line>, Result<(), String>) {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-xx", "--seccomp-bpf", "-s", STRING_LIMIT, "-o"]).arg(log);
    command.args(["-e", "signal=none", "-e", "trace=%file,%desc,sync,io_uring_setup"]);
    command.args(inject.iter().flat_map(|fault| ["-e", fault]));
    command.arg(program).args(arguments).envs(environment.iter().copied());
    let done = command.output().unwrap_or_else(|error| panic!("strace: {error}; tests/cluster/tools installs it"));
    let said = || {
        let (said, printed) = (String::from_utf8_lossy(&done.stderr), String::from_utf8_lossy(&done.stdout));
        format!("{} ended with {}: {said}{printed}", program.display(), done.status)
    };
    let ended = if done.status.success() { Ok(()) } else { Err(said()) };
    (parse(&fs::read_to_string(log).unwrap()), ended)
}

fn parse(text: &str) -> Vec<Line> {
    let mut begun: HashMap<u32, String> = HashMap::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no thread in {line:?}"));
        let thread: u32 = thread.parse().unwrap();
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(beginning) = rest.strip_suffix(" <unfinished ...>") {
            lines.push(Line::Begin { thread, call: call(beginning, "?") });
            begun.insert(thread, beginning.to_owned());
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, end) = resumed.split_once(" resumed>").unwrap();
            let whole = begun.remove(&thread).unwrap() + end;
            lines.push(Line::End { thread, call: whole_call(&whole) });
        } else {
            let call = whole_call(rest);
            lines.push(Line::Begin { thread, call: call.clone() });
            lines.push(Line::End { thread, call });
        }
    }
    lines
}

fn whole_call(text: &str) -> Call {
    let (head, result) = text.rsplit_once(" = ").unwrap_or((text, "?"));
    call(head.trim_end().strip_suffix(')').unwrap_or(head), result)
}

fn call(text: &str, result: &str) -> Call {
    let (name, arguments) = text.split_once('(').unwrap_or((text, ""));
    Call { name: name.to_owned(), arguments: split(arguments), result: result.to_owned() }
}

/// Splits at the commas that nothing encloses. Text and paths hold none: they are hexadecimal.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_i32);
    for character in text.chars() {
        match character {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

impl Call {
    /// Whether it did what it was to do.
    pub(crate) fn succeeded(&self) -> bool {
        !self.result.starts_with('-') && !self.result.starts_with('?')
    }

    /// Whether strace let it fail.
    pub(crate) fn was_injected(&self) -> bool {
        self.result.contains("INJECTED")
    }

    /// An argument; empty where there is none.
    pub(crate) fn argument(&self, at: usize) -> &str {
        self.arguments.get(at).map_or("", String::as_str)
    }

    /// The number that an argument or the result begins with.
    pub(crate) fn number(text: &str) -> u64 {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("no number: {text:?}"))
    }

    /// The bytes of an argument that is text.
    pub(crate) fn bytes(&self, at: usize) -> Vec<u8> {
        let text = self.argument(at);
        let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        unescape(quoted.unwrap_or_else(|| panic!("{} has no whole text at {at}: {:.80}", self.name, text)))
    }

    /// The path of the open file that an argument names; `None` where it names none.
    pub(crate) fn opened(&self, at: usize) -> Option<String> {
        let text = self.argument(at);
        let (path, rest) = text.split_once('<')?.1.split_once('>')?;
        let path =
            if path.contains("\\x") { String::from_utf8_lossy(&unescape(path)).into_owned() } else { path.to_owned() };
        Some(if rest.starts_with("(deleted)") { format!("{path}{DELETED}") } else { path })
    }

    /// The path that a folder and a name in it give.
    pub(crate) fn path(&self, folder: usize, name: usize) -> String {
        let name = String::from_utf8_lossy(&self.bytes(name)).into_owned();
        let folder = self.opened(folder).unwrap_or_default();
        match name.as_str() {
            "" | "." => folder,
            absolute if absolute.starts_with('/') => name,
            _ => format!("{folder}/{name}"),
        }
    }

    /// Whether it speaks of anything below a folder.
    pub(crate) fn speaks_of(&self, root: &str) -> bool {
        let mut hexadecimal = String::new();
        for byte in root.bytes() {
            write!(hexadecimal, "\\x{byte:02x}").unwrap();
        }
        self.arguments.iter().any(|argument| argument.contains(&hexadecimal))
    }
}

fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x")
        .skip(1)
        .map(|pair| u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("not hexadecimal: {pair:?}")))
        .collect()
}
