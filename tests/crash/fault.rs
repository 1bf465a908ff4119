//! One system call on the files fails while an operation is under way: each of them, with each error that it may have.
//!
//! strace makes it fail. What was refused is asked for again: by the same process, or by the next one where a sync failed,
//! after which a process takes no more writes. Both what is on the disk when something is refused and what is there in the
//! end is examined as after a power cut: a sync that failed made nothing durable.

use std::{
    collections::{HashMap, HashSet},
    env, fmt,
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use super::{
    cut::survivors,
    disk::Disk,
    examine::check_answers,
    recording::{Attempt, Program, folder, mark, prepare},
    registry::Registry,
    scenario::Scenario,
    search::{Found, enough, examine_each, spread},
    step::Step,
    trace::{Call, Line},
    tree::Tree,
};

/// How many points of a scenario are taken: of the calls that change something, and of those that only look.
const CHOSEN: [usize; 2] = [8, 3];

/// How many calls of each name the thread makes first whose calls are to fail. strace counts those of each thread: no other
/// one makes so many.
const FIRST: usize = 100;

/// Far longer than any scenario takes.
const PATIENCE: Duration = Duration::from_secs(100);

/// Said when an action was refused, or the store could not be opened.
const REFUSED: &str = "refused";
/// Said when a sync failed.
const POISONED: &str = "poisoned";
/// Said of what must not be.
const WRONG: &str = "wrong: ";

/// One call that fails.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Point {
    call: String,
    /// Which of the calls of that name that its thread makes, from 1.
    number: usize,
    error: &'static str,
}

/// Says which point it was, where a test panics.
struct Told(String);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while {}", self.0);
        }
    }
}

impl Point {
    fn inject(&self) -> String {
        format!("inject={}:error={}:when={}", self.call, self.error, self.number)
    }
}

/// What was looked at.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    all: usize,
    taken: usize,
    missed: usize,
    refused: usize,
    poisoned: usize,
    stores: usize,
}

/// Every fault point of one scenario, or some.
pub(crate) struct Faults {
    scenario: Arc<Scenario>,
    base: Tree,
    pub(crate) numbers: Numbers,
}

impl Faults {
    pub(crate) async fn of(mut scenario: Scenario) -> Self {
        scenario.may_lose_reports = true;
        let place = folder();
        prepare(place.path(), &scenario).await;
        Self { base: Tree::read(place.path()), scenario: Arc::new(scenario), numbers: Numbers::default() }
    }

    /// Lets calls fail, one in each run; what is wrong then.
    pub(crate) async fn run(&mut self) -> Vec<String> {
        let mut violations = Vec::new();
        for point in self.points() {
            self.numbers.taken += 1;
            violations.extend(self.play(&point).await.into_iter().map(|error| format!("{}: {error}", point.inject())));
            if violations.len() >= enough() {
                break;
            }
        }
        violations
    }

    fn attempt(&self, inject: Option<&str>) -> Attempt {
        let place = folder();
        self.base.write(place.path());
        Program::of(&self.scenario, "endure", place.path()).attempt(inject)
    }

    /// Those that are taken.
    fn points(&mut self) -> Vec<Point> {
        let place = folder();
        self.base.write(place.path());
        let program = Program::of(&self.scenario, "endure", place.path());
        let attempt = program.attempt(None);
        attempt.ended.unwrap_or_else(|said| panic!("{said}"));
        let points = points(&attempt.lines, program.root(), self.scenario.is_resumable());
        self.numbers.all = points.iter().map(Vec::len).sum();
        let counts = match env::var("LAGAN_CRASH_FAULTS").as_deref() {
            Ok("all") => [usize::MAX; 2],
            Ok(text) => [text.parse().unwrap(); 2],
            Err(_) => CHOSEN,
        };
        let chosen = points.iter().zip(counts).flat_map(|(points, count)| spread(points, count));
        chosen.cloned().collect()
    }

    async fn play(&mut self, point: &Point) -> Vec<String> {
        let _told = Told(format!("{}: {}", self.scenario.name, point.inject()));
        let attempt = self.attempt(Some(&point.inject()));
        let is_injected = |line: &Line| matches!(line, Line::End { call, .. } if call.was_injected());
        if !attempt.lines.iter().any(is_injected) {
            self.numbers.missed += 1;
            // Which thread makes how many calls is another thing each time where there are several.
            let is_expected = self.scenario.is_resumable();
            return is_expected.then(|| format!("{}: it did not come", self.scenario.name)).into_iter().collect();
        }
        let said =
            |word: &str| attempt.steps.iter().any(|step| matches!(step, Step::Mark(said) if said.starts_with(word)));
        self.numbers.refused += usize::from(said(REFUSED) || !self.scenario.is_resumable() && attempt.ended.is_err());
        self.numbers.poisoned += usize::from(said(POISONED));
        if let (true, Err(error)) = (self.scenario.is_resumable(), &attempt.ended) {
            return vec![format!("{}: {error}", self.scenario.name)];
        }
        let wrong = attempt.steps.iter().find_map(|step| match step {
            Step::Mark(said) => said.strip_prefix(WRONG),
            _ => None,
        });
        if let Some(wrong) = wrong {
            return vec![format!("{}: {wrong}", self.scenario.name)];
        }
        let found = self.found(&attempt, point);
        self.numbers.stores += found.len();
        examine_each(&self.scenario, &found, enough()).await
    }

    /// What may be found when something was refused, and in the end.
    fn found(&self, attempt: &Attempt, point: &Point) -> Vec<Found> {
        let mut disk = Disk::new(&self.base);
        let (mut done, mut found, mut seen) = (0, Vec::new(), HashSet::new());
        let mut look = |disk: &Disk, done: usize, when: &str| {
            let cut = survivors(disk, 0, 0).into_iter().map(Tree::restarted);
            for tree in cut.chain([disk.seen_tree()]) {
                if seen.insert((tree.fingerprint(), done)) {
                    found.push(Found { tree, done, when: format!("{}, {when}", point.inject()) });
                }
            }
        };
        for step in &attempt.steps {
            disk.apply(step, false);
            let Step::Mark(said) = step else { continue };
            if said.starts_with("end ") {
                done += 1;
            } else if said.starts_with(REFUSED) {
                look(&disk, done, said);
            }
        }
        // Who imports says nothing but how it ended.
        if !self.scenario.is_resumable() && attempt.ended.is_ok() {
            done = self.scenario.actions.len();
        }
        look(&disk, done, "at the end");
        found
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, taken, missed, refused, poisoned, stores } = self;
        write!(
            f,
            "{} of {all} calls failed: {refused} times something was refused, {poisoned} times every write from \
             then on; {stores} stores",
            taken - missed
        )
    }
}

/// Each call on what lies below a folder that can fail, with each error: those that change something, and the others. Where
/// it is one thread that makes them, no other one makes as many calls of that name.
fn points(lines: &[Line], root: &str, is_one_thread: bool) -> [Vec<Point>; 2] {
    let mut counts: HashMap<(u32, &str), usize> = HashMap::new();
    let begun = lines.iter().filter_map(|line| match line {
        Line::Begin { thread, call } => Some((*thread, call)),
        Line::End { .. } => None,
    });
    let numbered: Vec<(u32, &Call, usize)> = begun
        .map(|(thread, call)| {
            let number = counts.entry((thread, call.name.as_str())).or_default();
            *number += 1;
            (thread, call, *number)
        })
        .collect();
    let mut points = [Vec::new(), Vec::new()];
    let mut seen = HashSet::new();
    for (thread, call, number) in numbered.into_iter().filter(|(_, call, _)| call.speaks_of(root)) {
        let others = counts.iter().filter(|((other, name), _)| *other != thread && *name == call.name);
        let is_alone = others.map(|(_, count)| *count).max() < Some(number);
        let (kind, errors) = errors(call, is_one_thread);
        for error in errors.iter().filter(|_| is_alone || !is_one_thread) {
            let point = Point { call: call.name.clone(), number, error };
            if seen.insert(point.clone()) {
                points[kind].push(point);
            }
        }
    }
    for list in &mut points {
        list.sort_by(|one, other| (&one.call, one.number, one.error).cmp(&(&other.call, other.number, other.error)));
    }
    points
}

/// How a call may fail, and whether it only looks. Where threads cannot be told apart, what all of them do may not fail, or
/// the program does not start.
fn errors(call: &Call, is_one_thread: bool) -> (usize, &'static [&'static str]) {
    let creates = ["openat", "openat2", "open"].contains(&call.name.as_str())
        && call.arguments.iter().any(|argument| argument.contains("O_CREAT"));
    match call.name.as_str() {
        _ if creates && is_one_thread => (0, &["EIO", "ENOSPC"]),
        "write" | "pwrite64" | "ftruncate" | "fsync" | "fdatasync" | "syncfs" | "mkdirat" | "mkdir" | "rename"
        | "renameat" | "renameat2" => (0, &["EIO", "ENOSPC"]),
        "unlink" | "unlinkat" | "rmdir" | "utimensat" => (0, &["EIO"]),
        "openat" | "openat2" | "open" | "read" | "pread64" | "getdents64" | "statx" | "newfstatat" | "fstat"
            if is_one_thread =>
        {
            (1, &["EIO"])
        }
        _ => (1, &[]),
    }
}

/// Does what a scenario says, although a call fails. All files are handled by one thread, so that the calls of each run are
/// the same ones.
#[expect(clippy::exit, reason = "a thread that is stuck would be waited for")]
pub(crate) fn endure(scenario: &Scenario, data: &Path) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let builder = builder.max_blocking_threads(1).thread_keep_alive(10 * PATIENCE).enable_all();
    let runtime = builder.build().unwrap();
    let ended = runtime.block_on(async {
        tokio::task::spawn_blocking(make_first_calls).await.unwrap();
        tokio::time::timeout(PATIENCE, endure_all(scenario, data)).await
    });
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => mark(&format!("{WRONG}{error}")),
        Err(_) => mark(&format!("{WRONG}it is stuck")),
    }
    std::process::exit(0);
}

/// Of each call that is to fail, so many that the same number is none of another thread's.
fn make_first_calls() {
    for _ in 0..FIRST {
        let mut null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let mut none = [0];
        assert_eq!(null.read(&mut none).unwrap() + null.read_at(&mut none, 0).unwrap(), 0);
        null.write_all(&none).unwrap();
        null.metadata().unwrap();
        rustix::fs::fstat(&null).unwrap();
        rustix::fs::stat("/dev/null").unwrap();
        rustix::fs::Dir::read_from(File::open("/proc/self/task").unwrap()).unwrap().for_each(drop);
    }
}

async fn endure_all(scenario: &Scenario, data: &Path) -> Result<(), String> {
    let registry = match Registry::open(data).await {
        Ok(registry) => registry,
        Err(error) => {
            mark(&format!("{REFUSED} at the beginning: {error}"));
            Registry::open(data).await.map_err(|error| format!("opened again: {error}"))?
        }
    };
    for (number, action) in scenario.actions.iter().enumerate() {
        mark(&format!("begin {number}"));
        if let Err(error) = action.ask(&registry, false).await {
            mark(&format!("{REFUSED} {number}: {error}"));
            if registry.is_poisoned() {
                mark(POISONED);
                registry.abandon().await;
                return Ok(());
            }
            let answers = check_answers(&registry, scenario, number).await;
            answers.map_err(|wrong| format!("after {number} was refused ({error}): {wrong}"))?;
            let again = action.ask(&registry, true).await;
            again.map_err(|again| format!("{number} was refused ({error}) and asked for again: {again}"))?;
        }
        mark(&format!("end {number}"));
    }
    if let Err(error) = registry.try_to_close().await {
        mark(&format!("{REFUSED} at the end: {error}"));
    }
    Ok(())
}
