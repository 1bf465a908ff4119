//! The storage and the maintenance as they are, in a world that is made up: its store, its network, its clocks and the
//! order of everything follow from one number.
//!
//! Clients push, overwrite, delete, restore and pull through any of three replicas, or through one process on a folder;
//! requests are delayed and reordered, fail before and after they took effect, and take effect late; processes die, stand
//! still, are cut off from each other or from the store, and have clocks that are wrong. After each step of the store
//! [`invariants`] looks whether I1 and I3 of docs/protocol.md hold, and [`history`] holds every answer against all
//! answers before it, for I2, I4 and I5. In the end all trouble stops, and everything must work again.
//!
//! What docs/protocol.md assumes (A1 to A5) is what the world keeps to, and nothing else.
//!
//! ```text
//! cargo test --lib simulation                             as many seeds as take a minute or two
//! LAGAN_SEEDS=100000 cargo test --release --lib simulation
//! LAGAN_SEED=4711 cargo test --lib simulation             one of them, with its last steps
//! ```

#![expect(clippy::large_futures, reason = "a test holds whole processes, and its stack has room")]
#![expect(clippy::print_stdout, reason = "how many seeds ended how is what whoever runs them wants to know")]

mod asking;
mod buried;
mod chance;
mod changing;
mod client;
mod collecting;
mod content;
mod ending;
mod fate;
mod fault_points;
mod history;
mod invariants;
mod medium;
mod network;
mod policy;
mod process;
mod profile;
mod pulling;
mod pushing;
mod remote;
mod scenarios;
mod scrubbing;
mod staged;
mod time;
mod trace;
mod trouble;
mod turn_faults;
mod turns;
mod world;

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::storage::seeded;

use process::Process;
use world::World;

/// How many seeds are tried, where `LAGAN_SEEDS` does not say.
const SEEDS: u64 = 30;

const ADDRESSES: [&str; 3] = ["one:1", "two:1", "three:1"];

/// What came of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ended {
    /// What must not have been, if anything was.
    failure: Option<String>,
    /// What happened, as a number, and how many steps that were.
    trace: (u64, u64),
    acknowledged: usize,
    /// How many blobs were collected.
    removed: u64,
    /// How many processes were ended where they stood.
    killed: u64,
    /// What happened last, where it was kept.
    text: String,
}

fn simulate(seed: u64, is_traced: bool) -> Ended {
    seeded::set(Some(seed));
    let world = World::new(seed, is_traced);
    world.time.run(live(Arc::clone(&world)), || world.failure().is_some());
    seeded::set(None);
    let failure = world.failure().clone();
    let (trace, acknowledged) = (world.trace.hash(), world.history.acknowledged());
    let (removed, killed, text) = (world.removed(), world.killed(), world.trace.text());
    Ended { failure, trace, acknowledged, removed, killed, text }
}

async fn live(world: Arc<World>) {
    world.note("WORLD", "begins", "", &format_args!("{:?}", world.profile));
    let addresses = if world.profile.is_shared { &ADDRESSES[..] } else { &ADDRESSES[..1] };
    for address in addresses {
        Process::start_surely(&world, address).await;
    }
    if let Some(between) = world.profile.trouble {
        tokio::spawn(trouble::keep_coming(Arc::clone(&world), between));
    }
    if let Some(between) = world.profile.collects {
        tokio::spawn(collecting::keep_collecting(Arc::clone(&world), between));
    }
    let clients = (0..world.profile.clients).map(|_| tokio::spawn(client::live(Arc::clone(&world))));
    for client in clients.collect::<Vec<_>>() {
        if client.await.is_err() {
            world.fail("a client panicked");
        }
    }
    ending::come_to_rest(&world).await;
}

/// Which seeds: `LAGAN_SEED` is one, `LAGAN_SEEDS` how many, or from where to where (`5000..6000`).
fn seeds() -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok();
    if let Some(seed) = number("LAGAN_SEED").and_then(|text| text.parse().ok()) {
        return seed..seed + 1;
    }
    let wanted = number("LAGAN_SEEDS").unwrap_or_default();
    match wanted.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..wanted.parse().unwrap_or(SEEDS),
    }
}

/// What came of many seeds.
#[derive(Debug, Default)]
struct Found {
    failures: Vec<(u64, String)>,
    acknowledged: usize,
    removed: u64,
    killed: u64,
    steps: u64,
}

impl Found {
    fn add(&mut self, seed: u64, ended: Ended) {
        self.acknowledged += ended.acknowledged;
        self.removed += ended.removed;
        self.killed += ended.killed;
        self.steps += ended.trace.1;
        if let Some(failure) = ended.failure {
            eprintln!("seed {seed}: {failure}");
            self.failures.push((seed, failure));
        }
    }
}

/// Tries seeds on every processor.
fn try_all(seeds: Range<u64>) -> Found {
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new(Found::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let ended = simulate(seed, false);
                    found.lock().unwrap_or_else(PoisonError::into_inner).add(seed, ended);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_world_keeps_what_it_promised_whatever_happens_in_it() {
    let seeds = seeds();
    let mut found = try_all(seeds.clone());
    found.failures.sort();
    if let Some((seed, failure)) = found.failures.first() {
        let again = simulate(*seed, true);
        let count = found.failures.len();
        panic!(
            "{}\n{count} of {seeds:?} failed; seed {seed}: {failure}\n\
             again: LAGAN_SEED={seed} cargo test --lib simulation",
            again.text
        );
    }
    let Found { acknowledged, removed, killed, steps, .. } = found;
    println!(
        "seeds {seeds:?}: {acknowledged} changes acknowledged, {removed} blobs collected, {killed} processes killed, \
         in {steps} steps"
    );
    assert!(acknowledged > 0);
}

#[test]
fn a_seed_is_one_world_and_another_is_another() {
    let mut traces = std::collections::BTreeSet::new();
    for seed in 0..6 {
        let (first, second) = (simulate(seed, true), simulate(seed, true));
        if first.text != second.text {
            let differs = first.text.lines().zip(second.text.lines()).find(|(a, b)| a != b);
            panic!("seed {seed}: {differs:#?}");
        }
        assert_eq!(first, second, "seed {seed}");
        traces.insert(first.trace);
    }
    assert_eq!(traces.len(), 6);
}
