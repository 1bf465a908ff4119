//! Where tombstones lie: by digest, by the tags they hold, and by the time of the delete.
//!
//! The tombstone itself lies with its digest and is the truth. The entries by tag and by time are written before it and
//! removed after it, so each tombstone has them; one that leads nowhere means nothing.

use futures::future;
use serde::{Deserialize, Serialize};
use tracing::warn;
use ulid::Ulid;

use crate::oci::{Digest, Reference, RepositoryName, Tag};

use crate::storage::{
    Error, Tombstone, TombstoneId, TombstoneKind, TombstoneState, concurrent::all_written, driver::Durability,
    guard::pending::Pending, layout::PathSpec, records::record::Lenient, store::Store,
};

/// Where a tombstone lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::storage) struct Place {
    pub(in crate::storage) repository: RepositoryName,
    pub(in crate::storage) digest: Digest,
}

/// The id with its bits inverted, so that names sort newest first.
pub(in crate::storage) fn inverted(id: Ulid) -> Ulid {
    Ulid(!id.0)
}

impl Store {
    /// Writes a tombstone, durably.
    pub(in crate::storage) async fn bury(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let (name, id) = (&tombstone.repository, tombstone.id.0);
        let place = Place { repository: name.clone(), digest: tombstone.digest.clone() };
        let by_time = self.put_record(PathSpec::TrashEntry(inverted(id)), &place, Durability::Durable);
        let by_tag = tombstone
            .tags
            .iter()
            .map(|tag| self.put_record(PathSpec::TrashedTag(name, tag, id), &tombstone.digest, Durability::Durable));
        let (by_time, by_tag) = future::join(by_time, all_written(by_tag)).await;
        by_time?;
        by_tag?;
        self.put_tombstone(tombstone).await?;
        self.options.metrics.content.buried();
        Ok(())
    }

    pub(in crate::storage) async fn put_tombstone(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let spec = PathSpec::Tombstone(&tombstone.repository, &tombstone.digest, tombstone.id.0);
        self.put_record(spec, tombstone, Durability::Durable).await
    }

    /// Removes the tombstone of what was restored.
    pub(in crate::storage) async fn exhume(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let (name, id) = (&tombstone.repository, tombstone.id.0);
        self.remove_record(PathSpec::Tombstone(name, &tombstone.digest, id)).await?;
        self.unlist(name, &tombstone.tags, id).await?;
        self.options.metrics.content.restored();
        Ok(())
    }

    /// Removes the tombstone of what can be restored no longer.
    pub(in crate::storage) async fn expunge(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let (name, id) = (&tombstone.repository, tombstone.id.0);
        self.remove_record(PathSpec::Tombstone(name, &tombstone.digest, id)).await?;
        self.unlist(name, &tombstone.tags, id).await?;
        self.options.metrics.content.expired();
        Ok(())
    }

    /// Removes what leads to a tombstone that is gone, or was never written.
    async fn unlist(&self, name: &RepositoryName, tags: &[Tag], id: Ulid) -> Result<(), Error> {
        let by_tag = tags.iter().map(|tag| async move {
            self.remove_record(PathSpec::TrashedTag(name, tag, id)).await?;
            Ok(())
        });
        all_written(by_tag).await?;
        self.remove_record(PathSpec::TrashEntry(inverted(id))).await?;
        Ok(())
    }

    /// Removes what a delete wrote that is dropped before its tombstone. Where that fails a scrub finds it: what is
    /// dropped must not stay frozen for that.
    pub(in crate::storage) async fn unlist_dropped(&self, id: Ulid, pending: &Pending) {
        let Some((name, _)) = pending.deleted() else { return };
        if let Err(error) = self.unlist(name, &pending.tags, id).await {
            warn!(%id, error = &error as &dyn std::error::Error, "could not remove what leads to no entry of the trash");
        }
    }

    /// Whether a delete has written its tombstone, readable or not.
    pub(in crate::storage) async fn has_tombstone(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        id: Ulid,
    ) -> Result<bool, Error> {
        Ok(self.age(PathSpec::Tombstone(name, digest, id)).await?.is_some())
    }

    /// A tombstone by where it lies.
    pub(in crate::storage) async fn tombstone_at(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        id: Ulid,
    ) -> Result<Option<Tombstone>, Error> {
        let read: Lenient<Tombstone> = self.lenient_record(PathSpec::Tombstone(name, digest, id)).await?;
        Ok(read.read())
    }

    /// A tombstone by its id alone.
    pub(in crate::storage) async fn tombstone(&self, id: TombstoneId) -> Result<Option<Tombstone>, Error> {
        let place: Lenient<Place> = self.lenient_record(PathSpec::TrashEntry(inverted(id.0))).await?;
        match place.read() {
            Some(place) => self.tombstone_at(&place.repository, &place.digest, id.0).await,
            None => Ok(None),
        }
    }

    /// The tombstones that would bring a reference back, newest first; expired ones are passed over.
    pub(in crate::storage) async fn tombstones_for(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Vec<Tombstone>, Error> {
        let found = match reference {
            Reference::Digest(digest) => self.tombstones_of(name, digest).await?,
            Reference::Tag(tag) => self.tombstones_with(name, tag).await?,
        };
        let now = self.clock.now();
        Ok(found.into_iter().filter(|tombstone| !tombstone.is_expired(now)).collect())
    }

    pub(in crate::storage) async fn tombstones_of(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tombstone>, Error> {
        let mut found = Vec::new();
        for id in newest_first(&self.names(PathSpec::Tombstones(name, digest)).await?) {
            found.extend(self.tombstone_at(name, digest, id).await?);
        }
        Ok(found)
    }

    async fn tombstones_with(&self, name: &RepositoryName, tag: &Tag) -> Result<Vec<Tombstone>, Error> {
        let mut found = Vec::new();
        for id in newest_first(&self.names(PathSpec::TrashedTags(name, tag)).await?) {
            let digest: Lenient<Digest> = self.lenient_record(PathSpec::TrashedTag(name, tag, id)).await?;
            if let Some(digest) = digest.read() {
                found.extend(self.tombstone_at(name, &digest, id).await?);
            }
        }
        Ok(found)
    }

    /// What the trash says of a manifest or tag that was not found. It only explains, so it never fails.
    pub(in crate::storage) async fn explain_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Option<Box<Tombstone>> {
        let found = self.tombstones_for(name, reference).await;
        newest(found, |tombstone| tombstone.kind != TombstoneKind::Blob)
    }

    /// What the trash says of a blob that was not found.
    pub(in crate::storage) async fn explain_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Option<Box<Tombstone>> {
        let found = self.tombstones_for(name, &Reference::Digest(digest.clone())).await;
        newest(found, |tombstone| tombstone.kind == TombstoneKind::Blob || tombstone.layer_link)
    }

    /// Marks the tombstones of a manifest that was pushed again, and of the tag that it was pushed under.
    pub(in crate::storage) async fn revive(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<(), Error> {
        for mut tombstone in self.tombstones_of(name, digest).await? {
            let is_back = match tombstone.kind {
                TombstoneKind::Manifest => true,
                TombstoneKind::Tag => tags.iter().any(|tag| tombstone.tags.contains(tag)),
                TombstoneKind::Blob => false,
            };
            if is_back && tombstone.state == TombstoneState::Restorable {
                tombstone.state = TombstoneState::Revived;
                self.put_tombstone(&tombstone).await?;
            }
        }
        Ok(())
    }
}

fn newest(found: Result<Vec<Tombstone>, Error>, matches: impl Fn(&Tombstone) -> bool) -> Option<Box<Tombstone>> {
    match found {
        Ok(tombstones) => tombstones.into_iter().find(matches).map(Box::new),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "could not look into the trash");
            None
        }
    }
}

fn newest_first(names: &[String]) -> Vec<Ulid> {
    let mut ids: Vec<Ulid> = names.iter().filter_map(|name| Ulid::from_string(name).ok()).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids
}
