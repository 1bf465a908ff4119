//! Deletes and restores that have begun.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tracing::warn;
use ulid::Ulid;

use crate::oci::{Digest, RepositoryName, Tag};

use super::{Error, TombstoneKind, driver::Durability, guard::Key, layout::PathSpec, record::Lenient, store::Store};

/// What has begun. Its key has the id of the tombstone that a delete writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pending {
    /// Whether something goes or comes back.
    pub(super) operation: Operation,
    /// Where.
    pub(super) repository: RepositoryName,
    /// What kind of thing.
    pub(super) kind: TombstoneKind,
    /// What.
    pub(super) digest: Digest,
    /// All manifests that come with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) manifests: Vec<Digest>,
    /// The tags that go or come with it.
    pub(super) tags: Vec<Tag>,
    /// Blobs whose bytes it changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) blobs: Vec<Digest>,
    /// The policy whose decision it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<String>,
    /// The replica that runs it; none where the store is not shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replica: Option<Ulid>,
    /// The delete of a dead replica that this one finishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resumes: Option<Ulid>,
}

impl Pending {
    /// What it changes, and so freezes.
    pub(super) fn keys(&self) -> Vec<Key> {
        let digests: BTreeSet<&Digest> = self.manifests.iter().chain([&self.digest]).collect();
        let revisions = digests.into_iter().map(|digest| Key::Revision(self.repository.clone(), digest.clone()));
        let tags = self.tags.iter().map(|tag| Key::Tag(self.repository.clone(), tag.clone()));
        let blobs = self.blobs.iter().map(|digest| Key::Blob(digest.clone()));
        revisions.chain(tags).chain(blobs).collect()
    }
}

/// Whether something goes or comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Operation {
    /// It goes.
    Delete,
    /// It comes back.
    Restore,
}

impl Store {
    /// Writes down that a change begins.
    pub(super) async fn put_pending(&self, id: Ulid, pending: &Pending) -> Result<(), Error> {
        self.put_record(PathSpec::Pending(id), pending, Durability::Durable).await
    }

    /// Writes down that a change is over.
    pub(super) async fn remove_pending(&self, id: Ulid) -> Result<(), Error> {
        self.remove_record(PathSpec::Pending(id)).await.map(drop)
    }

    /// The names of every change that has begun and is not over.
    pub(super) async fn pending_ids(&self) -> Result<BTreeSet<Ulid>, Error> {
        let names = self.names(PathSpec::Pendings).await?;
        Ok(names.iter().filter_map(|name| Ulid::from_string(name).ok()).collect())
    }

    /// Every change that has begun and is not over, oldest first. One that cannot be read is reported, and left for a
    /// person to look at: nothing is removed because of it.
    pub(super) async fn pendings(&self) -> Result<Vec<(Ulid, Pending)>, Error> {
        let mut pendings = Vec::new();
        for id in self.listed_pendings().await? {
            if let Lenient::Read(pending) = self.lenient_record(PathSpec::Pending(id)).await? {
                pendings.push((id, pending));
            }
        }
        Ok(pendings)
    }

    /// As [`Self::pendings`], for who must not overlook one: a change that cannot be read may be that of a replica of
    /// another version.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Driver`].
    pub(super) async fn every_pending(&self) -> Result<Vec<(Ulid, Pending)>, Error> {
        let mut pendings = Vec::new();
        for id in self.listed_pendings().await? {
            // One that is not there any more ended since the list was read.
            pendings.extend(self.record(PathSpec::Pending(id)).await?.map(|pending| (id, pending)));
        }
        Ok(pendings)
    }

    async fn listed_pendings(&self) -> Result<Vec<Ulid>, Error> {
        let mut ids = Vec::new();
        for text in self.names(PathSpec::Pendings).await? {
            match Ulid::from_string(&text) {
                Ok(id) => ids.push(id),
                Err(_) => warn!(name = text, "a name among the pending changes is no ULID"),
            }
        }
        Ok(ids)
    }
}
