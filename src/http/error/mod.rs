//! The one table from what went wrong to what the client is told.
//!
//! The client gets a fixed message and the code of the distribution specification; the log gets the chain of causes.
//! Codes that the specification has no word for are used under `/v2/_lagan/` and for answers of the 5xx class only. What
//! a 405 has in `Allow` depends on the route: [`finish`](crate::http::call::finish) adds it.

mod below;
mod malformed;
mod reply;

use std::time::Duration;

use hyper::{
    Response, StatusCode as S,
    header::{ALLOW, CONTENT_RANGE, HeaderValue, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::json;
use tracing::error;

use crate::maintenance;
use crate::storage;

use super::body::Body;

pub(super) use malformed::Malformed;
use reply::{RETRY_SECONDS, Reply};

/// Why a request is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("there is no such route")]
    RouteUnknown,
    #[error("the route does not have this method")]
    MethodNotAllowed { allow: &'static str },
    #[error("the request is malformed")]
    Malformed {
        #[from]
        source: Malformed,
    },
    #[error("the manifest is larger than {limit} bytes")]
    ManifestTooLarge { limit: u64 },
    #[error("the blob would be larger than {limit} bytes")]
    BlobTooLarge { limit: u64 },
    #[error("more than {limit} tags are to be set at once")]
    TooManyTags { limit: usize },
    #[error("large bodies take all the memory that there is for them")]
    TooManyBodies,
    #[error("the work was interrupted")]
    Interrupted { source: tokio::task::JoinError },
    #[error("the chunk begins at another byte than the upload's next, {offset}")]
    ChunkOutOfOrder { location: String, offset: u64 },
    #[error("the range is outside of the content's {size} bytes")]
    RangeNotSatisfiable { size: u64 },
    #[error("the request's body broke off")]
    BodyBroken { source: hyper::Error },
    #[error("the request's body stalled for {} s", .after.as_secs())]
    BodyStalled { after: Duration },
    #[error("what was uploaded stalled for {} s", .after.as_secs())]
    UploadStalled { after: Duration },
    #[error("the request's body is larger than {limit} bytes")]
    BodyTooLarge { limit: u64 },
    #[error("authentication is required")]
    Unauthorized { challenge: HeaderValue },
    #[error("too many passwords are being checked")]
    AuthenticationBusy,
    #[error("the registry is read-only")]
    ReadOnly,
    #[error("garbage collection is disabled")]
    CollectionDisabled,
    #[error("no collection of garbage is known")]
    NeverCollected,
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error(transparent)]
    Maintenance(#[from] maintenance::Error),
}

impl Error {
    /// The answer, after the log was told what the client is not.
    pub(super) fn into_response(self) -> Response<Body> {
        let reply = self.reply();
        if reply.is_server_error() {
            error!(error = &self as &(dyn std::error::Error + 'static), "request failed");
        }
        reply.into_response()
    }

    fn reply(&self) -> Reply {
        match self {
            Self::RouteUnknown => Reply::new(S::NOT_FOUND, "UNSUPPORTED", "there is no such route"),
            Self::MethodNotAllowed { allow } => {
                Reply::new(S::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the route does not have this method")
                    .header(ALLOW, *allow)
            }
            Self::Malformed { source } => source.reply(),
            Self::ManifestTooLarge { limit } => {
                Reply::new(S::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "the manifest is larger than this registry takes")
                    .detail(json!({ "maxManifestSize": limit }))
            }
            Self::BlobTooLarge { limit } => {
                Reply::new(S::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "the blob is larger than this registry takes")
                    .detail(json!({ "maxBlobSize": limit }))
            }
            Self::TooManyTags { limit } => {
                Reply::new(S::URI_TOO_LONG, "UNSUPPORTED", "one request sets more tags than this registry takes")
                    .detail(json!({ "maxTags": limit }))
            }
            Self::TooManyBodies => {
                Reply::new(S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "too many large bodies are being received")
                    .header(RETRY_AFTER, RETRY_SECONDS)
            }
            Self::Interrupted { .. } => below::internal(),
            Self::ChunkOutOfOrder { location, offset } => {
                let message = "chunks must come in order: Range says what is there";
                Reply::new(S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message)
                    .header(LOCATION, location.as_str())
                    .header(RANGE, upload_range(*offset))
            }
            Self::RangeNotSatisfiable { size } => {
                Reply::new(S::RANGE_NOT_SATISFIABLE, "UNSUPPORTED", "the range is outside of the content")
                    .header(CONTENT_RANGE, format!("bytes */{size}"))
            }
            Self::BodyBroken { .. } => {
                let message = "the body broke off before the length that was announced";
                Reply::new(S::BAD_REQUEST, "SIZE_INVALID", message)
            }
            Self::BodyStalled { .. } => {
                Reply::new(S::REQUEST_TIMEOUT, "SIZE_INVALID", "the body stalled before its end")
            }
            Self::UploadStalled { .. } => {
                Reply::new(S::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", "the body stalled; the upload can be resumed")
            }
            Self::BodyTooLarge { limit } => {
                Reply::new(S::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "the body is larger than this route takes")
                    .detail(json!({ "maxBytes": limit }))
            }
            Self::Unauthorized { challenge } => Reply::new(S::UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
                .header(WWW_AUTHENTICATE, challenge.clone()),
            Self::AuthenticationBusy => {
                Reply::new(S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "too many passwords are being checked")
                    .header(RETRY_AFTER, RETRY_SECONDS)
            }
            Self::ReadOnly => {
                Reply::new(S::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the registry is read-only: accessMode is ReadOnly")
            }
            Self::CollectionDisabled => Reply::new(
                S::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "garbage collection is disabled: garbageCollection.mode is Disabled",
            ),
            Self::NeverCollected => Reply::new(S::NOT_FOUND, "NOT_FOUND", "no garbage collection is known"),
            Self::Storage(source) => below::storage(source),
            Self::Maintenance(source) => below::maintenance(source),
        }
    }
}

/// The answer, as it goes over the connection, to what could not be read as a request.
pub(super) fn unparsed(status: S) -> Vec<u8> {
    let message = match status {
        S::URI_TOO_LONG => "the request's URL is too long",
        S::REQUEST_HEADER_FIELDS_TOO_LARGE => "the request has too many headers, or too long ones",
        _ => "the request could not be read as HTTP",
    };
    Reply::new(status, "UNSUPPORTED", message).into_bytes()
}

/// What an upload holds, as its `Range` header says it. An empty one is `0-0`, as docker/distribution answers:
/// the notation has no word for nothing.
pub(super) fn upload_range(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::driver;

    fn response(error: impl Into<Error>) -> Response<Body> {
        error.into().into_response()
    }

    #[test]
    fn a_full_medium_is_insufficient_storage() {
        let source = driver::Error::NoSpace { path: "a/b".parse().unwrap() };
        let full = response(storage::Error::Driver { action: "write", source });
        assert_eq!(full.status(), S::INSUFFICIENT_STORAGE);
        let source = driver::Error::ReadOnly { path: "a/b".parse().unwrap() };
        let read_only = response(storage::Error::Driver { action: "write", source });
        assert_eq!(read_only.status(), S::SERVICE_UNAVAILABLE);
        assert_eq!(response(storage::Error::Poisoned).status(), S::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn what_passes_by_itself_says_when_to_try_again() {
        let frozen = storage::Error::Frozen { key: "a".into() };
        for error in [frozen.into(), storage::Error::NoLease.into(), Error::AuthenticationBusy] {
            assert!(response(error).headers().contains_key(RETRY_AFTER));
        }
    }

    #[tokio::test]
    async fn only_an_upload_that_stalls_can_be_resumed() {
        use http_body_util::BodyExt as _;
        let after = Duration::from_secs(1);
        for (error, code, resumed) in [
            (Error::BodyStalled { after }, "SIZE_INVALID", false),
            (Error::UploadStalled { after }, "BLOB_UPLOAD_INVALID", true),
        ] {
            let answer = response(error);
            assert_eq!(answer.status(), S::REQUEST_TIMEOUT);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let text = std::str::from_utf8(&body).unwrap();
            assert!(text.contains(code) && text.contains("resumed") == resumed, "{text}");
        }
    }

    #[test]
    fn an_empty_upload_has_the_range_that_clients_know() {
        assert_eq!(upload_range(0), "0-0");
        assert_eq!(upload_range(1), "0-0");
        assert_eq!(upload_range(1000), "0-999");
    }
}
