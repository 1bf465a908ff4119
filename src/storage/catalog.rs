//! The whole registry's content.

use std::{sync::Arc, time::Duration};

use crate::oci::RepositoryName;

use super::{
    Clock, Error, ReplicaSetup, Repository, StorageMetrics, Timing, Trash,
    adoption::ForeignWriters,
    cache::blob_descriptor::{Descriptors, RedisTarget},
    driver::{self, InstrumentedDriver, StorageDriver},
    guard::keys::Guard,
    layout::PathSpec,
    manifests::reach::Reach,
    repository_walk::RepositoryWalk,
    store::Store,
    uploads::lease::UploadLeases,
};

/// What a DELETE does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionMode {
    /// It hides, and what it hid can be restored.
    Soft,
    /// It is refused.
    Disabled,
}

/// How a catalog behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a DELETE does.
    pub deletion: DeletionMode,
    /// How long what was deleted can be restored, counted from the delete.
    pub restore_window: Duration,
    /// How many descriptors the in-memory cache holds.
    pub cache_entries: u64,
    /// The cache behind that one, which replicas share.
    pub redis: Option<RedisTarget>,
    /// What is counted.
    pub metrics: StorageMetrics,
}

/// A part of a longer list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries, in order.
    pub entries: Vec<T>,
    /// Whether more follow after the last one.
    pub more: bool,
}

/// Every repository of one store. What distribution calls a namespace.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub(super) store: Arc<Store>,
}

impl Catalog {
    /// Opens the store below a driver, and finishes the deletes that a crash interrupted.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn open(driver: Arc<dyn StorageDriver>, options: Options, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::open_with(driver, options, clock, Timing::default()).await
    }

    /// As [`Self::open`], with waits of another length.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(
        driver: Arc<dyn StorageDriver>,
        options: Options,
        clock: Arc<dyn Clock>,
        timing: Timing,
    ) -> Result<Self, Error> {
        let store = Self::store(driver, options, clock, timing, true);
        store.join_descriptor_caches().await?;
        store.recover().await?;
        Ok(Self { store: Arc::new(store) })
    }

    /// Opens a store that other processes serve at the same time. Until it has [joined](Self::joined) them it reads, and
    /// promises nothing. It must [leave](Self::leave) before it is dropped: its life is a task of its own.
    #[must_use]
    pub fn open_shared(
        driver: Arc<dyn StorageDriver>,
        options: Options,
        clock: Arc<dyn Clock>,
        timing: Timing,
        setup: ReplicaSetup,
    ) -> Self {
        Self::share(Self::store(driver, options, clock, timing, false), setup)
    }

    /// Whether what is written to a store is seen at once (docs/protocol.md, assumption A1): empty where it is.
    ///
    /// # Errors
    /// Where the store could not be asked.
    pub async fn self_test(driver: &Arc<dyn StorageDriver>) -> Result<Vec<driver::Violation>, driver::Error> {
        driver::self_test(Arc::clone(driver), &PathSpec::SelfTest.path()).await
    }

    fn store(
        driver: Arc<dyn StorageDriver>,
        options: Options,
        clock: Arc<dyn Clock>,
        timing: Timing,
        is_alone: bool,
    ) -> Store {
        let driver: Arc<dyn StorageDriver> = Arc::new(InstrumentedDriver::new(driver, options.metrics.driver.clone()));
        Store {
            descriptors: Arc::new(Descriptors::new(
                options.cache_entries,
                options.redis.clone(),
                &options.metrics.cache,
            )),
            fenced: Arc::clone(&driver).fenced(),
            driver,
            options,
            guard: Guard::new(timing.guard_wait, Arc::clone(&clock)),
            uploads: UploadLeases::new(Arc::clone(&clock)),
            clock,
            suspects: Arc::default(),
            changes: Arc::default(),
            ids: Arc::default(),
            reach: Arc::new(Reach::new(is_alone)),
            unfinished: Arc::default(),
            referrer_lists: Arc::default(),
            tag_names: Arc::default(),
            pulls: Arc::default(),
            immutable_pushes: Arc::default(),
            foreign: Arc::new(ForeignWriters::default()),
            timing,
            replicas: None,
            fence: None,
        }
    }

    /// Waits until every push, delete and restore that runs is over, whether or not somebody waits for its answer.
    pub async fn drain(&self) {
        self.store.changes.drain().await;
    }

    /// Whether other processes may serve the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.store.replicas.is_some()
    }

    /// How it behaves.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.store.options
    }

    /// A repository by its name, whether or not it exists: it begins to with its first manifest.
    #[must_use]
    pub fn repository(&self, name: &RepositoryName) -> Repository {
        Repository { name: name.clone(), store: Arc::clone(&self.store) }
    }

    /// At most `limit` names of repositories with a visible manifest, in the order of their bytes, after `after` (any
    /// text).
    ///
    /// # Errors
    /// [`Error::Unlisted`] where a folder cannot be read: a list that left it out would say that it is not there;
    /// [`Error::Driver`].
    pub async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Page<RepositoryName>, Error> {
        self.visible_repositories(after, limit).await.map_err(|error| match error {
            Error::Driver { source: driver::Error::Io { action, path, source }, .. } => {
                let name = path.to_string();
                Error::Unlisted { path: name, source: driver::Error::Io { action, path, source } }
            }
            other => other,
        })
    }

    async fn visible_repositories(&self, after: Option<&str>, limit: usize) -> Result<Page<RepositoryName>, Error> {
        let mut entries = Vec::new();
        let mut walk = RepositoryWalk::begin(&self.store, after);
        while let Some(name) = walk.next().await? {
            if !self.store.has_revision(&name).await? {
                continue;
            }
            if entries.len() == limit {
                return Ok(Page { entries, more: true });
            }
            entries.push(name);
        }
        Ok(Page { entries, more: false })
    }

    /// What was deleted and can still be restored.
    #[must_use]
    pub fn trash(&self) -> Trash {
        Trash { store: Arc::clone(&self.store) }
    }
}

impl Store {
    /// Whether any repository has a visible manifest.
    pub(super) async fn has_any_repository(&self) -> Result<bool, Error> {
        let mut walk = RepositoryWalk::begin(self, None);
        while let Some(name) = walk.next().await? {
            if self.has_revision(&name).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        oci::Digest,
        storage::{
            fixtures::{World, name, sha256},
            layout::PathSpec,
        },
    };

    use super::*;

    const NAMES: [&str; 11] =
        ["a", "a-b", "a-b/c", "a.b/c", "a/b", "a/b-c", "a/b/c", "a/b0", "a0", "a0/x", "b/deep/er/name"];

    /// Makes a repository visible.
    async fn link(catalog: &Catalog, repository: &str) -> Digest {
        let digest = sha256(repository.as_bytes());
        catalog.store.put_link(PathSpec::RevisionLink(&name(repository), &digest), &digest).await.unwrap();
        digest
    }

    async fn page(catalog: &Catalog, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let page = catalog.repositories(after, limit).await.unwrap();
        (page.entries.iter().map(ToString::to_string).collect(), page.more)
    }

    #[tokio::test]
    async fn names_come_in_the_order_of_their_bytes() {
        let catalog = World::new().open().await;
        assert_eq!(page(&catalog, None, 10).await, (Vec::new(), false));
        for repository in NAMES.iter().rev() {
            link(&catalog, repository).await;
        }
        assert!(NAMES.is_sorted());
        assert_eq!(page(&catalog, None, 100).await, (NAMES.map(str::to_owned).to_vec(), false));
    }

    #[tokio::test]
    async fn pages_join_whatever_they_begin_after() {
        let catalog = World::new().open().await;
        for repository in NAMES {
            link(&catalog, repository).await;
        }
        let others = ["", "a-", "a/", "a/b/", "a/b/0", "a/zzz", "b", "b/deep", "B", "zzz", "a0/", "ä", "../a"];
        for after in NAMES.into_iter().chain(others) {
            let expected: Vec<&str> = NAMES.into_iter().filter(|name| *name > after).collect();
            for limit in 1..NAMES.len() {
                let (names, more) = page(&catalog, Some(after), limit).await;
                assert_eq!(names, expected[..limit.min(expected.len())], "after {after:?}");
                assert_eq!(more, expected.len() > limit, "after {after:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_page_of_a_long_list_lists_a_part_of_it() {
        let world = World::new();
        let catalog = world.open().await;
        let mut names: Vec<String> =
            (0..400).flat_map(|n| [format!("r{n}"), format!("r{n}-x"), format!("r{n}/y")]).collect();
        for repository in &names {
            link(&catalog, repository).await;
        }
        names.sort_unstable();
        assert_eq!(page(&catalog, None, 2_000).await, (names.clone(), false));
        for after in ["r1", "r2-x", "r250/y", "r399", "r39/"] {
            let begin = names.partition_point(|name| name.as_str() <= after);
            let expected: Vec<String> = names[begin..].iter().take(5).cloned().collect();
            let listed = world.driver.listed();
            assert_eq!(page(&catalog, Some(after), 5).await.0, expected, "after {after}");
            let listed = world.driver.listed() - listed;
            assert!(listed < 200, "{listed} names were listed for five after {after}");
        }
    }

    #[tokio::test]
    async fn a_repository_is_found_to_exist_without_listing_its_manifests() {
        let world = World::new();
        let catalog = world.open().await;
        let app = name("app");
        let digests: Vec<Digest> = (0..100_u8).map(|n| sha256(&[n])).collect();
        for digest in &digests {
            catalog.store.put_link(PathSpec::RevisionLink(&app, digest), digest).await.unwrap();
        }
        let listed = world.driver.listed();
        assert!(catalog.store.has_revision(&app).await.unwrap());
        assert!(world.driver.listed() - listed < 10);
        let last = digests.iter().max().unwrap();
        for digest in digests.iter().filter(|digest| *digest != last) {
            world.memory.remove_now(&PathSpec::RevisionLink(&app, digest).path());
            let left = PathSpec::RevisionFolder(&app, digest).path();
            world.memory.put_now(&left.child(&"left".parse().unwrap()), "");
        }
        assert!(catalog.store.has_revision(&app).await.unwrap(), "behind folders without a link");
    }

    #[tokio::test]
    async fn list_that_would_be_incomplete_fails_and_names_the_folder() {
        let world = World::new();
        let catalog = world.open().await;
        for repository in ["a", "b"] {
            link(&catalog, repository).await;
        }
        let mut failed = 0;
        loop {
            world.driver.fail_one_read(failed);
            let listed = catalog.repositories(None, 10).await;
            if !world.driver.has_failed_to_read() {
                break;
            }
            failed += 1;
            let error = listed.unwrap_err();
            let named = |path: &str| path.starts_with("docker/registry/v2/repositories");
            assert!(matches!(&error, Error::Unlisted { path, .. } if named(path)), "{error:?}");
        }
        assert!(failed >= 3, "only {failed} reads were made");
    }

    #[tokio::test]
    async fn repositories_without_a_visible_manifest_are_hidden() {
        let world = World::new();
        let catalog = world.open().await;
        let digest = link(&catalog, "gone/visible").await;
        link(&catalog, "gone").await;
        catalog.store.put_link(PathSpec::LayerLink(&name("layers"), &digest), &digest).await.unwrap();
        assert_eq!(page(&catalog, None, 10).await.0, ["gone", "gone/visible"]);
        world.memory.remove_now(&PathSpec::RevisionLink(&name("gone"), &sha256(b"gone")).path());
        assert_eq!(page(&catalog, None, 10).await.0, ["gone/visible"]);
        world.memory.put_now(&"docker/registry/v2/repositories/UPPER/_manifests/x".parse().unwrap(), "foreign");
        world.memory.put_now(&"docker/registry/v2/repositories/file".parse().unwrap(), "foreign");
        assert_eq!(page(&catalog, None, 10).await.0, ["gone/visible"]);
    }
}
