//! Deleting a whole repository.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::oci::{Digest, Reference};

use super::delete::{Outcome, Request};
use crate::storage::{DeleteCause, Error, Repository, Tombstone, TrashGroup, concurrent::concurrently};

/// How many manifests are deleted at the same time: each waits for every replica, and none of them for another.
const AT_ONCE: usize = 8;

/// A repository that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedRepository {
    /// What brings it back.
    pub group: TrashGroup,
    /// How many manifests were deleted.
    pub manifests: u64,
    /// How many tags went with them.
    pub tags: u64,
    /// Until when all of it can be restored.
    pub restorable_until: Timestamp,
}

/// What there is in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepositoryCounts {
    /// How many manifests.
    pub manifests: u64,
    /// How many tags.
    pub tags: u64,
}

impl Repository {
    /// What a delete of the repository would take.
    ///
    /// # Errors
    /// [`Error::RepositoryUnknown`], [`Error::Driver`].
    pub async fn counts(&self) -> Result<RepositoryCounts, Error> {
        let looks = self
            .store
            .revision_names(&self.name)
            .await?
            .into_iter()
            .map(|digest| async move { Ok(self.store.is_visible(&self.name, &digest).await?.then_some(digest)) });
        let visible: BTreeSet<Digest> = concurrently(looks).await?.into_iter().flatten().collect();
        if visible.is_empty() {
            return Err(Error::RepositoryUnknown { repository: self.name.clone() });
        }
        let tags = self.store.all_tags(&self.name).await?;
        let tags = tags.iter().filter(|(_, digest)| visible.contains(digest)).count();
        Ok(RepositoryCounts { manifests: visible.len() as u64, tags: tags as u64 })
    }

    /// Hides every manifest, with its tags, as one group.
    ///
    /// # Guarantees
    /// Each manifest is deleted as by [`Self::delete_manifest`]. What is pushed meanwhile may stay.
    ///
    /// # Errors
    /// [`Error::DeletionDisabled`], [`Error::RepositoryUnknown`], [`Error::Frozen`], [`Error::Driver`]. After an error
    /// some of it is deleted; who asks again deletes the rest, in another group.
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn delete(&self, cause: DeleteCause) -> Result<DeletedRepository, Error> {
        self.refuse_if_disabled()?;
        let this = self.clone();
        self.store.changes.run(async move { this.delete_all(cause).await }).await
    }

    async fn delete_all(&self, cause: DeleteCause) -> Result<DeletedRepository, Error> {
        let group = match cause.group {
            Some(group) => group,
            None => self.store.ids.next(self.store.clock.now()).to_string(),
        };
        let cause = DeleteCause { group: Some(group.clone()), ..cause };
        let digests = self.store.revision_names(&self.name).await?;
        let deletes: Vec<_> = digests.into_iter().map(|digest| self.delete_one(digest, &cause)).collect();
        // Also where one fails, so that what was begun is over then.
        let deleted: Vec<_> = stream::iter(deletes).buffer_unordered(AT_ONCE).collect().await;
        let deleted: Vec<_> = deleted.into_iter().collect::<Result<Vec<_>, Error>>()?.into_iter().flatten().collect();
        let Some(restorable_until) = deleted.iter().map(|tombstone| tombstone.restorable_until).min() else {
            return Err(Error::RepositoryUnknown { repository: self.name.clone() });
        };
        Ok(DeletedRepository {
            group: TrashGroup { repository: self.name.clone(), name: group },
            manifests: deleted.len() as u64,
            tags: deleted.iter().map(|tombstone| tombstone.tags.len() as u64).sum(),
            restorable_until,
        })
    }

    /// `None`: it is not there any more.
    async fn delete_one(&self, digest: Digest, cause: &DeleteCause) -> Result<Option<Box<Tombstone>>, Error> {
        let request = Request::Manifest(Reference::Digest(digest));
        match self.for_change()?.remove(&request, cause, None).await {
            Ok(Outcome::Deleted(tombstone)) => Ok(Some(tombstone)),
            Err(Error::ManifestUnknown { .. }) => Ok(None),
            // Only a policy's decision can be overtaken.
            Ok(Outcome::Changed(key)) => Err(Error::Frozen { key }),
            Err(error) => Err(error),
        }
    }
}
