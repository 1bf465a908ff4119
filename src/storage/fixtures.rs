//! What tests of this layer begin with.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::oci::{Algorithm, Digest, RepositoryName};

use super::{
    Catalog, Clock, DeletionMode, Options, Repository, StorageMetrics, Timing,
    driver::{StorageDriver, faulty::FaultyDriver, memory::MemoryDriver},
};

/// A clock that a test moves.
#[derive(Debug)]
pub(super) struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    pub(super) fn new() -> Self {
        Self(Mutex::new("2026-03-01T12:00:00Z".parse().unwrap()))
    }

    pub(super) fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add(SignedDuration::try_from(by).unwrap()).unwrap();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boot_time(&self) -> Duration {
        Duration::try_from(self.now().duration_since(Timestamp::UNIX_EPOCH)).unwrap()
    }
}

/// A store in memory whose writes can be made to fail, and which survives the catalogs opened on it.
pub(super) struct World {
    pub(super) clock: Arc<ManualClock>,
    pub(super) memory: Arc<MemoryDriver>,
    pub(super) driver: Arc<FaultyDriver>,
    pub(super) options: Options,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let memory = Arc::new(MemoryDriver::new(clock.clone()));
        let driver = Arc::new(FaultyDriver::new(memory.clone()));
        Self { clock, memory, driver, options: options() }
    }

    /// What a process that starts now sees.
    pub(super) async fn open(&self) -> Catalog {
        open(self.driver.clone(), self.options.clone(), self.clock.clone()).await
    }

    /// A repository in a process that starts now.
    pub(super) async fn repository(&self, text: &str) -> Repository {
        self.open().await.repository(&name(text))
    }
}

/// Soft deletion, a restore window of a day.
pub(super) fn options() -> Options {
    Options {
        deletion: DeletionMode::Soft,
        restore_window: Duration::from_secs(24 * 60 * 60),
        cache_entries: 1000,
        redis: None,
        metrics: StorageMetrics::new(),
    }
}

/// A catalog whose waits are a tenth of the real ones: short enough for a test that waits one out, and long enough for a
/// machine that does other things as well.
pub(super) async fn open(driver: Arc<dyn StorageDriver>, options: Options, clock: Arc<dyn Clock>) -> Catalog {
    Catalog::open_with(driver, options, clock, Timing::default().faster(10)).await.unwrap()
}

pub(super) fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}
