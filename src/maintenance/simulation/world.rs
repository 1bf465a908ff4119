//! Everything that there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;

use super::{
    chance::Chance,
    content::Content,
    fate::Trap,
    history::{Asked, History, Lateness},
    invariants::Invariants,
    medium::Medium,
    process::Process,
    profile::{Profile, timing},
    time::Time,
    trace::Trace,
};

/// How long things are on their way at most when nothing goes wrong.
const HEALTHY: Duration = Duration::from_millis(20);

/// A world: its time, its store, its processes, and what is known of what was done.
#[derive(Debug)]
pub(super) struct World {
    pub(super) time: Arc<Time>,
    pub(super) chance: Chance,
    pub(super) profile: Profile,
    pub(super) medium: Medium,
    pub(super) content: Arc<Content>,
    pub(super) history: History,
    pub(super) trace: Trace,
    pub(super) network: Network,
    pub(super) trap: Trap,
    processes: Mutex<BTreeMap<String, Arc<Process>>>,
    failure: Mutex<Option<String>>,
    removed: Mutex<u64>,
    killed: Mutex<u64>,
    next: Mutex<u64>,
}

/// Which ways are cut, and whether anything goes wrong at all any more.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Pairs of addresses that do not reach each other.
    cut: Mutex<BTreeSet<(String, String)>>,
    /// Addresses that do not reach the store.
    off_the_store: Mutex<BTreeSet<String>>,
    is_healed: Mutex<bool>,
}

impl World {
    pub(super) fn new(seed: u64, is_traced: bool) -> Arc<Self> {
        let chance = Chance::new(seed);
        let profile = Profile::of(&chance);
        Self::with(chance, profile, is_traced)
    }

    /// A world in which nothing goes wrong by itself.
    pub(super) fn quiet(is_shared: bool, is_traced: bool) -> Arc<Self> {
        Self::with(Chance::new(1), Profile::quiet(is_shared), is_traced)
    }

    fn with(chance: Chance, profile: Profile, is_traced: bool) -> Arc<Self> {
        let time = Arc::new(Time::default());
        let content = Arc::new(Content::new());
        let timing = timing();
        // A push waits for its keys, then writes down what it relies on.
        let lateness =
            Lateness { push: timing.guard_wait + timing.grace, restore: timing.removal_bound + timing.guard_wait };
        let world = Arc::new(Self {
            medium: Medium::new(Arc::clone(&time), !profile.is_shared),
            time,
            chance,
            content: Arc::clone(&content),
            history: History::new(lateness),
            trace: Trace::new(is_traced),
            network: Network::default(),
            trap: Trap::default(),
            processes: Mutex::default(),
            failure: Mutex::default(),
            removed: Mutex::default(),
            killed: Mutex::default(),
            next: Mutex::default(),
            profile,
        });
        // Nothing is promised to those whose clocks are wrong by more than A5 allows.
        let off = world.profile.skew.abs().min(SignedDuration::try_from(timing.clock_skew).unwrap());
        let (invariants, watching) = (Invariants { content }, Arc::downgrade(&world));
        world.medium.watch(move |files, change| {
            let Some(world) = watching.upgrade() else { return };
            let earliest = world.time.wall() - off;
            if let Some(broken) = invariants.broken_by(files, change, earliest) {
                world.fail(&broken);
            }
        });
        world
    }

    /// That something must not be: the first such thing ends the run.
    pub(super) fn fail(&self, what: &str) {
        self.note("WORLD", "FAILS", what, &"");
        self.failure().get_or_insert_with(|| format!("at {:.3} s: {what}", self.time.now().as_secs_f64()));
    }

    pub(super) fn expect(&self, refuted: Option<String>) {
        if let Some(why) = refuted {
            self.fail(&why);
        }
    }

    pub(super) fn failure(&self) -> MutexGuard<'_, Option<String>> {
        lock(&self.failure)
    }

    pub(super) fn note(&self, who: &str, did: &str, what: &str, came: &dyn fmt::Display) {
        self.trace.note(self.time.now(), who, did, what, came);
    }

    /// Blobs were collected.
    pub(super) fn count_removed(&self, blobs: u64) {
        *lock(&self.removed) += blobs;
    }

    pub(super) fn removed(&self) -> u64 {
        *lock(&self.removed)
    }

    /// A process was ended where it stood.
    pub(super) fn count_killed(&self) {
        *lock(&self.killed) += 1;
    }

    pub(super) fn killed(&self) -> u64 {
        *lock(&self.killed)
    }

    /// A number that nobody else has.
    pub(super) fn number(&self) -> u64 {
        let mut next = lock(&self.next);
        *next += 1;
        *next
    }

    pub(super) fn processes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Process>>> {
        lock(&self.processes)
    }

    /// Those that clients are sent to.
    pub(super) fn living(&self) -> Vec<Arc<Process>> {
        let living = self.processes();
        living.values().filter(|process| process.takes_requests()).cloned().collect()
    }

    pub(super) fn since(&self, from: Duration) -> Asked {
        Asked { from, to: self.time.now() }
    }

    /// How long something is on its way.
    pub(super) fn latency(&self) -> Duration {
        let profile = &self.profile;
        if self.network.is_healed() {
            return self.chance.up_to(profile.latency.min(HEALTHY));
        }
        if self.chance.hits(profile.slow) {
            return self.chance.up_to(Duration::from_secs(12));
        }
        self.chance.up_to(profile.latency)
    }

    /// A wall clock's error.
    pub(super) fn skew(&self) -> SignedDuration {
        if self.network.is_healed() {
            return SignedDuration::ZERO;
        }
        let most = self.profile.skew.as_millis();
        let error = self.chance.below(u64::try_from(most * 2 + 1).unwrap());
        SignedDuration::from_millis(i64::try_from(error).unwrap() - i64::try_from(most).unwrap())
    }
}

impl Network {
    pub(super) fn cut(&self, a: &str, b: &str, is_cut: bool) {
        let mut cut = lock(&self.cut);
        for pair in [(a.to_owned(), b.to_owned()), (b.to_owned(), a.to_owned())] {
            if is_cut {
                cut.insert(pair)
            } else {
                cut.remove(&pair)
            };
        }
    }

    pub(super) fn is_cut(&self, from: &str, to: &str) -> bool {
        lock(&self.cut).contains(&(from.to_owned(), to.to_owned()))
    }

    pub(super) fn cut_store(&self, address: &str, is_cut: bool) {
        let mut off = lock(&self.off_the_store);
        if is_cut {
            off.insert(address.to_owned())
        } else {
            off.remove(address)
        };
    }

    pub(super) fn is_off_the_store(&self, address: &str) -> bool {
        lock(&self.off_the_store).contains(address)
    }

    /// From now on nothing goes wrong.
    pub(super) fn heal(&self) {
        lock(&self.cut).clear();
        lock(&self.off_the_store).clear();
        *lock(&self.is_healed) = true;
    }

    pub(super) fn is_healed(&self) -> bool {
        *lock(&self.is_healed)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
