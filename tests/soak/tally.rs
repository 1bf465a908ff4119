//! What a soak has seen.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::Mutex,
    time::Instant,
};

use tokio_util::sync::CancellationToken;

/// How many complaints of a kind are printed with their text.
const MAX_PRINTED: u64 = 40;

/// A promise of the protocol that was broken; PROTOCOL's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// The bytes of what is visible are gone or wrong.
    I1,
    /// What was promised could not be referenced.
    I2,
    /// What the trash has could not be restored.
    I3,
    /// What was acknowledged is gone, or a PUT and a delete left parts.
    I4,
    /// What was deleted was answered with.
    I5,
}

/// Counts, and what was wrong. The soak ends with the first violation, so that its traces are still there.
#[derive(Debug)]
pub(crate) struct Tally {
    began: Instant,
    counts: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    violations: Mutex<BTreeMap<Invariant, u64>>,
    spurious: Mutex<u64>,
    stop: CancellationToken,
}

impl Tally {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        let violations = [Invariant::I1, Invariant::I2, Invariant::I3, Invariant::I4, Invariant::I5];
        Self {
            began: Instant::now(),
            counts: Mutex::default(),
            violations: Mutex::new(violations.into_iter().map(|invariant| (invariant, 0)).collect()),
            spurious: Mutex::default(),
            stop,
        }
    }

    pub(crate) fn add(&self, site: &'static str, what: &'static str, number: u64) {
        *self.counts.lock().unwrap().entry((what, site)).or_default() += number;
    }

    /// Keeps the largest value.
    pub(crate) fn largest(&self, site: &'static str, what: &'static str, value: u64) {
        let mut counts = self.counts.lock().unwrap();
        let known = counts.entry((what, site)).or_default();
        *known = value.max(*known);
    }

    pub(crate) fn violation(&self, site: &'static str, invariant: Invariant, what: &str) {
        *self.violations.lock().unwrap().entry(invariant).or_default() += 1;
        self.say(&format!("VIOLATION of {invariant:?} on {site}: {what}"));
        self.stop.cancel();
    }

    /// An error that no fault explains.
    pub(crate) fn spurious(&self, site: &'static str, what: &str) {
        let mut spurious = self.spurious.lock().unwrap();
        *spurious += 1;
        if *spurious <= MAX_PRINTED {
            self.say(&format!("SPURIOUS failure on {site}: {what}"));
        }
    }

    /// Prints a line with the time since the beginning, and of day, which the registries' logs have.
    pub(crate) fn say(&self, what: &str) {
        let of_day = ulid::Ulid::generate().timestamp_ms() % 86_400_000;
        let (hours, minutes, seconds) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
        let elapsed = self.began.elapsed().as_secs_f32();
        eprintln!("{hours:02}:{minutes:02}:{seconds:02}.{:03} {elapsed:9.2} {what}", of_day % 1000);
    }

    pub(crate) fn is_violated(&self) -> bool {
        self.violations.lock().unwrap().values().any(|number| *number > 0)
    }

    pub(crate) fn is_clean(&self) -> bool {
        !self.is_violated() && *self.spurious.lock().unwrap() == 0
    }

    /// How often something happened on a site.
    pub(crate) fn of(&self, site: &'static str, what: &'static str) -> u64 {
        self.counts.lock().unwrap().get(&(what, site)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts.lock().unwrap();
        let mut rows: BTreeMap<&str, String> = BTreeMap::new();
        for ((what, site), number) in &*counts {
            let row = rows.entry(what).or_default();
            let _ = write!(row, "  {site} {number}");
        }
        for (what, row) in rows {
            writeln!(f, "{what:32}{row}")?;
        }
        for (invariant, number) in &*self.violations.lock().unwrap() {
            writeln!(f, "violations of {invariant:?}               {number}")?;
        }
        write!(f, "spurious failures                 {}", *self.spurious.lock().unwrap())
    }
}
