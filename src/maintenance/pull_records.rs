//! Writing down what was pulled, every few minutes.
//!
//! Every replica does it for itself. What is written, and what a crash loses, is the storage's
//! ([`crate::storage::Catalog::keep_pulls`]).

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::storage::{Catalog, Error};

/// How long to wait between two records. Four minutes: with the time that a write takes, a crash loses five at most.
const INTERVAL: Duration = Duration::from_secs(4 * 60);

/// What writes down the pulls of one registry.
#[derive(Debug)]
pub struct PullRecords {
    catalog: Catalog,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl PullRecords {
    /// Of a registry.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Begins to note pulls, and to write them down until [`Self::shutdown`]. To be called before requests are answered.
    pub async fn begin(&self) {
        tell(self.catalog.begin_pulls().await);
        let (catalog, stop) = (self.catalog.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(INTERVAL) => {}
                }
                tell(catalog.keep_pulls().await);
            }
        });
    }

    /// Writes down the rest. Requests must have been answered.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        tell(self.catalog.end_pulls().await);
    }
}

fn tell(written: Result<(), Error>) {
    if let Err(error) = written {
        warn!(error = &error as &dyn std::error::Error, "could not write down what was pulled; trying again later");
    }
}
