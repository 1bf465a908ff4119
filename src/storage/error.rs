//! What can go wrong between a request and the medium.

use std::io;

use tokio::task::JoinError;

use crate::oci::{Descriptor, Digest, Reference, RepositoryName, Tag};

use super::{Tombstone, TombstoneId, UploadId, driver};

/// Why a manifest's reference is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidReference {
    /// The repository does not have the blob.
    BlobUnknown(Descriptor),
    /// The repository does not have the manifest.
    ManifestUnknown(Descriptor),
    /// The content is there, but is not as long as the descriptor says.
    SizeMismatch {
        /// What the manifest says.
        descriptor: Descriptor,
        /// The content's length in bytes.
        actual: u64,
    },
}

/// An error of the storage layer. Which HTTP status it becomes is `http`'s business.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The blob is not a member of the repository.
    #[error("blob {digest} is not in repository {repository}")]
    BlobUnknown {
        /// Where it was looked for.
        repository: RepositoryName,
        /// What was looked for.
        digest: Digest,
        /// What the trash holds of it.
        trash: Option<Box<Tombstone>>,
    },
    /// The manifest or tag is not in the repository.
    #[error("manifest {reference} is not in repository {repository}")]
    ManifestUnknown {
        /// Where it was looked for.
        repository: RepositoryName,
        /// What was looked for.
        reference: Reference,
        /// What the trash holds of it.
        trash: Option<Box<Tombstone>>,
    },
    /// The repository has no visible manifest.
    #[error("repository {repository} does not exist")]
    RepositoryUnknown {
        /// Its name.
        repository: RepositoryName,
    },
    /// No such upload: finished, cancelled, purged, or never begun.
    #[error("upload {id} is not known in repository {repository}")]
    UploadUnknown {
        /// Where it was looked for.
        repository: RepositoryName,
        /// Its id.
        id: UploadId,
    },
    /// Another request is writing to the upload.
    #[error("upload {id} is being written by another request")]
    UploadBusy {
        /// Its id.
        id: UploadId,
    },
    /// The content does not hash to the digest that was promised.
    #[error("content hashes to {actual}, not to {expected}")]
    DigestMismatch {
        /// What the client said.
        expected: Digest,
        /// What arrived.
        actual: Digest,
    },
    /// References of a manifest that are missing or wrong, each once.
    #[error("{} references of the manifest are missing or invalid", .0.len())]
    InvalidReferences(Vec<InvalidReference>),
    /// Deletion is switched off.
    #[error("deletion is disabled in this registry")]
    DeletionDisabled,
    /// No such entry in the trash.
    #[error("the trash has no entry {id}")]
    TombstoneUnknown {
        /// The id asked for.
        id: TombstoneId,
    },
    /// Nothing in the trash was deleted in the group.
    #[error("the trash of repository {repository} holds nothing of group {group}")]
    GroupUnknown {
        /// Where it was looked for.
        repository: RepositoryName,
        /// What was looked for.
        group: String,
    },
    /// Nothing in the trash answers to the reference, and it does not exist either.
    #[error("the trash of repository {repository} holds nothing for {reference}")]
    NotInTrash {
        /// Where it was looked for.
        repository: RepositoryName,
        /// What was looked for.
        reference: Reference,
    },
    /// A restore would move a tag that points elsewhere by now.
    #[error("tag {tag} points to {digest} by now")]
    TagConflict {
        /// The tag.
        tag: Tag,
        /// What it points to.
        digest: Digest,
    },
    /// A push would move a tag that never moves.
    #[error("tag {tag} is immutable, and points to {digest}")]
    TagImmutable {
        /// The tag.
        tag: Tag,
        /// What it points to.
        digest: Digest,
    },
    /// A restore needs content that is gone.
    #[error("{} of the blobs to restore are gone", .missing.len())]
    ContentGone {
        /// What is gone.
        missing: Vec<Digest>,
    },
    /// A delete holds the key that the operation needs, for longer than it could wait.
    #[error("another operation is changing {key}")]
    Frozen {
        /// The key, for the reader of the message.
        key: String,
    },
    /// This replica may promise nothing now: its lease has lapsed, or it has not joined yet. Another one may.
    #[error("this replica has no lease, so it can promise nothing")]
    NoLease,
    /// A sync failed earlier; what is on the medium is uncertain, so nothing is written any more.
    #[error("the storage stopped accepting writes after a failed sync")]
    Poisoned,
    /// A record under `lagan/v1/` could not be understood.
    #[error("record {path} could not be read: {reason}")]
    Corrupt {
        /// Its path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A link was sent to a medium that did not say what became of it. It may still be written, so nothing was promised,
    /// and for a while nothing is deleted that it concerns.
    #[error("it is not known whether a link was written")]
    Uncertain {
        /// The driver's error.
        source: driver::Error,
    },
    /// A folder could not be read, so a list would be without what is in it.
    #[error("{path} could not be read, and a list without it would be incomplete")]
    Unlisted {
        /// The folder, or a file in it.
        path: String,
        /// The driver's error.
        source: driver::Error,
    },
    /// The medium failed.
    #[error("the storage could not {action}")]
    Driver {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// The driver's error.
        source: driver::Error,
    },
}

impl Error {
    /// What failed at the medium, while doing `action` (a verb phrase).
    pub(super) fn driver(action: &'static str, source: driver::Error) -> Self {
        match source {
            driver::Error::Poisoned => Self::Poisoned,
            driver::Error::Fenced { .. } => Self::NoLease,
            source => Self::Driver { action, source },
        }
    }

    /// Work on a thread did not end, while doing `action`: it panicked, or the process is ending.
    pub(super) fn interrupted(action: &'static str, error: JoinError) -> Self {
        let (path, source) = (driver::StoragePath::root(), io::Error::other(error));
        Self::Driver { action, source: driver::Error::Io { action: "finish work on", path, source } }
    }

    /// Whether the medium has no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Driver { source: driver::Error::NoSpace { .. }, .. })
    }

    /// Whether nothing can be written now, while what is there can be read.
    pub(super) fn is_unwritable(&self) -> bool {
        use driver::Error as E;
        matches!(self, Self::Poisoned | Self::Driver { source: E::NoSpace { .. } | E::ReadOnly { .. }, .. })
    }
}

/// An error with its causes, in one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
