//! A registry in this process, on a folder: what a handler would ask of the storage is asked here, without HTTP.

use std::{fmt::Display, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use lagan::api::v1alpha1::CollectionBrake;
use lagan::api::wire::{CollectionRequest, CollectionState, FindingView, ScrubRequest, ScrubState};
use lagan::maintenance::{Collections, Scrubs};
use lagan::oci::{Algorithm, Digest, Manifest, Reference, RepositoryName};
use lagan::storage::driver::{FilesystemDriver, StorageDriver as _};
use lagan::storage::{
    Audience, Catalog, Clock, Conflict, DeleteCause, DeletionMode, Error, Options, PutManifest, Repository,
    StorageMetrics, TrashFilter, TrashGroup,
};
use rustix::time::{ClockId, clock_gettime};

use super::{content::Content, image::Image};

pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Who asks for everything.
const ACTOR: &str = "somebody";

/// More than any list here has.
pub(crate) const ALL: usize = 1000;

/// The machine's clock: a collection compares the ages of files with it.
#[derive(Debug)]
struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let now = clock_gettime(ClockId::Realtime);
        Timestamp::new(now.tv_sec, i32::try_from(now.tv_nsec).unwrap()).unwrap()
    }

    fn boot_time(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
    }
}

/// A registry that is open.
pub(crate) struct Registry {
    driver: FilesystemDriver,
    pub(crate) catalog: Catalog,
    collections: Collections,
    scrubs: Scrubs,
}

impl Registry {
    /// Opens a folder as `lagan serve` does, which recovers it.
    pub(crate) async fn open(data: &Path) -> Result<Self, String> {
        let driver = FilesystemDriver::open(data).await.map_err(|e| format!("the folder does not open: {e}"))?;
        let clock: Arc<dyn Clock> = Arc::new(MachineClock);
        let options = Options {
            deletion: DeletionMode::Soft,
            restore_window: WEEK,
            cache_entries: 1000,
            redis: None,
            metrics: StorageMetrics::default(),
        };
        let catalog = Catalog::open(Arc::new(driver.clone()), options, Arc::clone(&clock)).await;
        let catalog = catalog.map_err(said("the store does not open"))?;
        catalog.adopt().await.map_err(said("the store does not open"))?;
        let collections = Collections::open(catalog.clone(), Arc::clone(&clock), WEEK).await;
        let collections = collections.map_err(|e| format!("the store does not open: {e}"))?;
        let scrubs = Scrubs::new(catalog.clone(), clock);
        Ok(Self { driver, catalog, collections, scrubs })
    }

    /// Ends it without a word to the store, once nothing runs.
    pub(crate) async fn abandon(self) {
        self.catalog.drain().await;
        self.collections.shutdown().await;
        self.scrubs.shutdown().await;
    }

    /// Ends it in order.
    pub(crate) async fn close(self) {
        self.try_to_close().await.unwrap();
    }

    pub(crate) async fn try_to_close(self) -> Result<(), String> {
        let driver = self.driver.clone();
        self.abandon().await;
        driver.close().await.map_err(|error| format!("the end in order: {error}"))
    }

    /// Whether a sync failed, so that it takes no more writes.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.driver.is_poisoned()
    }

    /// Whether ages that files were given may have been lost with the machine.
    pub(crate) fn may_have_lost_ages(&self) -> bool {
        self.driver.ages_lost_at().is_some()
    }

    pub(crate) fn repository(&self, name: &str) -> Repository {
        self.catalog.repository(&repository_name(name))
    }

    /// Uploads a blob in so many parts besides the last request, each of which finds the upload again.
    pub(crate) async fn push_blob(&self, name: &str, bytes: &[u8], parts: usize) -> Result<(), String> {
        let repository = self.repository(name);
        let digest = Digest::of(Algorithm::Sha256, bytes);
        let done = async {
            let upload = repository.create_upload().await?;
            let id = upload.id().clone();
            upload.suspend().await?;
            let mut rest = bytes;
            for part in 0..parts {
                let (chunk, others) = rest.split_at(rest.len() / (parts - part + 1));
                let mut upload = repository.resume_upload(&id).await?;
                upload.append(Bytes::copy_from_slice(chunk)).await?;
                upload.suspend().await?;
                rest = others;
            }
            let mut upload = repository.resume_upload(&id).await?;
            upload.append(Bytes::copy_from_slice(rest)).await?;
            upload.commit(&digest).await
        };
        done.await.map(drop).map_err(said(format!("blob {digest}")))
    }

    pub(crate) async fn mount(&self, name: &str, from: &str, digest: &Digest) -> Result<(), String> {
        let mounted = self.repository(name).mount_blob(digest, &repository_name(from)).await;
        mounted.map_err(said("a mount"))?.map(drop).ok_or_else(|| format!("{digest} could not be mounted"))
    }

    /// Asks for a blob as somebody who may push, and relies on the answer.
    pub(crate) async fn promise(&self, name: &str, digest: &Digest) -> Result<(), String> {
        let found = self.repository(name).stat_blob(digest, Audience::Pusher).await;
        found.map(drop).map_err(said(digest.to_string()))
    }

    pub(crate) async fn put_manifest(&self, name: &str, reference: &str, image: &Image) -> Result<(), String> {
        let reference: Reference = reference.parse().unwrap();
        let (digest, tags) = match reference {
            Reference::Tag(tag) => (None, vec![tag]),
            Reference::Digest(digest) => (Some(digest), Vec::new()),
        };
        let manifest = Manifest::parse(Some(&image.media_type.parse().unwrap()), &image.manifest).unwrap();
        let bytes = Bytes::from(image.manifest.clone());
        let put = PutManifest { digest, tags, manifest, bytes, actor: ACTOR.to_owned(), immutable: Vec::new() };
        self.repository(name).put_manifest(put).await.map(drop).map_err(said("a manifest"))
    }

    /// Deletes; where it is asked for again, it may be gone already.
    pub(crate) async fn delete(&self, name: &str, reference: &str, is_again: bool) -> Result<(), String> {
        match self.repository(name).delete_manifest(&reference.parse().unwrap(), cause()).await {
            Ok(_) => Ok(()),
            Err(Error::ManifestUnknown { .. }) if is_again => Ok(()),
            Err(error) => Err(said(format!("the delete of {reference}"))(error)),
        }
    }

    pub(crate) async fn delete_blob(&self, name: &str, digest: &Digest, is_again: bool) -> Result<(), String> {
        match self.repository(name).delete_blob(digest, cause()).await {
            Ok(_) => Ok(()),
            Err(Error::BlobUnknown { .. }) if is_again => Ok(()),
            Err(error) => Err(said(format!("the delete of {digest}"))(error)),
        }
    }

    pub(crate) async fn delete_repository(&self, name: &str, is_again: bool) -> Result<(), String> {
        match self.repository(name).delete(cause()).await {
            Ok(_) => Ok(()),
            Err(Error::RepositoryUnknown { .. }) if is_again => Ok(()),
            Err(error) => Err(said(format!("the delete of {name}"))(error)),
        }
    }

    /// Where it is asked for again, a blob may be there already. Of a manifest that is no error.
    pub(crate) async fn restore(
        &self,
        name: &str,
        reference: &str,
        conflict: Conflict,
        is_again: bool,
    ) -> Result<(), String> {
        let (name, reference) = (repository_name(name), reference.parse().unwrap());
        match self.catalog.trash().restore_reference(&name, &reference, conflict, ACTOR).await {
            Ok(_) => Ok(()),
            Err(Error::NotInTrash { .. }) if is_again => Ok(()),
            Err(error) => Err(said("a restore")(error)),
        }
    }

    /// Brings back what was deleted together with the newest entry of a repository, if there is one still.
    pub(crate) async fn restore_group(&self, name: &str, is_again: bool) -> Result<(), String> {
        let filter = TrashFilter { repository: Some(repository_name(name)), ..TrashFilter::default() };
        let trash = self.catalog.trash();
        let entries = trash.list(&filter, None, ALL).await.map_err(said("the trash"))?.entries;
        let Some(entry) = entries.first() else {
            return if is_again { Ok(()) } else { Err(format!("nothing of {name} is in the trash")) };
        };
        let group = TrashGroup { repository: entry.repository.clone(), name: entry.group.clone() };
        trash.restore_group(&group, Conflict::Fail, ACTOR).await.map(drop).map_err(said("the restore of a group"))
    }

    /// Gives up the newest entry of what a reference names; where it is asked for again, it may be given up already.
    pub(crate) async fn purge(&self, name: &str, reference: &str, is_again: bool) -> Result<(), String> {
        let (repository, reference) = (Some(repository_name(name)), Some(reference.parse().unwrap()));
        let filter = TrashFilter { repository, reference, ..TrashFilter::default() };
        let trash = self.catalog.trash();
        let entries = trash.list(&filter, None, ALL).await.map_err(said("the trash"))?.entries;
        match entries.first() {
            Some(entry) => trash.purge(&entry.id).await.map(drop).map_err(said("a purge")),
            None if is_again => Ok(()),
            None => Err(format!("what is to be purged of {name} is not in the trash")),
        }
    }

    /// Restores whatever can be.
    pub(crate) async fn restore_all(&self) -> Result<(), String> {
        let trash = self.catalog.trash();
        let entries = trash.list(&TrashFilter::default(), None, ALL).await.map_err(said("the trash"))?.entries;
        for entry in entries {
            match trash.restore(&entry.id, Conflict::Replace, ACTOR).await {
                // What was in its group is restored with it, and its entry gone.
                Ok(_) | Err(Error::TombstoneUnknown { .. }) => {}
                Err(error) => return Err(said(format!("the restore of {entry:?}"))(error)),
            }
        }
        Ok(())
    }

    /// Collects; which brake stopped it, if one did.
    pub(crate) async fn collect(&self) -> Result<Option<CollectionBrake>, String> {
        let request = CollectionRequest { dry_run: false, confirm: None };
        self.collections.begin(ACTOR, request).await.map_err(|error| format!("a collection: {error}"))?;
        let status = self.collections.settled().await.unwrap();
        match (status.state, &status.halt) {
            (CollectionState::Finished, _) if status.problem_count == 0 => Ok(None),
            (CollectionState::Halted, Some(halt)) => Ok(Some(halt.brake)),
            _ => Err(format!("a collection ended: {status:?}")),
        }
    }

    /// Whether the last collection came to an end, be it that a brake stopped it.
    pub(crate) async fn has_collected(&self) -> Result<bool, String> {
        let status = self.collections.status().await.map_err(|error| format!("the collection's report: {error}"))?;
        let ended = [CollectionState::Finished, CollectionState::Halted];
        Ok(status.is_some_and(|status| ended.contains(&status.state)))
    }

    /// Looks at everything, and mends it if that is asked for; what was found.
    pub(crate) async fn scrub(&self, repair: bool) -> Result<Vec<FindingView>, String> {
        let request = ScrubRequest { repair, uploads_older_than: None };
        self.scrubs.start(&request).await.map_err(|error| format!("a scrub: {error}"))?;
        let status = self.scrubs.settled().await.unwrap();
        if status.state != ScrubState::Finished {
            return Err(format!("a scrub ended: {status:?}"));
        }
        Ok(self.scrubs.findings(None, ALL).await.unwrap().findings)
    }
}

impl Content for Registry {
    async fn manifest(&self, repository: &str, reference: &str) -> Result<Option<Vec<u8>>, String> {
        match self.repository(repository).manifest(&reference.parse().unwrap()).await {
            Ok(found) => Ok(Some(found.bytes.to_vec())),
            Err(Error::ManifestUnknown { .. }) => Ok(None),
            Err(error) => Err(said(format!("{repository} {reference}"))(error)),
        }
    }

    /// Promised to nobody: that would make its link young.
    async fn blob(&self, repository: &str, digest: &Digest) -> Result<Option<Vec<u8>>, String> {
        let repository = self.repository(repository);
        let read = async {
            let blob = repository.open_blob(digest).await?;
            blob.stream(0..blob.size()).await
        };
        match read.await {
            Ok(stream) => {
                let chunks: Vec<Bytes> = stream.try_collect().await.map_err(|error| format!("{digest}: {error}"))?;
                Ok(Some(chunks.concat()))
            }
            Err(Error::BlobUnknown { .. }) => Ok(None),
            Err(error) => Err(said(digest.to_string())(error)),
        }
    }
}

fn cause() -> DeleteCause {
    let (actor, reason) = (ACTOR.to_owned(), "it was asked for".to_owned());
    DeleteCause { actor, reason, policy: None, group: None }
}

pub(crate) fn repository_name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// An error of something as a sentence.
pub(crate) fn said(what: impl Display) -> impl FnOnce(Error) -> String {
    move |error| format!("{what}: {}", lagan::storage::with_causes(&error))
}
