//! Garbage collection: removing the bytes that nothing needs any more, while the registry serves.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::CollectionBrake;
use crate::oci::{Digest, RepositoryName};

/// Begins a collection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CollectionRequest {
    /// Whether to tell only what would go.
    #[serde(default)]
    pub dry_run: bool,
    /// The id of the collection that a brake stopped, whose report somebody has read and wants to be gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// How far a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CollectionState {
    /// It looks, or removes.
    Running,
    /// It is over.
    Finished,
    /// A brake stopped it before it removed anything; [`CollectionStatus::halt`] says which one.
    Halted,
    /// Something could not be read, so it is not known what is needed; the message says what.
    Failed,
    /// The process stopped, or died, that was at it, or a replica went without telling what it relied on.
    Interrupted,
}

/// Which brake stopped a collection, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionHalt {
    /// Which one.
    pub brake: CollectionBrake,
    /// Whether a request with `confirm` goes on; the others go when their cause does.
    pub confirmable: bool,
    /// What was seen, with numbers, and what to do.
    pub message: String,
}

impl CollectionHalt {
    /// By a brake, for what was seen.
    #[must_use]
    pub fn new(brake: CollectionBrake, message: String) -> Self {
        Self { brake, confirmable: brake.is_confirmable(), message }
    }
}

/// The collection that runs, or the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionStatus {
    /// Its name: a ULID.
    pub id: String,
    /// How far it is.
    pub state: CollectionState,
    /// Whether it removes nothing.
    pub dry_run: bool,
    /// Who confirmed that it may go on past a brake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What it has looked at.
    pub progress: CollectionProgress,
    /// What nothing needs, as far as it was old enough when it was looked at.
    pub garbage: BlobCount,
    /// What nothing needs either, and is younger than the grace period, so that it stays for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub young: Option<YoungGarbage>,
    /// What was removed of the garbage.
    pub removed: BlobCount,
    /// What was kept of the garbage, because somebody came to rely on it meanwhile.
    pub kept: u64,
    /// Uploads that nobody goes on with, removed.
    pub uploads_purged: u64,
    /// Tombstones whose restore window had ended, removed.
    pub tombstones_expired: u64,
    /// What is damaged, and was gone past safely: the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<CollectionProblem>,
    /// How many there are.
    pub problem_count: u64,
    /// Which brake stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<CollectionHalt>,
    /// Why it failed, or was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a collection has looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionProgress {
    /// `open`, `list`, `mark`, `sweep`, then `clean`; empty before.
    pub phase: String,
    /// Blobs that are stored.
    pub blobs: u64,
    /// Repositories that were looked at.
    pub repositories: u64,
    /// Manifests that were looked at.
    pub manifests: u64,
    /// Blobs of the sweep that were dealt with, of [`CollectionStatus::garbage`].
    pub swept: u64,
}

/// Some blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobCount {
    /// How many.
    pub blobs: u64,
    /// Their length in bytes.
    pub bytes: u64,
}

/// What nothing needs, and is too young to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct YoungGarbage {
    /// How many blobs.
    pub blobs: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// A collection that begins later removes all of it, if nothing needs it until then.
    pub until: Timestamp,
    /// The grace period in seconds.
    pub grace_seconds: u64,
}

/// Something damaged that a collection came upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionProblem {
    /// In which repository, if in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryName>,
    /// Of what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What is wrong, and what was kept because of it.
    pub message: String,
}
