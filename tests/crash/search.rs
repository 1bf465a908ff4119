//! Every crash point of one recording.

use std::{collections::HashSet, env, fmt, sync::Arc};

use futures::{StreamExt as _, stream};

use super::{
    cut::survivors,
    disk::Disk,
    examine::examine,
    recording::{DATA, Recording, folder, recoveries, resumption},
    scenario::Scenario,
    step::Step,
    stock,
    sync_kind::kinds,
    tree::Tree,
};

/// How many are examined at the same time: two cores are kept busy while some wait for a thread.
const AT_ONCE: usize = 4;

/// At how many steps the process is killed, and what it does next recorded.
const KILLS: usize = 3;

/// Of how many recoveries of a scenario, at most, each step is cut off as well; those that come to the same are one.
const RECOVERIES: usize = 40;

/// How many stores, at most, are examined of a scenario in which the syncs of one kind are left out.
const STORES_WITHOUT: usize = 300;

/// What may be found after a cut.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) tree: Tree,
    /// How many actions were acknowledged before it.
    pub(crate) done: usize,
    /// After which step it can be found first, for a reader.
    pub(crate) when: String,
}

/// What was looked at.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    steps: usize,
    cuts: usize,
    stores: usize,
    kills: usize,
    recoveries: usize,
    stores_of_recoveries: usize,
    stock: usize,
}

/// What can be found after a crash of one scenario.
pub(crate) struct Search {
    scenario: Arc<Scenario>,
    recordings: Vec<Part>,
    seen: HashSet<(u64, usize)>,
    pub(crate) numbers: Numbers,
}

/// Steps, with where they begin.
struct Part {
    disk: Disk,
    steps: Vec<Step>,
    /// How many actions are done after each step.
    done: Vec<usize>,
    label: String,
}

/// How many violations of a scenario are enough: nobody reads more before mending the first.
pub(crate) fn enough() -> usize {
    env::var("LAGAN_CRASH_ENOUGH").map_or(10, |text| text.parse().unwrap())
}

/// How many random cuts there are at each step.
fn seeds() -> u64 {
    env::var("LAGAN_CRASH_SEEDS").map_or(1, |text| text.parse().unwrap())
}

impl Search {
    /// Records what a scenario does, also after its process was killed.
    pub(crate) async fn of(scenario: Scenario) -> Self {
        let recording = Recording::of(&scenario).await;
        let done: Vec<usize> = (0..recording.steps.len()).map(|at| recording.done(at)).collect();
        let first = Part { disk: Disk::new(&recording.base), steps: recording.steps, done, label: String::new() };
        let mut this = Self {
            scenario: Arc::new(scenario),
            recordings: vec![first],
            seen: HashSet::new(),
            numbers: Numbers::default(),
        };
        this.kill();
        this
    }

    /// Kills the process behind some of the renames, whose folders are not synced then, and does the rest with a new one:
    /// what it relies on may not be durable yet.
    fn kill(&mut self) {
        if !self.scenario.is_resumable() {
            return;
        }
        let first = &self.recordings[0];
        let is_end = |at: &usize| first.done[*at] < self.scenario.actions.len();
        let renames = first.steps.iter().enumerate().filter(|(_, step)| matches!(step, Step::Rename { .. }));
        let renames: Vec<usize> = renames.map(|(at, _)| at).filter(is_end).collect();
        let mut killed = Vec::new();
        for at in spread(&renames, KILLS) {
            let mut disk = first.disk.clone();
            first.steps[..=*at].iter().for_each(|step| disk.apply(step, false));
            disk.kill();
            let done = first.done[*at];
            let (steps, acknowledged) = resumption(&disk.seen_tree(), &self.scenario, done);
            let count = |step: usize| done + acknowledged.iter().skip(done).filter(|end| **end <= step).count();
            let done = (0..steps.len()).map(count).collect();
            killed.push(Part { disk, steps, done, label: format!("killed after step {at}, then ") });
        }
        self.numbers.kills = killed.len();
        self.recordings.extend(killed);
    }

    /// All that can be found, and was not yet; without the syncs of one kind, if one is named.
    fn found(&mut self, without: Option<&str>, seeds: u64) -> Vec<Found> {
        let mut all = Vec::new();
        for part in &self.recordings {
            let kinds = kinds(&part.steps);
            let is_left_out = |at: usize| without.is_some() && kinds[at].as_deref() == without;
            let begin = without.map_or(0, |_| (0..kinds.len()).find(|at| is_left_out(*at)).unwrap_or(kinds.len()));
            let mut disk = part.disk.clone();
            for (at, step) in part.steps.iter().enumerate() {
                disk.apply(step, is_left_out(at));
                if at < begin || matches!(step, Step::SyncBegin { .. }) {
                    continue;
                }
                let done = part.done[at];
                for tree in survivors(&disk, seeds, at as u64) {
                    let tree = tree.restarted();
                    self.numbers.cuts += 1;
                    if self.seen.insert((tree.fingerprint(), done)) {
                        let when = format!("{}step {at}, {:.160}", part.label, format!("{step:?}"));
                        all.push(Found { tree, done, when });
                    }
                }
            }
        }
        all
    }

    /// What is done.
    pub(crate) fn name(&self) -> &'static str {
        self.scenario.name
    }

    /// Examines all that can be found, and returns what is wrong.
    pub(crate) async fn run(&mut self) -> Vec<String> {
        self.seen.clear();
        self.numbers.steps = self.recordings.iter().map(|part| part.steps.len()).sum();
        let found = self.found(None, seeds());
        self.numbers.stores = found.len();
        let mut violations = examine_each(&self.scenario, &found, enough()).await;
        if violations.len() < enough() {
            let of_recoveries = self.cut_recoveries(&found);
            self.numbers.stores_of_recoveries = of_recoveries.len();
            violations.extend(examine_each(&self.scenario, &of_recoveries, enough()).await);
        }
        if violations.is_empty() {
            violations.extend(self.serve_by_stock(&found).await);
        }
        violations
    }

    /// What can be found when the recovery is cut off as well.
    fn cut_recoveries(&mut self, found: &[Found]) -> Vec<Found> {
        let chosen: Vec<&Found> = spread(found, RECOVERIES);
        let trees: Vec<&Tree> = chosen.iter().map(|found| &found.tree).collect();
        let mut cut = Vec::new();
        let mut seen: HashSet<(u64, usize)> = found.iter().map(|one| (one.tree.fingerprint(), one.done)).collect();
        for (one, steps) in chosen.iter().zip(recoveries(&trees)) {
            self.numbers.recoveries += 1;
            let mut disk = Disk::new(&one.tree);
            for (at, step) in steps.iter().enumerate() {
                disk.apply(step, false);
                for tree in survivors(&disk, 1, at as u64) {
                    let tree = tree.restarted();
                    if seen.insert((tree.fingerprint(), one.done)) {
                        let when = format!("{}; recovery, step {at}, {:.160}", one.when, format!("{step:?}"));
                        cut.push(Found { tree, done: one.done, when });
                    }
                }
            }
        }
        cut
    }

    async fn serve_by_stock(&mut self, found: &[Found]) -> Vec<String> {
        // What is damaged, only Lagan reads.
        let whole: Vec<&Found> = found.iter().filter(|one| self.scenario.is_whole_after(one.done)).collect();
        let chosen: Vec<&Found> = spread(&whole, stock::samples()).into_iter().copied().collect();
        self.numbers.stock = chosen.len();
        let mut violations = Vec::new();
        for one in chosen {
            let mut errors = Vec::new();
            for claims in self.scenario.claims.iter().skip(one.done).take(2) {
                match stock::serves(&one.tree, claims).await {
                    Ok(()) => {
                        errors.clear();
                        break;
                    }
                    Err(error) => errors.push(error),
                }
            }
            if !errors.is_empty() {
                violations.push(format!(
                    "{}, {} done, {}: {}",
                    self.scenario.name,
                    one.done,
                    one.when,
                    errors.join("; ")
                ));
            }
        }
        violations
    }

    /// The kinds of syncs that it makes.
    pub(crate) fn sync_kinds(&self) -> Vec<String> {
        self.recordings.iter().flat_map(|part| kinds(&part.steps)).flatten().collect()
    }

    /// What is lost without the syncs of one kind; `None` where nobody notices. Only what could not be found with them is
    /// looked at. The number is how many such stores there are.
    pub(crate) async fn without(&mut self, kind: &str) -> (usize, Option<String>) {
        if self.seen.is_empty() {
            self.found(None, seeds());
        }
        let before = self.seen.clone();
        let found = self.found(Some(kind), 1);
        self.seen = before;
        let chosen: Vec<Found> = spread(&found, STORES_WITHOUT).into_iter().cloned().collect();
        let lost = examine_each(&self.scenario, &chosen, 1).await;
        (found.len(), lost.into_iter().next())
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, cuts, stores, kills, recoveries, stores_of_recoveries, stock } = self;
        write!(
            f,
            "{steps} steps ({kills} runs after a kill), {cuts} cuts, {stores} different stores; {recoveries} recoveries \
             cut off, {stores_of_recoveries} more stores; {stock} served by docker-registry"
        )
    }
}

/// What is wrong with some of what was found; at most so many.
pub(crate) async fn examine_each(scenario: &Arc<Scenario>, found: &[Found], enough: usize) -> Vec<String> {
    let examined = stream::iter(found.to_vec()).map(|found| {
        let scenario = Arc::clone(scenario);
        tokio::spawn(async move {
            let place = folder();
            found.tree.write(place.path());
            let result = examine(&place.path().join(DATA), &scenario, found.done).await;
            result.err().map(|error| format!("{}, {} done, {}: {error}", scenario.name, found.done, found.when))
        })
    });
    examined.buffer_unordered(AT_ONCE).filter_map(|found| async { found.unwrap() }).take(enough).collect().await
}

/// At most so many of some, evenly spread, the last among them.
pub(crate) fn spread<T>(all: &[T], count: usize) -> Vec<&T> {
    if all.len() <= count {
        return all.iter().collect();
    }
    (1..=count).filter_map(|number| all.get(number * all.len() / count - 1)).collect()
}
