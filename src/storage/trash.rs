//! What can be restored.

use std::sync::Arc;

use crate::oci::{Digest, Reference, RepositoryName, Tag};

use super::{Error, Page, Tombstone, TombstoneId, store::Store};

/// All live tombstones.
#[derive(Debug, Clone)]
pub struct Trash {
    pub(super) store: Arc<Store>,
}

/// Which entries to list.
#[derive(Debug, Clone, Default)]
pub struct TrashFilter {
    /// Of this repository.
    pub repository: Option<RepositoryName>,
    /// That this tag or digest would bring back.
    pub reference: Option<Reference>,
}

/// What to do with a tag that points elsewhere by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Restore nothing.
    Fail,
    /// Delete what it points to, then restore.
    Replace,
}

/// What a restore brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where.
    pub repository: RepositoryName,
    /// What.
    pub digest: Digest,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Every manifest that is visible again.
    pub manifests: Vec<Digest>,
    /// Whether there was nothing to do.
    pub already_present: bool,
}

impl Trash {
    /// At most `limit` entries after `after`.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn list(
        &self,
        filter: &TrashFilter,
        after: Option<&TombstoneId>,
        limit: usize,
    ) -> Result<Page<Tombstone>, Error> {
        todo!("{filter:?} {after:?} {limit} {:?}", self.store)
    }

    /// One entry.
    ///
    /// # Errors
    /// [`Error::TombstoneUnknown`], [`Error::Driver`].
    pub async fn get(&self, id: &TombstoneId) -> Result<Tombstone, Error> {
        todo!("{id}")
    }

    /// Brings an entry back.
    ///
    /// # Errors
    /// [`Error::TombstoneUnknown`], [`Error::TagConflict`], [`Error::ContentGone`], [`Error::Frozen`],
    /// [`Error::Driver`].
    pub async fn restore(&self, id: &TombstoneId, conflict: Conflict, actor: &str) -> Result<Restored, Error> {
        todo!("{id} {conflict:?} {actor}")
    }

    /// Brings back the newest entry that a reference names.
    ///
    /// # Errors
    /// [`Error::NotInTrash`], and as [`Self::restore`].
    pub async fn restore_reference(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        conflict: Conflict,
        actor: &str,
    ) -> Result<Restored, Error> {
        todo!("{repository} {reference} {conflict:?} {actor}")
    }
}
