//! Errors as the distribution specification writes them.

use std::fmt;

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

impl ErrorBody {
    /// What an answer says is wrong, for people; `None` where its body is something else.
    #[must_use]
    pub fn in_words(body: &[u8]) -> Option<String> {
        let errors = serde_json::from_slice::<Self>(body).ok()?.errors;
        let said: Vec<String> = errors.iter().map(ErrorEntry::to_string).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// For people: `message (CODE): detail`.
impl fmt::Display for ErrorEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            f.write_str(&self.code)?;
        } else {
            write!(f, "{} ({})", self.message, self.code)?;
        }
        let detail = self.detail.as_ref().map(in_words).unwrap_or_default();
        if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
    }
}

/// A value without brackets and quotes. Names of fields, `restorableUntil`, are words, `restorable until`.
fn in_words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => items.iter().map(in_words).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| !value.is_null());
            let named = known.map(|(name, value)| match name.as_str() {
                "reason" => in_words(value),
                name => format!("{} {}", words_of(name), in_words(value)),
            });
            named.collect::<Vec<_>>().join(", ")
        }
    }
}

fn words_of(name: &str) -> String {
    name.chars().fold(String::new(), |mut words, letter| {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
        words
    })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn error_in_words_has_its_detail_without_json() {
        for (entry, words) in [
            (json!({"code": "DENIED"}), "DENIED"),
            (json!({"code": "DENIED", "message": "no", "detail": null}), "no (DENIED)"),
            (json!({"code": "X", "message": "no", "detail": {"reason": "it is late"}}), "no (X): it is late"),
            (json!({"code": "X", "message": "no", "detail": "plain"}), "no (X): plain"),
            (
                json!({"code": "X", "message": "no", "detail": {"missing": ["a", "b"], "restorableUntil": "noon"}}),
                "no (X): missing a, b, restorable until noon",
            ),
            (
                json!({"code": "X", "message": "no", "detail": [{"Count": 1, "Name": "app", "Type": "repository"}]}),
                "no (X): count 1, name app, type repository",
            ),
        ] {
            let entry: ErrorEntry = serde_json::from_value(entry).unwrap();
            assert_eq!(entry.to_string(), words);
        }
    }
}
