//! A request between its acceptance and its answer, on each listener.

use hyper::{
    HeaderMap, Method, Response, StatusCode, Version,
    header::{ALLOW, CONNECTION, HOST, HeaderName, HeaderValue},
    http::request::Parts,
};

use crate::api::v1alpha1::AccessMode;

use super::{
    App, Error, Malformed,
    body::{Body, RequestBody},
    observation::Observation,
    query::Query,
    request_id::REQUEST_ID,
    router::Route,
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

/// Refuses what a registry that is read-only does not do.
pub(super) fn refuse_if_read_only(app: &App, writes: bool) -> Result<(), Error> {
    if writes && app.settings.access_mode == AccessMode::ReadOnly { Err(Error::ReadOnly) } else { Ok(()) }
}

/// A request of HTTP/1.1 says which host it means, once (RFC 9112, section 3.2).
pub(super) fn refuse_without_host(parts: &Parts) -> Result<(), Malformed> {
    let hosts = parts.headers.get_all(HOST).iter().count();
    if hosts == 1 || (hosts == 0 && parts.version < Version::HTTP_11) { Ok(()) } else { Err(Malformed::Host) }
}

/// What a refusal says that the request's route still has, for the `Allow` that goes with every 405.
pub(super) fn allowed(app: &App, route: Option<&Route>, method: &Method) -> String {
    route.map(|route| route.allowed_beside(method, app.settings.access_mode)).unwrap_or_default()
}

/// Makes an answer of a result, and hands the observation to its body. `allowed` is for a method that is refused although
/// the route has it.
pub(super) async fn finish(
    result: Result<Response<Body>, Error>,
    mut observation: Observation,
    mut body: RequestBody,
    allowed: impl FnOnce() -> String,
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
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && !response.headers().contains_key(ALLOW) {
        response.headers_mut().extend(HeaderValue::try_from(allowed()).map(|allowed| (ALLOW, allowed)));
    }
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
