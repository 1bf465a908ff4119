//! Errors as the distribution specification writes them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of every answer that is an error.
///
/// Source: OCI distribution-spec 1.1, *Error Codes*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong; never empty.
    pub errors: Vec<ErrorEntry>,
}

/// One thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// A code of the specification, such as `MANIFEST_UNKNOWN`.
    pub code: String,
    /// The same for people.
    #[serde(default)]
    pub message: String,
    /// More about it, in a form that depends on the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

/// The `detail` of a 404 for what is in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrashDetail {
    /// Who deleted it: a user, or the policy that did.
    pub deleted_by: String,
    /// The policy that deleted it, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// When.
    pub deleted_at: Timestamp,
    /// Until when it can be restored.
    pub restorable_until: Timestamp,
    /// The identifier to restore it by.
    pub tombstone: String,
}
