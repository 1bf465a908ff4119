//! A process on a shared store that other processes cannot reach: it has to be the only one.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use ulid::Ulid;

use crate::storage::{
    Clock, Timing,
    driver::{Error, StorageDriver},
    layout::PathSpec,
};

use super::{CallError, ReplicaAnswer, ReplicaCall, ReplicaCalls, ReplicaSetup, Sightings};

/// More of them than a Registry can have.
const MAX_REPLICAS: usize = 1000;

/// Waits until every other process on a shared store has left, or has given no sign of life for long enough to be gone:
/// as on a folder, which another process holds.
///
/// # Errors
/// Where the store cannot be read.
pub async fn await_solitude(driver: &dyn StorageDriver, clock: &dyn Clock, timing: &Timing) -> Result<(), Error> {
    let gone_after = timing.gone_after();
    let seen = Sightings::new(gone_after);
    let mut has_said = false;
    loop {
        let signs = signs(driver).await?;
        let now = clock.boot_time();
        seen.retain(|id| signs.contains_key(id));
        let ids: Vec<Ulid> = signs.keys().copied().collect();
        // Each is looked at, whatever the others are.
        let present = signs.into_iter().map(|(id, sign)| !seen.is_gone(id, sign, now)).filter(|is_there| *is_there);
        if present.count() == 0 {
            return Ok(());
        }
        if !has_said {
            let seconds = gone_after.as_secs();
            tracing::warn!(
                replicas = ?ids,
                "another process serves this store, or died less than {seconds} s ago: waiting until it is gone. \
                 Several need a control listener with an address that the others reach"
            );
            has_said = true;
        }
        clock.sleep(timing.beat).await;
    }
}

/// What each process said last.
async fn signs(driver: &dyn StorageDriver) -> Result<BTreeMap<Ulid, Bytes>, Error> {
    let entries = match driver.list(&PathSpec::Replicas.path(), None, MAX_REPLICAS).await {
        Ok(entries) => entries,
        Err(Error::NotFound { .. }) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut signs = BTreeMap::new();
    for id in entries.iter().filter_map(|entry| Ulid::from_string(&entry.name).ok()) {
        match driver.get(&PathSpec::Replica(id).path()).await {
            Ok(sign) => {
                signs.insert(id, sign);
            }
            // It left in between.
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(signs)
}

/// The way to other processes, where there is none.
#[derive(Debug)]
struct Alone;

impl ReplicaSetup {
    /// Of a process that is the only one on its store.
    #[must_use]
    pub fn alone() -> Self {
        Self { address: "none".to_owned(), calls: Arc::new(Alone) }
    }
}

/// Another process was started on the store all the same.
#[derive(Debug, thiserror::Error)]
#[error("this process has no control listener with an address, so it must be the only one on its store")]
struct NoWay;

#[async_trait]
impl ReplicaCalls for Alone {
    async fn call(&self, id: Ulid, address: &str, _: &ReplicaCall) -> Result<ReplicaAnswer, CallError> {
        tracing::error!(replica = %id, address, "another process serves the same store, and this one cannot ask it");
        Err(CallError { source: Box::new(NoWay) })
    }
}
