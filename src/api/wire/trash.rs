//! The trash: what was deleted and can be brought back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oci::{Digest, MediaType, Reference, RepositoryName, Tag};

/// A tombstone, for those who read the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TombstoneView {
    /// Its identifier, a ULID.
    pub id: String,
    /// Where the content was.
    pub repository: RepositoryName,
    /// What was deleted.
    pub kind: TombstoneKind,
    /// The content that the deleted thing was or pointed to.
    pub digest: Digest,
    /// The tags that pointed to it and went with it.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// A manifest's media type, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The length of the manifest or blob itself, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Every manifest and blob that restoring needs.
    #[serde(default)]
    pub closure: Vec<Digest>,
    /// What was deleted together has one group, and is restored together.
    pub group: String,
    /// Who deleted it.
    pub actor: String,
    /// Why, in words.
    pub reason: String,
    /// The policy that deleted it, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// Until when its bytes are safe.
    pub restorable_until: Timestamp,
    /// What has become of it.
    pub state: TombstoneState,
    /// Those of its tags that point elsewhere by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_tags: Vec<MovedTag>,
}

/// A tag that points to something else by now than when it was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovedTag {
    /// Which one.
    pub tag: Tag,
    /// What it points to.
    pub digest: Digest,
}

/// What a delete took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TombstoneKind {
    /// A manifest or index, with the tags that pointed to it.
    Manifest,
    /// A tag only.
    Tag,
    /// A repository's link to a blob.
    Blob,
}

/// What can be done about a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TombstoneState {
    /// Everything that it needs is there.
    Restorable,
    /// The content is visible again, by a restore or a push.
    Revived,
    /// Part of what it needs is gone.
    Missing,
}

/// One page of the trash, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrashPage {
    /// The tombstones.
    pub entries: Vec<TombstoneView>,
    /// What to send as `last` for the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What to do where a tag that is to be restored points to something else by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Conflict {
    /// Restore nothing, and say so.
    #[default]
    Fail,
    /// Move the tag back.
    Replace,
}

/// Restores one tombstone, with its group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreRequest {
    /// What to do about tags that have moved.
    #[serde(default)]
    pub conflict: Conflict,
}

/// Restores whatever the newest tombstone of a reference holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreReferenceRequest {
    /// Where it was.
    pub repository: RepositoryName,
    /// The tag or digest to have back.
    pub reference: Reference,
    /// What to do about tags that have moved.
    #[serde(default)]
    pub conflict: Conflict,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// Where.
    pub repository: RepositoryName,
    /// The content that was asked for.
    pub digest: Digest,
    /// The tags that point to it again.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Every manifest that is visible again.
    #[serde(default)]
    pub manifests: Vec<Digest>,
    /// Tags that the entry held, that point elsewhere by now, and that stayed there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_tags: Vec<MovedTag>,
    /// Nothing had to be done: it was not deleted, or had been restored before.
    pub already_present: bool,
}

/// Restores all that was deleted together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreGroupRequest {
    /// Where it was.
    pub repository: RepositoryName,
    /// The group, as each of its entries has it.
    pub group: String,
    /// What to do about tags that have moved. With Fail, nothing is restored if there is one.
    #[serde(default)]
    pub conflict: Conflict,
}

/// What the restore of a group did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreGroupReport {
    /// Where.
    pub repository: RepositoryName,
    /// The group that was asked for.
    pub group: String,
    /// What came back of each entry. One that came back with another entry is not among them.
    pub restored: Vec<RestoreReport>,
}

/// What a purge gave up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PurgeReport {
    /// The entries, as they were. None of them can be restored any more.
    pub purged: Vec<TombstoneView>,
}

/// What there is in a repository, and would go with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositorySummary {
    /// Which one.
    pub repository: RepositoryName,
    /// How many manifests it has.
    pub manifests: u64,
    /// How many tags it has.
    pub tags: u64,
}

/// What the delete of a repository did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryDeletion {
    /// Which one.
    pub repository: RepositoryName,
    /// What all of it was deleted as.
    pub group: String,
    /// How many manifests were deleted.
    pub manifests: u64,
    /// How many tags went with them.
    pub tags: u64,
    /// Until when it can be restored.
    pub restorable_until: Timestamp,
}
