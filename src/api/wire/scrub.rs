//! Scrubbing: looking at everything that is stored, and mending what can be mended.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::Duration;
use crate::oci::{Digest, RepositoryName, Tag};

/// Begins a scrub.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScrubRequest {
    /// Whether to mend what is found; otherwise it is reported only.
    #[serde(default)]
    pub repair: bool,
    /// An upload to which nothing came for this long is abandoned; a week where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploads_older_than: Option<Duration>,
}

/// How far a scrub is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScrubState {
    /// It looks.
    Running,
    /// It looked at everything.
    Finished,
    /// Something could not be listed; the message says what.
    Failed,
    /// The process stopped, or died, that was at it.
    Interrupted,
}

/// The scrub that runs, or the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScrubStatus {
    /// Its name: a ULID.
    pub id: String,
    /// How far it is.
    pub state: ScrubState,
    /// Whether it mends what it finds.
    pub repair: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What it has looked at.
    pub progress: ScrubProgress,
    /// What it found, by kind.
    pub found: BTreeMap<FindingKind, FindingCount>,
    /// Damage that is still there: a client is, or would be, answered wrongly because of it.
    pub damage: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a scrub has looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScrubProgress {
    /// `blobs`, `repositories`, then `trash`; empty before.
    pub phase: String,
    /// Of the blobs, how many of each hundred were hashed.
    pub blobs_percent: u64,
    /// Blobs that were hashed.
    pub blobs: u64,
    /// Their length.
    pub bytes: u64,
    /// Repositories that were looked at.
    pub repositories: u64,
    /// Manifests that were looked at.
    pub manifests: u64,
    /// Tags that were looked at.
    pub tags: u64,
    /// Entries of the trash that were looked at.
    pub trash: u64,
}

/// How often something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingCount {
    /// In all.
    pub found: u64,
    /// Of them, what was mended.
    pub repaired: u64,
}

/// What can be wrong. The first twelve are damage; the rest is good to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FindingKind {
    /// Bytes that do not hash to their digest.
    CorruptBlob,
    /// Something that the storage does not give back.
    Unreadable,
    /// A link that holds no digest.
    TornLink,
    /// A link that names content of another digest.
    WrongLink,
    /// A manifest whose bytes are gone or damaged, or that an index lists and that is not there.
    MissingManifest,
    /// A blob that a manifest needs and that is not there.
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
    /// A manifest that another registry wrote since the store is served here.
    ForeignWriter,
    /// A manifest of a kind that is not known here.
    UnknownManifest,
    /// Something that a manifest needs and that was deleted.
    DeletedReference,
    /// A manifest of which it is not noted when it was pushed.
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

/// What was done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Treatment {
    /// Nothing: it was to be reported only. A scrub with `repair` mends it.
    Reported,
    /// It was mended.
    Repaired,
    /// Nothing here can mend it; the detail says what can.
    Beyond,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingView {
    /// What is wrong.
    pub kind: FindingKind,
    /// What was done about it.
    pub treatment: Treatment,
    /// Whether a client is, or would be, answered wrongly because of it.
    pub is_damage: bool,
    /// Where it lies in the store.
    pub path: String,
    /// The repository concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryName>,
    /// The manifest or blob concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The tag concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// More about it, in words.
    pub detail: String,
}

/// Some of what a scrub found, in the order in which it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingPage {
    /// What it found.
    pub findings: Vec<FindingView>,
    /// What to send as `last` for the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
