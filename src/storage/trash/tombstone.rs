//! What a soft delete leaves.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::oci::{Digest, MediaType, RepositoryName, Tag};

/// The name of an entry of the trash. They sort by the time of the delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TombstoneId(pub(in crate::storage) Ulid);

impl fmt::Display for TombstoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text names no entry of the trash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an entry of the trash is named by a ULID")]
pub struct TombstoneIdError;

impl FromStr for TombstoneId {
    type Err = TombstoneIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ulid::from_string(text).map(Self).map_err(|_| TombstoneIdError)
    }
}

impl Serialize for TombstoneId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TombstoneId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TombstoneKind {
    /// A manifest, with its tags.
    Manifest,
    /// A tag alone.
    Tag,
    /// A blob.
    Blob,
}

/// Whether an entry can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TombstoneState {
    /// It can.
    Restorable,
    /// It was pushed again meanwhile.
    Revived,
    /// Some of its content is gone: another registry's garbage collection knows no trash. Never written down; whoever
    /// reads the trash looks.
    Missing,
}

/// An entry of the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tombstone {
    /// Its name.
    pub id: TombstoneId,
    /// Where it was.
    pub repository: RepositoryName,
    /// What it was.
    pub kind: TombstoneKind,
    /// Its address.
    pub digest: Digest,
    /// A manifest's media type.
    pub media_type: Option<MediaType>,
    /// Its length in bytes.
    pub size: Option<u64>,
    /// The tags that went with it.
    pub tags: Vec<Tag>,
    /// All that must exist for it to be restored, itself included.
    pub closure: Vec<Digest>,
    /// Whether a layer link of the same digest went with it.
    pub layer_link: bool,
    /// What it was deleted together with.
    pub group: String,
    /// Who deleted it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The policy whose decision it was.
    pub policy: Option<String>,
    /// When.
    pub deleted_at: Timestamp,
    /// Until when it can be restored.
    pub restorable_until: Timestamp,
    /// Whether it can be.
    pub state: TombstoneState,
}

impl Tombstone {
    /// Whether what it keeps is kept no longer.
    pub(in crate::storage) fn is_expired(&self, now: Timestamp) -> bool {
        self.restorable_until <= now
    }
}
