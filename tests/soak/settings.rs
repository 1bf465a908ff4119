//! What a soak is asked for.

use std::{env, path::PathBuf, time::Duration};

/// By what every time of the protocol is divided where `LAGAN_SOAK_DIVISOR` does not say otherwise. With 5 a lease lasts 4 s,
/// which is four signs of life: a machine that builds something else meanwhile still writes one of those in time.
const DIVISOR: u64 = 5;

/// The shortest that a configuration takes, before it is divided.
pub(crate) const GRACE: Duration = Duration::from_secs(600);

/// What the registries are told of the trash, before it is divided.
pub(crate) const RESTORE_WINDOW: Duration = Duration::from_secs(1200);

/// The protocol's times as they are for the registries of a soak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// By what every time of the protocol is divided.
    pub(crate) divisor: u32,
    /// P.
    pub(crate) grace: Duration,
    /// Q.
    pub(crate) removal_bound: Duration,
    /// L.
    pub(crate) lease: Duration,
    /// How long what was deleted can be restored.
    pub(crate) restore_window: Duration,
    /// How long after a fault requests may fail: until a replica that died is gone, and what waited for that has waited as
    /// long as it may; twice, because a delete freezes and clears.
    pub(crate) recovery: Duration,
    /// After which time an operation that was not answered has happened or never will: P bounds a push; Q after its
    /// replica is gone, others finish a delete.
    pub(crate) settled: Duration,
}

impl Times {
    fn divided_by(divisor: u32) -> Self {
        let of = |seconds: u64| Duration::from_secs(seconds) / divisor;
        let (grace, removal_bound) = (GRACE / divisor, of(600));
        let (guard_wait, gone_after) = (of(15), of(30));
        let recovery = (guard_wait + gone_after) * 2 + Duration::from_secs(1);
        Self {
            divisor,
            grace,
            removal_bound,
            lease: of(20),
            restore_window: RESTORE_WINDOW / divisor,
            recovery,
            settled: grace.max(removal_bound + gone_after) + recovery + Duration::from_secs(10),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Settings {
    /// How long it works, apart from its start and its last look at everything.
    pub(crate) length: Duration,
    /// What all choices follow from: operations, contents, replicas, faults.
    pub(crate) seed: u64,
    /// How many clients work on each of the two registries.
    pub(crate) clients: usize,
    /// How long a client is idle between two operations, on average.
    pub(crate) pause: Duration,
    /// How long nothing happens to a replica between two faults, on average.
    pub(crate) calm: Duration,
    /// Where all files are, and stay; absent, a folder that goes when all was well.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) times: Times,
}

impl Settings {
    /// `LAGAN_SOAK_MINUTES`, `LAGAN_SOAK_SEED`, `LAGAN_SOAK_CLIENTS`, `LAGAN_SOAK_PAUSE_MS`, `LAGAN_SOAK_CALM_SECONDS`,
    /// `LAGAN_SOAK_DIVISOR`, `LAGAN_SOAK_FOLDER`.
    pub(crate) fn of_environment() -> Self {
        Self {
            length: Duration::from_secs(60 * number("LAGAN_SOAK_MINUTES", 4)),
            seed: number("LAGAN_SOAK_SEED", rand::random::<u32>().into()),
            clients: usize::try_from(number("LAGAN_SOAK_CLIENTS", 4)).unwrap(),
            pause: Duration::from_millis(number("LAGAN_SOAK_PAUSE_MS", 500)),
            calm: Duration::from_secs(number("LAGAN_SOAK_CALM_SECONDS", 40)),
            folder: env::var_os("LAGAN_SOAK_FOLDER").map(PathBuf::from),
            times: Times::divided_by(u32::try_from(number("LAGAN_SOAK_DIVISOR", DIVISOR)).unwrap()),
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")),
        Err(_) => default,
    }
}
