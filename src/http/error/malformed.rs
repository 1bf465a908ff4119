//! What clients write wrong.

use hyper::StatusCode as S;
use serde_json::json;

use crate::oci::{DigestError, ManifestError, MediaTypeError, RepositoryNameError, TagError};

use super::{
    below::{MANIFEST_UNKNOWN, RUN_UNKNOWN, TOMBSTONE_UNKNOWN, UPLOAD_UNKNOWN},
    reply::Reply,
};

/// A part of a request that is outside of its grammar.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum Malformed {
    #[error("the request has no Host, or several")]
    Host,
    #[error("the repository name is malformed")]
    Name { source: RepositoryNameError },
    #[error("the digest is malformed")]
    Digest { source: DigestError },
    #[error("the digest parameter is missing")]
    DigestMissing,
    #[error("the tag is malformed")]
    Tag { source: TagError },
    /// A tag in a request that reads: to the reader, it is one that does not exist.
    #[error("no manifest can have this tag")]
    TagToRead,
    #[error("the upload's id is malformed")]
    UploadId,
    #[error("the id of an entry of the trash is malformed")]
    TombstoneId,
    #[error("the id of a run is malformed")]
    RunId,
    #[error("the query parameter {name} is malformed")]
    Parameter { name: &'static str },
    #[error("the page size is malformed")]
    PageSize,
    #[error("the content type is malformed")]
    ContentType { source: MediaTypeError },
    #[error("the manifest is invalid")]
    Manifest { source: ManifestError },
    #[error("the manifest is nested deeper than {limit} levels")]
    ManifestDepth { limit: usize },
    #[error("the manifest has {references} references, more than {limit}")]
    ManifestReferences { references: usize, limit: usize },
    #[error("the chunk's Content-Range is malformed")]
    ChunkRange,
    #[error("the chunk has another length than its Content-Range says")]
    ChunkSize,
    #[error("the request's body is not the JSON that is expected")]
    Json { source: serde_json::Error },
}

impl Malformed {
    pub(super) fn reply(&self) -> Reply {
        let bad = |code, message| Reply::new(S::BAD_REQUEST, code, message);
        match self {
            Self::Host => bad("UNSUPPORTED", "an HTTP/1.1 request has one Host header"),
            Self::Name { source } => bad("NAME_INVALID", "invalid repository name").reason(source),
            Self::Digest { source } => bad("DIGEST_INVALID", "malformed digest").reason(source),
            Self::DigestMissing => bad("DIGEST_INVALID", "the query parameter digest is required"),
            Self::Tag { source } => bad("MANIFEST_INVALID", "malformed tag").reason(source),
            Self::TagToRead => Reply::new(S::NOT_FOUND, "MANIFEST_UNKNOWN", MANIFEST_UNKNOWN),
            Self::UploadId => Reply::new(S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", UPLOAD_UNKNOWN),
            Self::TombstoneId => Reply::new(S::NOT_FOUND, "NOT_FOUND", TOMBSTONE_UNKNOWN),
            Self::RunId => Reply::new(S::NOT_FOUND, "NOT_FOUND", RUN_UNKNOWN),
            Self::Parameter { name } => {
                bad("UNSUPPORTED", "a query parameter is malformed").detail(json!({ "parameter": name }))
            }
            Self::PageSize => {
                bad("UNSUPPORTED", "n must be a whole number that is not negative").detail(json!({ "parameter": "n" }))
            }
            Self::ContentType { source } => bad("MANIFEST_INVALID", "malformed Content-Type").reason(source),
            Self::Manifest { source } => bad("MANIFEST_INVALID", "manifest invalid").reason(source),
            Self::ManifestDepth { limit } => {
                bad("MANIFEST_INVALID", "the manifest is nested deeper than this registry takes")
                    .detail(json!({ "maxDepth": limit }))
            }
            Self::ManifestReferences { references, limit } => {
                bad("MANIFEST_INVALID", "the manifest has more references than this registry takes")
                    .detail(json!({ "references": references, "maxReferences": limit }))
            }
            Self::ChunkRange => bad("BLOB_UPLOAD_INVALID", "Content-Range must be <first byte>-<last byte>"),
            Self::ChunkSize => bad("SIZE_INVALID", "the chunk has another length than its Content-Range says"),
            Self::Json { source } => {
                bad("UNSUPPORTED", "the body is not the JSON that this route expects").reason(&without_types(source))
            }
        }
    }
}

/// What is wrong with JSON, in words that clients know: the parser names the program's types.
fn without_types(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some((before, after)) = text.split_once("expected struct ") else { return text };
    let rest = after.find(" at line ").and_then(|at| after.get(at..)).unwrap_or_default();
    format!("{before}expected an object{rest}")
}

#[cfg(test)]
mod tests {
    use crate::api::wire::RunRequest;

    use super::*;

    #[test]
    fn reason_names_no_type_of_the_program() {
        for policies in ["[1]", "[[]]", r#"["x"]"#] {
            let text = format!(r#"{{"run": "r", "policy": "p", "policies": {policies}}}"#);
            let words = without_types(&serde_json::from_str::<RunRequest>(&text).unwrap_err());
            assert!(!words.contains("PolicySource") && words.contains(" at line 1 column "), "{words}");
        }
    }
}
