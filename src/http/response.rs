//! The answers that are no errors.

use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION},
};
use serde::Serialize;

use crate::oci::Digest;

use super::body::Body;

/// The digest of the content that an answer is about.
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// An answer, header by header.
pub(super) struct Answer(Response<Body>);

impl Answer {
    /// An answer without a body.
    pub(super) fn empty(status: StatusCode) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Self(response)
    }

    /// An answer with a value as JSON.
    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        // The wire types have string keys only, so that they cannot fail to serialize.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self::empty(status).body(Body::full(body)).header(CONTENT_TYPE, "application/json")
    }

    pub(super) fn body(mut self, body: Body) -> Self {
        *self.0.body_mut() = body;
        self
    }

    /// Sets a header. One that HTTP cannot carry is left out; every value comes from a checked type.
    pub(super) fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.0.headers_mut().insert(name, value);
        }
        self
    }

    pub(super) fn location(self, location: &str) -> Self {
        self.header(LOCATION, location)
    }

    pub(super) fn digest(self, digest: &Digest) -> Self {
        self.header(DOCKER_CONTENT_DIGEST, digest.to_string())
    }

    /// The headers of content that never changes but may be deleted: caches may keep it, and must ask each time.
    pub(super) fn content(self, digest: &Digest) -> Self {
        self.digest(digest).header(ETAG, etag(digest)).header(CACHE_CONTROL, "no-cache")
    }

    /// The length of the body that a HEAD leaves out.
    pub(super) fn length(self, length: u64) -> Self {
        self.header(CONTENT_LENGTH, HeaderValue::from(length))
    }

    pub(super) fn build(self) -> Response<Body> {
        self.0
    }
}

/// The entity tag of content.
pub(super) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}
