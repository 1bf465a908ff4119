//! A process on a bucket that other processes cannot reach: it has to be the only one.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use ulid::Ulid;

use crate::storage::driver::{Error, StorageDriver, StoragePath};
use crate::storage::{CallError, Clock, ReplicaAnswer, ReplicaCall, ReplicaCalls, ReplicaSetup, Timing};

/// Where processes on a bucket give their signs of life (PROTOCOL.md, *Markers*).
const REPLICAS: &str = "lagan/v1/replicas";

/// More of them than a Registry can have.
const MAX_REPLICAS: usize = 1000;

/// Waits until every other process on a bucket has left, or has given no sign of life for long enough to be gone: as on
/// a folder, which another process holds.
///
/// # Errors
/// Where the bucket cannot be read.
pub(super) async fn await_solitude(
    driver: &dyn StorageDriver,
    clock: &dyn Clock,
    timing: &Timing,
) -> Result<(), Error> {
    let folder: StoragePath = REPLICAS.parse().map_err(|_| no_path())?;
    let gone_after = timing.lease + timing.gone_margin;
    let mut seen: BTreeMap<String, (Bytes, Duration)> = BTreeMap::new();
    let mut has_said = false;
    loop {
        let signs = signs(driver, &folder).await?;
        let now = clock.boot_time();
        seen.retain(|name, _| signs.contains_key(name));
        for (name, sign) in signs {
            let is_known = seen.get(&name).is_some_and(|(known, _)| *known == sign);
            if !is_known {
                seen.insert(name, (sign, now));
            }
        }
        if seen.values().all(|(_, since)| now.saturating_sub(*since) >= gone_after) {
            return Ok(());
        }
        if !has_said {
            tracing::warn!(
                "another process serves this bucket, or died less than {} s ago: waiting until it is gone. Several \
                 need a control listener with an address that the others reach",
                gone_after.as_secs()
            );
            has_said = true;
        }
        clock.sleep(timing.beat).await;
    }
}

/// What each process said last, by its name.
async fn signs(driver: &dyn StorageDriver, folder: &StoragePath) -> Result<BTreeMap<String, Bytes>, Error> {
    let entries = match driver.list(folder, None, MAX_REPLICAS).await {
        Ok(entries) => entries,
        Err(Error::NotFound { .. }) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut signs = BTreeMap::new();
    for entry in entries.into_iter().filter(|entry| !entry.is_directory) {
        let path: StoragePath = format!("{REPLICAS}/{}", entry.name).parse().map_err(|_| no_path())?;
        match driver.get(&path).await {
            Ok(sign) => {
                signs.insert(entry.name, sign);
            }
            // It left in between.
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(signs)
}

fn no_path() -> Error {
    // A constant, and what the medium itself has named: never seen.
    Error::Poisoned
}

/// The way to other processes, where there is none.
#[derive(Debug)]
pub(super) struct Alone;

impl Alone {
    /// What makes a process the only one on its bucket.
    pub(super) fn setup() -> ReplicaSetup {
        ReplicaSetup { address: "none".to_owned(), calls: std::sync::Arc::new(Self) }
    }
}

/// Another process was started on the bucket all the same.
#[derive(Debug, thiserror::Error)]
#[error("this process has no control listener with an address, so it must be the only one on its bucket")]
struct NoWay;

#[async_trait]
impl ReplicaCalls for Alone {
    async fn call(&self, id: Ulid, address: &str, _: &ReplicaCall) -> Result<ReplicaAnswer, CallError> {
        tracing::error!(replica = %id, address, "another process serves the same bucket, and this one cannot ask it");
        Err(CallError { source: Box::new(NoWay) })
    }
}
