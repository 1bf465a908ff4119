//! Doing something under strace.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    examine::{self, import_arguments},
    fault,
    registry::Registry,
    scenario::{self, Action, Scenario},
    step::{MARK, Step, steps},
    trace::{self, Line},
    tree::Tree,
};

/// What the traced program is told: what to do, and where.
const TASK: &str = "LAGAN_CRASH_TASK";

/// Every store lies in a folder of this name: that it is created is a part of what is recorded.
pub(crate) const DATA: &str = "data";

/// Three days, in seconds: older than the grace period of a collection.
const AGE: u64 = 3 * 24 * 3600;

/// What was recorded of a scenario.
pub(crate) struct Recording {
    /// What was there before.
    pub(crate) base: Tree,
    pub(crate) steps: Vec<Step>,
    /// For each action, the step with which it was acknowledged.
    acknowledged: Vec<usize>,
}

impl Recording {
    /// How many actions were acknowledged before a step was over.
    pub(crate) fn done(&self, step: usize) -> usize {
        self.acknowledged.iter().filter(|at| **at <= step).count()
    }

    /// Does what a scenario says, and watches.
    pub(crate) async fn of(scenario: &Scenario) -> Self {
        let place = folder();
        prepare(place.path(), scenario).await;
        let base = Tree::read(place.path());
        let steps = Program::of(scenario, "do", place.path()).watch();
        let acknowledged = acknowledged(&steps, scenario.actions.len());
        assert!(!steps.is_empty());
        Self { base, steps, acknowledged }
    }
}

/// A program that does something to a folder.
pub(crate) struct Program {
    binary: PathBuf,
    arguments: Vec<String>,
    task: Option<String>,
    /// Without links.
    place: PathBuf,
}

/// What a program did while one of its calls failed.
pub(crate) struct Attempt {
    pub(crate) lines: Vec<Line>,
    pub(crate) steps: Vec<Step>,
    /// What it said when it failed.
    pub(crate) ended: Result<(), String>,
}

impl Program {
    /// One that does what a scenario says, in a way that [`traced`] knows.
    pub(crate) fn of(scenario: &Scenario, way: &str, place: &Path) -> Self {
        match &scenario.actions[..] {
            [Action::Import { from, .. }] => {
                let data = place.join(DATA).display().to_string();
                let arguments = import_arguments(from).into_iter().map(str::to_owned).chain([data]).collect();
                let binary = PathBuf::from(env!("CARGO_BIN_EXE_lagan"));
                Self { binary, arguments, task: None, place: place.canonicalize().unwrap() }
            }
            _ => Self::of_task(&format!("{way} {}", scenario.name), place),
        }
    }

    fn of_task(task: &str, place: &Path) -> Self {
        let arguments = ["--exact", "the_traced_program", "--ignored", "--nocapture", "--test-threads=1"];
        Self {
            binary: env::current_exe().unwrap(),
            arguments: arguments.map(str::to_owned).into(),
            task: Some(format!("{task} {}", place.display())),
            place: place.canonicalize().unwrap(),
        }
    }

    /// Runs it. It must not fail.
    fn watch(&self) -> Vec<Step> {
        let attempt = self.attempt(None);
        attempt.ended.unwrap_or_else(|said| panic!("{said}"));
        attempt.steps
    }

    /// Runs it; `inject` is what strace is to do to its calls.
    pub(crate) fn attempt(&self, inject: Option<&str>) -> Attempt {
        let log = tempfile::NamedTempFile::new().unwrap();
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let environment: Vec<(&str, &str)> = self.task.iter().map(|task| (TASK, task.as_str())).collect();
        let (lines, ended) = trace::run(log.path(), &self.binary, &arguments, &environment, inject);
        let steps = steps(&lines, self.root());
        Attempt { lines, steps, ended }
    }

    /// The folder, as a trace names it.
    pub(crate) fn root(&self) -> &str {
        self.place.to_str().unwrap()
    }
}

/// A folder for what is found after a crash: in memory, where there is any.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// What the recovery of each of some trees does. They are opened one after the other by one program.
pub(crate) fn recoveries(trees: &[&Tree]) -> Vec<Vec<Step>> {
    let place = folder();
    for (number, tree) in trees.iter().enumerate() {
        let folder = place.path().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        tree.write(&folder);
    }
    let all = Program::of_task(&format!("recover {}", trees.len()), place.path()).watch();
    let mut recoveries = vec![Vec::new(); trees.len()];
    let mut current = None;
    for step in all {
        match step {
            Step::Mark(word) => current = word.strip_prefix("recover ").map(|number| number.parse::<usize>().unwrap()),
            step => {
                let number = current.unwrap_or_else(|| panic!("before any recovery: {step:?}"));
                recoveries[number].extend(step.below(&number.to_string()));
            }
        }
    }
    recoveries
}

/// Does the rest of a scenario on what is there, after an action of it was interrupted, and watches.
pub(crate) fn resumption(tree: &Tree, scenario: &Scenario, from: usize) -> (Vec<Step>, Vec<usize>) {
    let place = folder();
    tree.write(place.path());
    let steps = Program::of_task(&format!("resume {} {from}", scenario.name), place.path()).watch();
    let mut acknowledged = acknowledged(&steps, scenario.actions.len());
    for at in &mut acknowledged[..from] {
        *at = 0;
    }
    (steps, acknowledged)
}

/// The step at which each action was acknowledged: its end; or that of a program that answers nobody.
fn acknowledged(steps: &[Step], actions: usize) -> Vec<usize> {
    let mut ends = vec![steps.len() - 1; actions];
    for (at, step) in steps.iter().enumerate() {
        if let Step::Mark(word) = step
            && let Some(number) = word.strip_prefix("end ")
        {
            ends[number.parse::<usize>().unwrap()] = at;
        }
    }
    ends
}

pub(crate) async fn prepare(place: &Path, scenario: &Scenario) {
    let data = place.join(DATA);
    if !scenario.before.is_empty() {
        let registry = Registry::open(&data).await.unwrap();
        for action in &scenario.before {
            action.ask(&registry, false).await.unwrap();
        }
        registry.close().await;
    }
    if let Some(digest) = &scenario.damaged {
        damage(&data, digest);
    }
    if scenario.aged {
        let now = u64::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec).unwrap();
        age(&data, SystemTime::UNIX_EPOCH + Duration::from_secs(now - AGE));
    }
}

/// Other bytes in a blob, a link that holds nothing, and a record that cannot be read.
fn damage(data: &Path, digest: &lagan::oci::Digest) {
    let hexadecimal = digest.hex();
    let blob = data.join(format!("docker/registry/v2/blobs/sha256/{}/{hexadecimal}/data", &hexadecimal[..2]));
    let mut bytes = fs::read(&blob).unwrap();
    examine::damage(&mut bytes);
    fs::write(&blob, bytes).unwrap();
    fs::write(data.join("docker/registry/v2/repositories/app/_manifests/tags/whole/current/link"), "").unwrap();
    let facts = fs::read_dir(data.join("lagan/v1/facts/app/_m")).unwrap();
    fs::write(facts.flatten().next().unwrap().path(), "{").unwrap();
}

fn age(folder: &Path, to: SystemTime) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.metadata().unwrap().is_dir() {
            age(&entry.path(), to);
        } else {
            fs::File::options().write(true).open(entry.path()).unwrap().set_modified(to).unwrap();
        }
    }
}

/// What runs under strace.
pub(crate) fn traced() {
    let Ok(task) = env::var(TASK) else { return };
    let words: Vec<&str> = task.split(' ').collect();
    match words[..] {
        ["do", name, place] => on_two_threads(go_on(name, None, place)),
        ["resume", name, from, place] => on_two_threads(go_on(name, Some(from.parse().unwrap()), place)),
        ["recover", count, place] => on_two_threads(recover(count.parse().unwrap(), place)),
        ["endure", name, place] => fault::endure(&named(name), &Path::new(place).join(DATA)),
        _ => panic!("no such task: {task}"),
    }
}

fn on_two_threads(task: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(task);
}

fn named(name: &str) -> Scenario {
    scenario::all().into_iter().find(|scenario| scenario.name == name).unwrap()
}

async fn recover(count: usize, place: &str) {
    for number in 0..count {
        mark(&format!("recover {number}"));
        // One that does not open is found when it is examined.
        if let Ok(registry) = Registry::open(&Path::new(place).join(number.to_string()).join(DATA)).await {
            registry.abandon().await;
        }
    }
}

/// Does what a scenario says, or the rest of it from the action that was interrupted.
async fn go_on(name: &str, interrupted: Option<usize>, place: &str) {
    let scenario = named(name);
    let registry = Registry::open(&Path::new(place).join(DATA)).await.unwrap();
    for (number, action) in scenario.actions.iter().enumerate().skip(interrupted.unwrap_or(0)) {
        mark(&format!("begin {number}"));
        action.ask(&registry, interrupted == Some(number)).await.unwrap();
        mark(&format!("end {number}"));
    }
    registry.close().await;
}

/// One write, so that it is one line of the trace.
pub(crate) fn mark(word: &str) {
    std::io::stderr().write_all(format!("{MARK}{word}\n").as_bytes()).unwrap();
}
