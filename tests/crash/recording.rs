//! Doing something under strace.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    examine::import_arguments,
    registry::Registry,
    scenario::{self, Action, Scenario},
    step::{MARK, Step, steps},
    trace,
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
        let steps = match &scenario.actions[..] {
            [Action::Import { from, .. }] => {
                let data = place.path().join(DATA);
                let arguments = [&import_arguments(from)[..], &[data.to_str().unwrap()]].concat();
                let binary = PathBuf::from(env!("CARGO_BIN_EXE_lagan"));
                watch(place.path(), &binary, &arguments, &[])
            }
            _ => watch_task(place.path(), &format!("do {}", scenario.name)),
        };
        let acknowledged = acknowledged(&steps, scenario.actions.len());
        assert!(!steps.is_empty());
        Self { base, steps, acknowledged }
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
    let all = watch_task(place.path(), &format!("recover {}", trees.len()));
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
    let steps = watch_task(place.path(), &format!("resume {} {from}", scenario.name));
    let mut acknowledged = acknowledged(&steps, scenario.actions.len());
    for at in &mut acknowledged[..from] {
        *at = 0;
    }
    (steps, acknowledged)
}

fn watch_task(place: &Path, task: &str) -> Vec<Step> {
    let environment = [(TASK, format!("{task} {}", place.display()))];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let arguments = ["--exact", "the_traced_program", "--ignored", "--nocapture", "--test-threads=1"];
    watch(place, &env::current_exe().unwrap(), &arguments, &environment)
}

fn watch(place: &Path, program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Vec<Step> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let place = place.canonicalize().unwrap();
    steps(&trace::run(log.path(), program, arguments, environment), place.to_str().unwrap())
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

async fn prepare(place: &Path, scenario: &Scenario) {
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
    bytes[0] ^= 1;
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
pub(crate) async fn traced() {
    let Ok(task) = env::var(TASK) else { return };
    let words: Vec<&str> = task.split(' ').collect();
    match words[..] {
        ["do", name, place] => go_on(name, None, place).await,
        ["resume", name, from, place] => go_on(name, Some(from.parse().unwrap()), place).await,
        ["recover", count, place] => {
            for number in 0..count.parse::<usize>().unwrap() {
                mark(&format!("recover {number}"));
                // One that does not open is found when it is examined.
                if let Ok(registry) = Registry::open(&Path::new(place).join(number.to_string()).join(DATA)).await {
                    registry.abandon().await;
                }
            }
        }
        _ => panic!("no such task: {task}"),
    }
}

/// Does what a scenario says, or the rest of it from the action that was interrupted.
async fn go_on(name: &str, interrupted: Option<usize>, place: &str) {
    let scenario = scenario::all().into_iter().find(|scenario| scenario.name == name).unwrap();
    let registry = Registry::open(&Path::new(place).join(DATA)).await.unwrap();
    for (number, action) in scenario.actions.iter().enumerate().skip(interrupted.unwrap_or(0)) {
        mark(&format!("begin {number}"));
        action.ask(&registry, interrupted == Some(number)).await.unwrap();
        mark(&format!("end {number}"));
    }
    registry.close().await;
}

/// One write, so that it is one line of the trace.
fn mark(word: &str) {
    std::io::stderr().write_all(format!("{MARK}{word}\n").as_bytes()).unwrap();
}
