//! Removing the uploads that nobody goes on with: when the registry starts, and then once a day.
//!
//! Every replica does it. What is removed, and why two at once are safe, is the storage's
//! ([`crate::storage::Catalog::purge_uploads`]).

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::storage::{Catalog, Clock, PurgedUploads};

use super::Error;

/// How long to wait between two purges. A day, as distribution does: an upload then stays at most a day longer than it
/// should, and a registry of 10,000 repositories makes some 20,000 lists for it.
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The purges of one registry.
#[derive(Debug)]
pub struct UploadPurges {
    purge: Purge,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug, Clone)]
struct Purge {
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    expire_after: Duration,
}

impl UploadPurges {
    /// Of a registry in which an upload expires when nothing came to it for `expire_after`.
    #[must_use]
    pub fn new(catalog: Catalog, clock: Arc<dyn Clock>, expire_after: Duration) -> Self {
        let purge = Purge { catalog, clock, expire_after };
        Self { purge, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Begins to purge: now, and then once a day until [`Self::shutdown`].
    pub fn begin(&self) {
        let (purge, stop) = (self.purge.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = purge.run_and_tell() => {}
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(INTERVAL) => {}
                }
            }
        });
    }

    /// Purges once, now.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn run(&self) -> Result<PurgedUploads, Error> {
        self.purge.run().await
    }

    /// Stops. What was removed stays so.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Purge {
    async fn run_and_tell(&self) {
        match self.run().await {
            Ok(PurgedUploads { removed: 0, failed: 0 }) => {}
            Ok(PurgedUploads { removed, failed }) => info!(removed, failed, "purged uploads that nobody went on with"),
            Err(error) => warn!(error = &error as &dyn std::error::Error, "could not purge uploads"),
        }
    }

    async fn run(&self) -> Result<PurgedUploads, Error> {
        let age = SignedDuration::try_from(self.expire_after).unwrap_or(SignedDuration::MAX);
        let unused_since = self.clock.now().saturating_sub(age).unwrap_or(Timestamp::MIN);
        let purged = self.catalog.purge_uploads(unused_since).await;
        purged.map_err(|source| Error::Storage { action: "purge uploads", source })
    }
}
