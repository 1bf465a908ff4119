//! Uploads that nobody goes on with.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::storage::{
    Catalog, Error, Repository, UploadId,
    driver::{self, Purge, Staging},
    layout::PathSpec,
    metrics::UploadEvent,
    repository_walk::RepositoryWalk,
    store::Store,
};

/// What a purge of uploads came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PurgedUploads {
    /// Uploads that are gone.
    pub removed: u64,
    /// Repositories in which something could not be removed; the next purge tries again.
    pub failed: u64,
}

impl Catalog {
    /// Removes every upload to which nothing came since `unused_since`, in all repositories, and what a scrub that was
    /// cut off was putting aside then.
    ///
    /// # Guarantees
    /// - An upload that somebody writes to, in this process or another, stays; or its client is told that it is gone
    ///   before any of what it sends is acknowledged.
    /// - Several processes may do this at once.
    ///
    /// # Errors
    /// Where the repositories cannot be listed: [`Error::Driver`]; [`Error::NoLease`].
    ///
    /// # Cancel safety
    /// What was removed is; the next call goes on.
    pub async fn purge_uploads(&self, unused_since: Timestamp) -> Result<PurgedUploads, Error> {
        let mut purged = PurgedUploads::default();
        let mut walk = RepositoryWalk::begin(&self.store, None);
        while let Some(name) = walk.next().await? {
            // Whoever may be taken for gone removes nothing.
            self.store.for_change()?;
            let repository = self.repository(&name);
            if let Err(error) = repository.purge_uploads(unused_since, &mut purged.removed).await {
                warn!(repository = %name, error = &error as &dyn std::error::Error, "could not purge uploads");
                purged.failed += 1;
            }
        }
        self.store.purge_quarantine_staging(unused_since).await?;
        Ok(purged)
    }
}

impl Repository {
    async fn purge_uploads(&self, unused_since: Timestamp, removed: &mut u64) -> Result<(), Error> {
        for id in self.store.names(PathSpec::Uploads(&self.name)).await?.iter().filter_map(|name| name.parse().ok()) {
            match self.purge_upload(&id, unused_since).await {
                Ok(Purge::Removed) => *removed += 1,
                // Somebody goes on with it, or has ended it.
                Ok(Purge::InUse | Purge::Absent) | Err(Error::UploadBusy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes an upload to which nothing came since `unused_since`, with all that belongs to it, also one that is
    /// damaged.
    ///
    /// # Errors
    /// [`Error::UploadBusy`] where somebody in this process is at it, [`Error::Driver`].
    pub(in crate::storage) async fn purge_upload(
        &self,
        id: &UploadId,
        unused_since: Timestamp,
    ) -> Result<Purge, Error> {
        let lease = self.store.uploads.take(id, Duration::ZERO).await?;
        let (store, staging) = (self.store.clone(), PathSpec::staging(&self.name, id));
        // To its end, with the lease: a removal that lands late must not meet who goes on.
        let purge = async move {
            let purged = store.driver.purge(&staging, unused_since).await;
            drop(lease);
            purged
        };
        let purged = self.store.changes.run(purge).await;
        let purged = purged.map_err(|source| Error::driver("remove an upload", source))?;
        if purged == Purge::Removed {
            self.store.options.metrics.content.upload(UploadEvent::Purged);
            info!(repository = %self.name, upload_id = %id, "removed an upload that nobody went on with");
        }
        Ok(purged)
    }

    /// When something came to an upload last; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn upload_last_use(&self, id: &UploadId) -> Result<Option<Timestamp>, Error> {
        match self.store.driver.last_use(&PathSpec::staging(&self.name, id)).await {
            Ok(last_use) => Ok(Some(last_use)),
            Err(driver::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(Error::driver("look at an upload", source)),
        }
    }
}

impl Store {
    /// Removes what was staged for the quarantine by a scrub that was cut off.
    async fn purge_quarantine_staging(&self, unused_since: Timestamp) -> Result<(), Error> {
        for name in self.names(PathSpec::Quarantine).await? {
            let Some(id) = PathSpec::quarantine_staging_id(&name) else { continue };
            let staging: Staging = PathSpec::quarantine_staging(id);
            let purged = self.driver.purge(&staging, unused_since).await;
            purged.map_err(|source| Error::driver("remove what a scrub left", source))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use crate::storage::{
        BlobUpload, Clock as _,
        driver::{Durability, FilesystemDriver, StorageDriver},
        fixtures::{ManualClock, World, name, open, options, sha256},
    };

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    async fn begin(repository: &Repository, content: &'static str) -> BlobUpload {
        let mut upload = repository.create_upload().await.unwrap();
        upload.append(Bytes::from(content)).await.unwrap();
        upload
    }

    async fn leave(upload: BlobUpload) -> UploadId {
        let id = upload.id().clone();
        upload.suspend().await.unwrap();
        id
    }

    async fn removed(catalog: &Catalog, unused_since: Timestamp) -> u64 {
        let purged = catalog.purge_uploads(unused_since).await.unwrap();
        assert_eq!(purged.failed, 0);
        purged.removed
    }

    #[tokio::test]
    async fn uploads_of_all_repositories_go_when_nothing_came_for_long_and_no_others() {
        let world = World::new();
        let catalog = world.open().await;
        let (old, slow) = (catalog.repository(&name("old/deep")), catalog.repository(&name("slow")));
        let gone = leave(begin(&old, "gone").await).await;
        let used = leave(begin(&slow, "used").await).await;
        let ended = begin(&slow, "ended").await;
        ended.commit(&sha256(b"ended")).await.unwrap();
        let held = begin(&slow, "held").await;
        world.clock.advance(DAY);
        let mut goes_on = slow.resume_upload(&used).await.unwrap();
        goes_on.append(Bytes::from(" again")).await.unwrap();
        leave(goes_on).await;
        world.clock.advance(DAY);
        // Damaged: nothing says when it began, and there are no bytes.
        let odd = UploadId::random();
        let state = PathSpec::UploadHashStates(old.name(), &odd, crate::oci::Algorithm::Sha256).path();
        world.memory.put_now(&state.child(&"7".parse().unwrap()), "x");
        let now = world.clock.now();
        assert_eq!(removed(&catalog, now - DAY - DAY - DAY).await, 0);
        assert_eq!(removed(&catalog, now - DAY - Duration::from_secs(1)).await, 1);
        assert!(matches!(old.resume_upload(&gone).await, Err(Error::UploadUnknown { .. })));
        assert_eq!(slow.upload_offset(&used).await.unwrap(), 10);
        world.clock.advance(DAY);
        assert_eq!(removed(&catalog, world.clock.now()).await, 2, "the one that goes on, and the damaged one");
        held.commit(&sha256(b"held")).await.unwrap();
        let left: Vec<_> = world.memory.paths().into_iter().filter(|path| path.as_str().contains("_uploads")).collect();
        assert_eq!(left, []);
        assert!(slow.open_blob(&sha256(b"ended")).await.is_ok());
    }

    #[tokio::test]
    async fn what_a_scrub_left_half_way_to_the_quarantine_goes_and_the_quarantine_stays() {
        let world = World::new();
        let catalog = world.open().await;
        let (id, now) = (catalog.store.ids.next(world.clock.now()), world.clock.now());
        let staging = PathSpec::quarantine_staging(id);
        drop(world.driver.stage(&staging, Bytes::from("then")).await.unwrap());
        let kept = PathSpec::Quarantined(&sha256(b"x"), id).path();
        world.memory.put_now(&kept, "damaged");
        removed(&catalog, now - DAY).await;
        assert!(world.memory.paths().len() > 1);
        removed(&catalog, now).await;
        assert_eq!(world.memory.paths(), [kept]);
    }

    #[tokio::test]
    async fn a_repository_whose_uploads_cannot_be_removed_does_not_keep_others_from_it() {
        let world = World::new();
        let catalog = world.open().await;
        for text in ["a", "b", "c"] {
            leave(begin(&catalog.repository(&name(text)), "gone").await).await;
        }
        world.driver.fail_once(1, crate::storage::driver::faulty::Fault::Refused);
        let purged = catalog.purge_uploads(world.clock.now()).await.unwrap();
        assert_eq!(purged, PurgedUploads { removed: 2, failed: 1 });
        assert_eq!(removed(&catalog, world.clock.now()).await, 1);
    }

    #[tokio::test]
    async fn folders_are_looked_at_to_their_ground() {
        let folder = tempfile::tempdir().unwrap();
        let driver: Arc<dyn StorageDriver> = Arc::new(FilesystemDriver::open(folder.path()).await.unwrap());
        let catalog = open(Arc::clone(&driver), options(), Arc::new(ManualClock::new())).await;
        let repository = catalog.repository(&name("a"));
        let id = leave(begin(&repository, "some").await).await;
        let used = repository.upload_last_use(&id).await.unwrap().unwrap();
        // Distribution leaves folders behind in which there is nothing.
        let empty = UploadId::random();
        let inside = PathSpec::UploadData(repository.name(), &empty).path();
        driver.put(&inside, Bytes::new(), Durability::Visible).await.unwrap();
        std::fs::remove_file(folder.path().join(inside.as_str())).unwrap();
        assert_eq!(removed(&catalog, used - DAY).await, 0);
        assert_eq!(removed(&catalog, used + DAY).await, 2);
        let uploads = folder.path().join(PathSpec::Uploads(repository.name()).path().as_str());
        assert!(!uploads.exists());
    }
}
