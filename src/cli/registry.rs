//! One registry of this process: its folder, what is in it, and the runs of its policies.

use std::sync::Arc;

use anyhow::Context;

use crate::api::serve_config::{ServeConfig, StorageConfig};
use crate::api::v1alpha1::{self, AccessMode};
use crate::maintenance::RetentionRuns;
use crate::storage::driver::FilesystemDriver;
use crate::storage::{Catalog, Clock, DeletionMode, Options, RedisTarget, StorageMetrics};

use super::clock::SystemClock;

/// A registry whose folder this process holds.
#[derive(Debug)]
pub(super) struct OpenRegistry {
    driver: Arc<FilesystemDriver>,
    /// What is in it.
    pub(super) catalog: Catalog,
    /// The runs of its policies.
    pub(super) runs: RetentionRuns,
}

impl OpenRegistry {
    /// Opens a folder, and waits for as long as another process holds it.
    ///
    /// # Errors
    /// If the folder cannot be made, locked or read.
    ///
    /// # Cancel safety
    /// Nothing is held by a call that was dropped.
    pub(super) async fn open(storage: &StorageConfig, options: Options, access: AccessMode) -> anyhow::Result<Self> {
        let cannot = |what: &str| format!("could not {what} {storage}");
        let Some(directory) = storage.directory() else {
            anyhow::bail!("{storage}: object storage cannot be served yet");
        };
        let driver = FilesystemDriver::open(directory).await.with_context(|| cannot("use"))?;
        let driver = Arc::new(driver);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let catalog = Catalog::open(Arc::clone(&driver) as _, options, Arc::clone(&clock)).await;
        let catalog = catalog.with_context(|| cannot("read what is in"))?;
        let runs = RetentionRuns::open(catalog.clone(), access, clock).await;
        let runs = runs.with_context(|| cannot("read the retention runs of"))?;
        Ok(Self { driver, catalog, runs })
    }

    /// Waits for what is in progress, and gives the folder back. Requests must have been drained.
    pub(super) async fn close(self) {
        self.runs.shutdown().await;
        self.catalog.drain().await;
        if let Err(error) = self.driver.close().await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "could not note that the registry stopped in order; the next start syncs everything");
        }
    }
}

/// How a catalog behaves, from what the configuration says of deleting and remembering.
pub(super) fn options(config: &ServeConfig, redis: Option<RedisTarget>, metrics: StorageMetrics) -> Options {
    Options {
        deletion: match config.deletion.mode {
            v1alpha1::DeletionMode::Soft => DeletionMode::Soft,
            v1alpha1::DeletionMode::Disabled => DeletionMode::Disabled,
        },
        restore_window: config.deletion.restore_window.as_std(),
        cache_entries: config.descriptor_cache.in_memory.max_entries.into(),
        redis,
        metrics,
    }
}
