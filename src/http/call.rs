//! A request between its acceptance and its answer, on each listener.

use hyper::{
    HeaderMap, Method, Response, Version,
    header::{CONNECTION, HOST, HeaderName, HeaderValue},
    http::request::Parts,
};

use crate::api::v1alpha1::AccessMode;

use super::{
    App, Error, Malformed,
    auth::Verb,
    body::{Body, RequestBody},
    observation::Observation,
    query::Query,
    request_id::REQUEST_ID,
};

/// Tells Docker's clients that they have found a registry.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// A request on its way to a handler.
pub(super) struct Call<'a> {
    pub(super) app: &'a App,
    pub(super) headers: &'a HeaderMap,
    pub(super) method: &'a Method,
    pub(super) query: &'a Query,
    /// Who asks, for records.
    pub(super) actor: &'a str,
    /// Whether the caller may push, so that what is said to exist is a promise.
    pub(super) may_push: bool,
}

/// A registry that is read-only restores nothing either: a restore writes.
pub(super) fn refuse_if_read_only(app: &App, verb: Verb) -> Result<(), Error> {
    let writes = match verb {
        Verb::Push | Verb::Delete | Verb::Restore => true,
        // Runs plan in a read-only registry, and apply nothing: theirs to say.
        Verb::Pull | Verb::Admin => false,
    };
    if writes && app.settings.access_mode == AccessMode::ReadOnly { Err(Error::ReadOnly) } else { Ok(()) }
}

/// A request of HTTP/1.1 says which host it means, once (RFC 9112, section 3.2).
pub(super) fn refuse_without_host(parts: &Parts) -> Result<(), Malformed> {
    let hosts = parts.headers.get_all(HOST).iter().count();
    if hosts == 1 || (hosts == 0 && parts.version < Version::HTTP_11) { Ok(()) } else { Err(Malformed::Host) }
}

/// Makes an answer of a result, and hands the observation to its body.
pub(super) async fn finish(
    result: Result<Response<Body>, Error>,
    mut observation: Observation,
    mut body: RequestBody,
) -> Response<Body> {
    let mut response = match result {
        Ok(response) => response,
        Err(error) => {
            if !body.is_read() {
                body.drain().await;
            }
            error.into_response()
        }
    };
    observation.answered(response.status(), body.received());
    if !body.is_read() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(id) = observation.id().header() {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response.map(|content| content.observed(observation))
}
