//! What a trace did to the files below a folder.

use std::collections::HashSet;

use super::trace::{Call, DELETED, Line};

/// One thing that happened, with paths below the folder that was looked at.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create {
        path: String,
    },
    Write {
        path: String,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// A write at the end.
    Append {
        path: String,
        bytes: Vec<u8>,
    },
    Truncate {
        path: String,
        length: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    Mkdir {
        path: String,
    },
    /// Its age was set, in whole seconds; to the present without.
    Touch {
        path: String,
        seconds: Option<u64>,
    },
    /// A sync began: what it is to cover is what was visible then.
    SyncBegin {
        thread: u32,
        path: String,
        kind: Sync,
    },
    SyncEnd {
        thread: u32,
    },
    /// What the traced program says of itself.
    Mark(String),
}

impl Step {
    /// The same with paths below a folder; nothing of what is not in it.
    pub(crate) fn below(self, folder: &str) -> Option<Self> {
        let cut = |path: String| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
        Some(match self {
            Self::Create { path } => Self::Create { path: cut(path)? },
            Self::Write { path, offset, bytes } => Self::Write { path: cut(path)?, offset, bytes },
            Self::Append { path, bytes } => Self::Append { path: cut(path)?, bytes },
            Self::Truncate { path, length } => Self::Truncate { path: cut(path)?, length },
            Self::Rename { from, to } => Self::Rename { from: cut(from)?, to: cut(to)? },
            Self::Remove { path } => Self::Remove { path: cut(path)? },
            Self::Mkdir { path } => Self::Mkdir { path: cut(path)? },
            Self::Touch { path, seconds } => Self::Touch { path: cut(path)?, seconds },
            Self::SyncBegin { thread, path, kind } => Self::SyncBegin { thread, path: cut(path)?, kind },
            other @ (Self::SyncEnd { .. } | Self::Mark(_)) => other,
        })
    }
}

/// What makes things durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sync {
    /// `fsync`, of a file or a folder.
    Everything,
    /// `fdatasync`.
    Data,
    /// `syncfs`, of all files.
    FileSystem,
}

/// Said before each word of [`Step::Mark`].
pub(crate) const MARK: &str = "crash-test: ";

/// Calls that change no file, whatever they are given.
const HARMLESS: [&str; 37] = [
    "read",
    "pread64",
    "readv",
    "preadv",
    "newfstatat",
    "fstat",
    "stat",
    "lstat",
    "statx",
    "lseek",
    "getdents64",
    "close",
    "flock",
    "fcntl",
    "epoll_ctl",
    "ioctl",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "dup",
    "dup3",
    "statfs",
    "fstatfs",
    "fadvise64",
    "chdir",
    "getcwd",
    "execve",
    "connect",
    "bind",
    "name_to_handle_at",
    "inotify_add_watch",
    "getxattr",
    "lgetxattr",
    "poll",
    "epoll_wait",
];

/// The steps of a trace below `root`, an absolute path. A call that might change something and is not known fails. A sync
/// that failed never ends.
pub(crate) fn steps(lines: &[Line], root: &str) -> Vec<Step> {
    let mut reader = Reader { root, steps: Vec::new(), syncing: HashSet::new() };
    for line in lines {
        match line {
            Line::Begin { thread, call } => reader.begin(*thread, call),
            Line::End { thread, call } => reader.end(*thread, call),
        }
    }
    in_order(reader.steps)
}

/// Threads do things at the same time, and strace tells of them in any order: a folder may come after what is in it.
fn in_order(mut steps: Vec<Step>) -> Vec<Step> {
    for at in 0..steps.len() {
        let Step::Mkdir { path } = &steps[at] else { continue };
        let inside = format!("{path}/");
        let gone = steps[..at].iter().rposition(|step| step.takes(path));
        let since = gone.map_or(0, |gone| gone + 1);
        let early = |step: &Step| step.makes().is_some_and(|path| path.starts_with(&inside));
        if let Some(first) = steps[since..at].iter().position(early) {
            let folder = steps.remove(at);
            steps.insert(since + first, folder);
        }
    }
    steps
}

impl Step {
    /// What is there after it, if something is.
    fn makes(&self) -> Option<&str> {
        match self {
            Self::Create { path } | Self::Mkdir { path } | Self::Rename { to: path, .. } => Some(path),
            _ => None,
        }
    }

    /// Whether a folder is gone after it, by itself or with one that it lies in.
    fn takes(&self, folder: &str) -> bool {
        match self {
            Self::Remove { path } => path == folder,
            Self::Rename { from, .. } => {
                folder.strip_prefix(from).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            _ => false,
        }
    }
}

struct Reader<'a> {
    root: &'a str,
    steps: Vec<Step>,
    syncing: HashSet<u32>,
}

impl Reader<'_> {
    /// The path below the root, if it is there. What has no name any more has no path.
    fn below(&self, path: &str) -> Option<String> {
        if path.ends_with(DELETED) {
            return None;
        }
        let rest = path.strip_prefix(self.root)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/').to_owned())
    }

    fn begin(&mut self, thread: u32, call: &Call) {
        let kind = match call.name.as_str() {
            "fsync" => Sync::Everything,
            "fdatasync" => Sync::Data,
            "syncfs" | "sync" => Sync::FileSystem,
            _ => return,
        };
        if let Some(path) = call.opened(0).and_then(|path| self.below(&path)) {
            self.syncing.insert(thread);
            self.steps.push(Step::SyncBegin { thread, path, kind });
        }
    }

    fn end(&mut self, thread: u32, call: &Call) {
        if matches!(call.name.as_str(), "fsync" | "fdatasync" | "syncfs" | "sync") {
            if self.syncing.remove(&thread) {
                assert!(call.succeeded() || call.was_injected(), "a sync failed: {call:?}");
                self.steps.extend(call.succeeded().then_some(Step::SyncEnd { thread }));
            }
            return;
        }
        if let Some(said) = said(call) {
            self.steps.push(said);
        }
        if !call.succeeded() || !call.speaks_of(self.root) {
            return;
        }
        let found = self.change(call);
        self.steps.extend(found);
    }

    fn change(&self, call: &Call) -> Vec<Step> {
        let at = |folder, name| self.below(&call.path(folder, name));
        let named = |name| self.below(&String::from_utf8_lossy(&call.bytes(name)));
        let one = |step: Option<Step>| -> Vec<Step> { step.into_iter().collect() };
        match call.name.as_str() {
            "open" => Self::opening(named(0), call.argument(1)),
            "openat" | "openat2" => Self::opening(at(0, 1), call.argument(2)),
            "pwrite64" => one(self.write(call)),
            "write" => one(self.append(call)),
            "ftruncate" => {
                one(self.opened(call).map(|path| Step::Truncate { path, length: Call::number(call.argument(1)) }))
            }
            "mkdir" => one(named(0).map(|path| Step::Mkdir { path })),
            "mkdirat" => one(at(0, 1).map(|path| Step::Mkdir { path })),
            "unlink" | "rmdir" => one(named(0).map(|path| Step::Remove { path })),
            "unlinkat" => one(at(0, 1).map(|path| Step::Remove { path })),
            "rename" => Self::rename(call, named(0), named(1)),
            "renameat" => Self::rename(call, at(0, 1), at(2, 3)),
            "renameat2" if call.argument(4) == "0" || call.argument(4) == "RENAME_NOREPLACE" => {
                Self::rename(call, at(0, 1), at(2, 3))
            }
            "utimensat" if call.argument(1) == "NULL" => {
                one(self.opened(call).map(|path| Step::Touch { path, seconds: modified(call) }))
            }
            "utimensat" => one(at(0, 1).map(|path| Step::Touch { path, seconds: modified(call) })),
            "mmap" => {
                let writes = call.argument(2).contains("PROT_WRITE") && call.argument(3).contains("MAP_SHARED");
                assert!(!writes, "a file is written through memory: {call:?}");
                Vec::new()
            }
            name if HARMLESS.contains(&name) => Vec::new(),
            _ => panic!("nobody knows what this does to the files: {call:?}"),
        }
    }

    fn opening(path: Option<String>, flags: &str) -> Vec<Step> {
        let Some(path) = path else { return Vec::new() };
        assert!(!flags.contains("O_TMPFILE"), "a file without a name: {path}");
        let mut steps = Vec::new();
        if flags.contains("O_CREAT") {
            steps.push(Step::Create { path: path.clone() });
        }
        if flags.contains("O_TRUNC") {
            steps.push(Step::Truncate { path, length: 0 });
        }
        steps
    }

    fn opened(&self, call: &Call) -> Option<String> {
        call.opened(0).and_then(|path| self.below(&path))
    }

    fn write(&self, call: &Call) -> Option<Step> {
        let path = self.opened(call)?;
        let mut bytes = call.bytes(1);
        bytes.truncate(usize::try_from(Call::number(&call.result)).unwrap());
        Some(Step::Write { path, offset: Call::number(call.argument(3)), bytes })
    }

    /// A write where the last one ended. Whoever writes so here has just created or emptied the file.
    fn append(&self, call: &Call) -> Option<Step> {
        let path = self.opened(call)?;
        let mut bytes = call.bytes(1);
        bytes.truncate(usize::try_from(Call::number(&call.result)).unwrap());
        Some(Step::Append { path, bytes })
    }

    fn rename(call: &Call, from: Option<String>, to: Option<String>) -> Vec<Step> {
        match (from, to) {
            (Some(from), Some(to)) => vec![Step::Rename { from, to }],
            _ => panic!("something was moved in or out: {call:?}"),
        }
    }
}

/// What a call says to who traces it.
fn said(call: &Call) -> Option<Step> {
    if call.name != "write" {
        return None;
    }
    let text = String::from_utf8_lossy(&first_bytes(call)).into_owned();
    text.strip_prefix(MARK).map(|word| Step::Mark(word.trim().to_owned()))
}

/// The first text among the arguments of a call.
fn first_bytes(call: &Call) -> Vec<u8> {
    let text = call.argument(1);
    let hexadecimal = text.split('"').nth(1).unwrap_or_default();
    let pairs = hexadecimal.split("\\x").skip(1).take(256);
    pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

/// The seconds of the second time of `[{…}, {tv_sec=S, tv_nsec=N}]`; none where that is the present.
fn modified(call: &Call) -> Option<u64> {
    let times = call.argument(2);
    if times.trim_end_matches(']').ends_with("UTIME_NOW") || times == "NULL" {
        return None;
    }
    Some(Call::number(times.rsplit_once("tv_sec=").unwrap_or_else(|| panic!("no time: {call:?}")).1))
}

#[test]
fn a_folder_comes_before_what_is_in_it() {
    let mkdir = |path: &str| Step::Mkdir { path: path.to_owned() };
    let create = |path: &str| Step::Create { path: path.to_owned() };
    let gone = |path: &str| Step::Remove { path: path.to_owned() };
    let told = vec![
        create("x"),
        create("a/b/c"),
        mkdir("a/b"),
        mkdir("a"),
        gone("a/b/c"),
        gone("a/b"),
        create("ab"),
        mkdir("a/b"),
    ];
    let expected = vec![
        create("x"),
        mkdir("a"),
        mkdir("a/b"),
        create("a/b/c"),
        gone("a/b/c"),
        gone("a/b"),
        create("ab"),
        mkdir("a/b"),
    ];
    assert_eq!(format!("{:?}", in_order(told)), format!("{expected:?}"));
}

#[test]
fn a_folder_that_was_moved_away_comes_again_behind_that() {
    let mkdir = |path: &str| Step::Mkdir { path: path.to_owned() };
    let away = Step::Rename { from: "a/b".to_owned(), to: "staging/1".to_owned() };
    let told = vec![mkdir("a/b"), mkdir("a/b/c"), away, mkdir("a/b"), mkdir("a/b/c")];
    assert_eq!(format!("{:?}", in_order(told.clone())), format!("{told:?}"));
}
