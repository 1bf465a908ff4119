//! One registry of this process: its storage, what is in it, and the runs of its policies.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;

use crate::api::serve_config::ServeConfig;
use crate::api::v1alpha1::{
    self, AccessMode, GarbageCollectionMode, compile_collection_schedule, compile_immutable_tags,
};
use crate::maintenance::{Collections, PullRecords, RetentionRuns, ScheduledCollections, Scrubs, UploadPurges};
use crate::retention::ImmutableTags;
use crate::storage::driver::{FilesystemDriver, ObjectDriver, ObjectStoreOptions, StorageDriver};
use crate::storage::{
    Catalog, Clock, DeletionMode, Options, RedisTarget, ReplicaSetup, StorageMetrics, Timing, await_solitude,
};

use super::clock::SystemClock;
use super::exit::InvalidUsage;
use super::local_socket;
use super::pace::Pace;
use super::storage_fault::test;

/// A registry whose storage this process holds, or shares with other replicas.
#[derive(Debug)]
pub(super) struct OpenRegistry {
    /// The folder that is locked, where it is one.
    folder: Option<Arc<FilesystemDriver>>,
    /// What is in it.
    pub(super) catalog: Catalog,
    /// The runs of its policies.
    pub(super) runs: RetentionRuns,
    /// Its scrubs.
    pub(super) scrubs: Scrubs,
    /// Its collections of garbage.
    pub(super) collections: Collections,
    /// Those of them that it begins by itself, if it does.
    schedule: Option<ScheduledCollections>,
    /// What writes down what was pulled.
    pulls: PullRecords,
    /// What removes abandoned uploads.
    uploads: UploadPurges,
    access_mode: AccessMode,
}

/// Tells the user what a start waits for.
pub(super) type Tell<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Where a registry's content lies, with what is needed to get there.
#[derive(Debug)]
pub(super) enum Medium {
    /// In a folder, which one process holds.
    Folder,
    /// In a bucket.
    Bucket {
        /// Which one.
        options: Box<ObjectStoreOptions>,
        /// How this process and the other ones on it reach each other; absent, it is the only one.
        replica: Option<ReplicaSetup>,
    },
}

impl OpenRegistry {
    /// Opens a folder, and waits for as long as another process holds it; or a bucket, after a look whether it can be
    /// used.
    ///
    /// On a bucket this process has not joined the others yet: what they ask must be answered first, then
    /// [`Catalog::joined`] says when it may serve.
    ///
    /// # Errors
    /// If the storage cannot be opened, locked or read.
    ///
    /// # Cancel safety
    /// Nothing is held of a folder by a call that was dropped.
    pub(super) async fn open(
        config: &ServeConfig,
        medium: Medium,
        options: Options,
        tell: Tell<'_>,
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let pace = Pace::of_environment()?;
        let (options, timing) = (pace.options(options), pace.timing(timing(config)));
        let (folder, catalog) = match (medium, config.storage.directory()) {
            (Medium::Bucket { options: bucket, replica }, _) => {
                (None, open_bucket(config, &bucket, replica, options, timing, &clock).await?)
            }
            (Medium::Folder, Some(directory)) => open_folder(directory, options, timing, &clock, tell).await?,
            (Medium::Folder, None) => anyhow::bail!("{} is no folder", config.storage),
        };
        let cannot = |what: &str| format!("could not {what} {}", config.storage);
        catalog.adopt().await.with_context(|| cannot("note that this registry serves"))?;
        let scrubs = Scrubs::new(catalog.clone(), Arc::clone(&clock));
        let expire_after = config.uploads.expire_after.as_std();
        let collections = Collections::open(catalog.clone(), Arc::clone(&clock), expire_after).await;
        let collections = collections.with_context(|| cannot("read the garbage collections of"))?;
        let schedule = schedule(config, &catalog, &collections, &clock)?;
        let uploads = UploadPurges::new(catalog.clone(), Arc::clone(&clock), expire_after);
        let pulls = PullRecords::new(catalog.clone());
        let immutable = immutable_tags(config)?;
        let runs = RetentionRuns::open(catalog.clone(), config.access_mode, immutable, clock).await;
        let runs = runs.with_context(|| cannot("read the retention runs of"))?;
        let access_mode = config.access_mode;
        Ok(Self { folder, catalog, runs, scrubs, collections, schedule, pulls, uploads, access_mode })
    }

    /// Begins what it does by itself, once it has joined the other replicas and before it answers.
    pub(super) async fn begin_maintenance(&self) {
        self.pulls.begin().await;
        self.runs.begin();
        if self.access_mode == AccessMode::ReadWrite {
            self.uploads.begin();
            if let Some(schedule) = &self.schedule {
                schedule.begin();
            }
        }
    }

    /// Waits for what is in progress, leaves the other replicas in order, and gives a folder back. Requests must have
    /// been drained; other replicas must still be answered.
    pub(super) async fn close(self) {
        self.uploads.shutdown().await;
        if let Some(schedule) = &self.schedule {
            schedule.shutdown().await;
        }
        self.collections.shutdown().await;
        self.scrubs.shutdown().await;
        self.runs.shutdown().await;
        self.pulls.shutdown().await;
        self.catalog.leave().await;
        let Some(folder) = self.folder else { return };
        if let Err(error) = folder.close().await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "could not note that the registry stopped in order; the next start syncs everything");
        }
    }
}

/// A registry that is looked at, and not served: nothing is noted but what finishing an interrupted delete needs.
#[derive(Debug)]
pub(super) struct UnservedRegistry {
    driver: Arc<FilesystemDriver>,
    /// What is in it.
    pub(super) catalog: Catalog,
}

impl UnservedRegistry {
    /// Opens a folder that nobody serves.
    ///
    /// # Errors
    /// [`InvalidUsage`] where it is absent or another process holds it; else if it cannot be read.
    pub(super) async fn open_folder(directory: &Path, options: Options) -> anyhow::Result<Self> {
        let place = directory.display();
        let opened = Self::try_open(directory, options, Timing::default()).await?;
        opened.ok_or_else(|| {
            InvalidUsage(format!(
                "{place} is in use: ask the registry that serves it, with --registry URL instead of the folder"
            ))
            .into()
        })
    }

    /// Opens a folder; `None` where another process holds it.
    ///
    /// # Errors
    /// [`InvalidUsage`] where it is absent; else if it cannot be read.
    pub(super) async fn try_open(directory: &Path, options: Options, timing: Timing) -> anyhow::Result<Option<Self>> {
        let place = directory.display();
        if !directory.is_dir() {
            return Err(InvalidUsage(format!("{place} is no folder")).into());
        }
        let unlocked = FilesystemDriver::prepare(directory).await.with_context(|| format!("could not use {place}"))?;
        if !unlocked.try_lock().with_context(|| format!("could not lock {place}"))? {
            return Ok(None);
        }
        let driver = Arc::new(unlocked.lock().await.with_context(|| format!("could not use {place}"))?);
        let catalog = Catalog::open_with(Arc::clone(&driver) as _, options, clock(), timing).await;
        let catalog = catalog.with_context(|| format!("could not read what is in {place}"))?;
        Ok(Some(Self { driver, catalog }))
    }

    /// Waits for what is in progress, and gives the folder back.
    pub(super) async fn close(self) {
        self.catalog.drain().await;
        if let Err(error) = self.driver.close().await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "could not note that the folder was left in order; the next start syncs everything");
        }
    }
}

/// How a catalog behaves that nobody serves. What is not mentioned in a folder is as a Registry has it by default: what an
/// interrupted delete left is finished, nothing is deleted, and little is remembered.
pub(super) fn unserved_options() -> Options {
    Options {
        deletion: DeletionMode::Soft,
        restore_window: Duration::from_secs(7 * 24 * 60 * 60),
        cache_entries: 10_000,
        redis: None,
        metrics: StorageMetrics::new(),
    }
}

/// When this process begins a collection by itself.
fn schedule(
    config: &ServeConfig,
    catalog: &Catalog,
    collections: &Collections,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<ScheduledCollections>> {
    let collection = &config.garbage_collection;
    let Some(cron) = collection.schedule.as_deref().filter(|_| collection.mode == GarbageCollectionMode::Online) else {
        return Ok(None);
    };
    let schedule = compile_collection_schedule(cron).context("garbageCollection")?;
    let (catalog, collections) = (catalog.clone(), collections.clone());
    Ok(Some(ScheduledCollections::new(catalog, collections, Arc::clone(clock), schedule)))
}

/// The process's clock.
pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

async fn open_folder(
    directory: &Path,
    options: Options,
    timing: Timing,
    clock: &Arc<dyn Clock>,
    tell: Tell<'_>,
) -> anyhow::Result<(Option<Arc<FilesystemDriver>>, Catalog)> {
    let cannot = |what: &str| format!("could not {what} {}", directory.display());
    let unlocked = FilesystemDriver::prepare(directory).await.with_context(|| cannot("use"))?;
    if !unlocked.try_lock().with_context(|| cannot("lock"))? {
        let holder = local_socket::holder(directory).await;
        let holder = holder.map_or_else(|| "another process".to_owned(), |process| format!("process {process}"));
        let place = directory.display();
        tell(&format!("waiting for {holder} to end, which holds {place}: a lagan that serves it, or a command on it"));
    }
    let driver = Arc::new(unlocked.lock().await.with_context(|| cannot("use"))?);
    let catalog = Catalog::open_with(Arc::clone(&driver) as _, options, Arc::clone(clock), timing).await;
    Ok((Some(driver), catalog.with_context(|| cannot("read what is in"))?))
}

async fn open_bucket(
    config: &ServeConfig,
    bucket: &ObjectStoreOptions,
    replica: Option<ReplicaSetup>,
    options: Options,
    timing: Timing,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Catalog> {
    let driver = ObjectDriver::open(bucket).with_context(|| format!("could not use {}", config.storage))?;
    let driver: Arc<dyn StorageDriver> = Arc::new(driver);
    test(&config.storage, &driver).await?;
    let setup = if let Some(setup) = replica {
        setup
    } else {
        let alone = await_solitude(&*driver, &**clock, &timing).await;
        alone.with_context(|| format!("could not read which other processes serve {}", config.storage))?;
        ReplicaSetup::alone()
    };
    Ok(Catalog::open_shared(driver, options, Arc::clone(clock), timing, setup))
}

/// Tags that never move.
///
/// # Errors
/// A configuration that was not checked.
pub(super) fn immutable_tags(config: &ServeConfig) -> anyhow::Result<Arc<ImmutableTags>> {
    let compiled = compile_immutable_tags(&config.immutable_tags);
    compiled.map(Arc::new).map_err(|error| anyhow::anyhow!("{error}"))
}

/// How long things may take, from what the configuration says of collecting.
pub(super) fn timing(config: &ServeConfig) -> Timing {
    Timing { grace: config.garbage_collection.grace(&config.deletion.restore_window), ..Timing::default() }
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
