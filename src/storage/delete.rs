//! Soft deletes.

use crate::oci::{Digest, Reference, Tag};

use super::{Error, Repository, Tombstone};

/// Who deletes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteCause {
    /// Who asked.
    pub actor: String,
    /// Why, for a reader.
    pub reason: String,
    /// The policy whose decision it is.
    pub policy: Option<String>,
    /// The group that it belongs to; `None` makes one.
    pub group: Option<String>,
}

/// A policy's decision to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedDelete {
    /// What goes.
    pub reference: Reference,
    /// What the reference pointed to when it was planned.
    pub expected: Digest,
    /// The tags that go with a digest.
    pub tags: Vec<Tag>,
    /// Who and why.
    pub cause: DeleteCause,
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedOutcome {
    /// It is in the trash.
    Deleted(Box<Tombstone>),
    /// It is not what it was when it was planned.
    Changed {
        /// What is different.
        reason: String,
    },
}

impl Repository {
    /// Hides a blob.
    ///
    /// # Errors
    /// [`Error::DeletionDisabled`], [`Error::BlobUnknown`], [`Error::Frozen`], [`Error::Driver`].
    pub async fn delete_blob(&self, digest: &Digest, cause: DeleteCause) -> Result<Tombstone, Error> {
        todo!("{digest} {cause:?}")
    }

    /// Hides a manifest, or a tag.
    ///
    /// # Errors
    /// [`Error::DeletionDisabled`], [`Error::ManifestUnknown`], [`Error::Frozen`], [`Error::Driver`].
    pub async fn delete_manifest(&self, reference: &Reference, cause: DeleteCause) -> Result<Tombstone, Error> {
        todo!("{reference} {cause:?}")
    }

    /// Carries out a policy's decision if it still holds.
    ///
    /// # Errors
    /// [`Error::Frozen`], [`Error::Driver`].
    pub async fn delete_planned(&self, delete: PlannedDelete) -> Result<PlannedOutcome, Error> {
        todo!("{delete:?}")
    }
}
