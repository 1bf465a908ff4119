//! What is not as it should be.

use crate::oci::{Digest, RepositoryName, Tag};

use crate::storage::driver::StoragePath;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// Bytes that do not hash to their digest.
    CorruptBlob,
    /// Something that the medium does not give back.
    Unreadable,
    /// A link that holds no digest.
    TornLink,
    /// A link that names content of another digest.
    WrongLink,
    /// A visible manifest whose bytes are gone or damaged, or that an index lists and that is not there.
    MissingManifest,
    /// A blob that a visible manifest needs and that is not there.
    MissingBlob,
    /// A blob whose length is not the one that a manifest gives.
    WrongSize,
    /// A tag that is listed and leads nowhere.
    DanglingTag,
    /// A record that cannot be understood.
    UnreadableRecord,
    /// A referrer that its subject's list does not have.
    MissingReferrer,
    /// An entry of the trash that no list shows.
    UnlistedTrash,
    /// A revision that another registry wrote since the store is served here.
    ForeignWriter,
    /// A manifest of a kind that is not known here.
    UnknownManifest,
    /// Something that a visible manifest needs and that was deleted.
    DeletedReference,
    /// A revision of which it is not noted when it was pushed.
    MissingFact,
    /// A link to bytes that are gone, which nothing needs.
    StaleLink,
    /// An entry in a subject's list of what does not refer to it.
    StaleReferrer,
    /// A part of the trash's index that leads nowhere.
    StaleTrash,
    /// An entry of the trash whose content is gone.
    MissingTrash,
    /// An upload to which nothing came for long.
    AbandonedUpload,
}

impl FindingKind {
    /// Whether a client is, or would be, answered wrongly because of it. The rest is only good to know.
    #[must_use]
    pub fn is_damage(self) -> bool {
        match self {
            Self::CorruptBlob
            | Self::Unreadable
            | Self::TornLink
            | Self::WrongLink
            | Self::MissingManifest
            | Self::MissingBlob
            | Self::WrongSize
            | Self::DanglingTag
            | Self::UnreadableRecord
            | Self::MissingReferrer
            | Self::UnlistedTrash
            | Self::ForeignWriter => true,
            Self::UnknownManifest
            | Self::DeletedReference
            | Self::MissingFact
            | Self::StaleLink
            | Self::StaleReferrer
            | Self::StaleTrash
            | Self::MissingTrash
            | Self::AbandonedUpload => false,
        }
    }
}

/// What was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Nothing: it was to be reported only.
    Reported,
    /// It was mended.
    Repaired,
    /// Nothing here can mend it.
    Beyond,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// What was done about it.
    pub treatment: Treatment,
    /// Where it lies in the store.
    pub path: String,
    /// The repository concerned; blobs belong to none.
    pub repository: Option<RepositoryName>,
    /// The manifest or blob concerned.
    pub digest: Option<Digest>,
    /// The tag concerned.
    pub tag: Option<Tag>,
    /// More about it, in words.
    pub detail: String,
}

impl Finding {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the path is made for it, and of no use to the caller afterwards"
    )]
    pub(super) fn new(kind: FindingKind, path: StoragePath) -> Self {
        let path = path.to_string();
        let (repository, digest, tag, detail) = (None, None, None, String::new());
        Self { kind, treatment: Treatment::Reported, path, repository, digest, tag, detail }
    }

    pub(super) fn of(self, name: &RepositoryName) -> Self {
        Self { repository: Some(name.clone()), ..self }
    }

    pub(super) fn about(self, digest: &Digest) -> Self {
        Self { digest: Some(digest.clone()), ..self }
    }

    pub(super) fn tagged(self, tag: &Tag) -> Self {
        Self { tag: Some(tag.clone()), ..self }
    }

    pub(super) fn saying(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }
}
