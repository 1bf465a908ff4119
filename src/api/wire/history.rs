//! The history of a tag: what it pointed to, and when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oci::Digest;

/// What a tag pointed to from some moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagHistoryEntry {
    /// Its identifier, a ULID; absent where another registry pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What the tag pointed to.
    pub digest: Digest,
    /// When it was pushed. A restore brings back the time of the push.
    pub pushed_at: Timestamp,
    /// Who pushed or restored it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Whether a restore made it point there.
    pub restored: bool,
}

/// A part of a tag's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagHistoryPage {
    /// The entries.
    pub entries: Vec<TagHistoryEntry>,
    /// The `last` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
