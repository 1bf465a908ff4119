//! An answer that is an error, in the making.

use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::Value;

use crate::api::wire::{ErrorBody, ErrorEntry};
use crate::http::body::Body;

/// After how many seconds a client should try again what another operation was in the way of: half of what an
/// operation waits by itself.
pub(super) const RETRY_SECONDS: &str = "8";

/// A status, the entries of the body, and headers.
pub(super) struct Reply {
    status: StatusCode,
    entries: Vec<ErrorEntry>,
    headers: HeaderMap,
}

impl Reply {
    /// A reply of one entry.
    pub(super) fn new(status: StatusCode, code: &str, message: &str) -> Self {
        Self::of(status, vec![entry(code, message, None)])
    }

    /// A reply of several entries.
    pub(super) fn of(status: StatusCode, entries: Vec<ErrorEntry>) -> Self {
        Self { status, entries, headers: HeaderMap::new() }
    }

    pub(super) fn detail(mut self, detail: impl Into<Option<Value>>) -> Self {
        if let Some(entry) = self.entries.first_mut() {
            entry.detail = detail.into();
        }
        self
    }

    /// Explains in words what is wrong with what the client sent. Not for causes inside the registry.
    pub(super) fn reason(self, reason: &impl ToString) -> Self {
        self.detail(serde_json::json!({ "reason": reason.to_string() }))
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.insert(name, value);
        }
        self
    }

    pub(super) fn is_server_error(&self) -> bool {
        self.status.is_server_error()
    }

    /// The whole answer as it goes over the connection, which ends with it.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let body = serde_json::to_vec(&ErrorBody { errors: self.entries }).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.status,
            body.len()
        );
        [head.into_bytes(), body].concat()
    }

    pub(super) fn into_response(self) -> Response<Body> {
        // Strings and JSON values cannot fail to serialize.
        let body = serde_json::to_vec(&ErrorBody { errors: self.entries }).unwrap_or_default();
        let mut response = Response::new(Body::full(body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

pub(super) fn entry(code: &str, message: &str, detail: Option<Value>) -> ErrorEntry {
    ErrorEntry { code: code.into(), message: message.into(), detail }
}
