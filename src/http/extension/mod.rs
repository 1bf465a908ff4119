//! `/v2/_lagan/`: what the specification has no word for.

mod collection;
mod history;
mod repositories;
mod retention;
mod scrub;
mod trash;

use hyper::{Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};

use crate::oci::Object;

use super::{
    Error, Malformed,
    body::{Body, RequestBody},
    call::Call,
    response::Answer,
    router::ExtensionRoute,
};

/// The largest body of an administrative request. A Registry's policies, or what is in use of some 100,000
/// candidates, fit.
const MAX_BODY: u64 = 32 << 20;

/// What runs here, for clients that want to know before they ask for more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    capabilities: Vec<&'static str>,
}

pub(super) async fn respond(
    call: &Call<'_>,
    route: &ExtensionRoute,
    body: &mut RequestBody,
) -> Result<Response<Body>, Error> {
    match route {
        ExtensionRoute::Version => Ok(version(call)),
        ExtensionRoute::Trash if call.method == hyper::Method::DELETE => trash::purge_group(call).await,
        ExtensionRoute::Trash => trash::list(call).await,
        ExtensionRoute::TrashEntry { id } if call.method == hyper::Method::DELETE => trash::purge(call, id).await,
        ExtensionRoute::TrashEntry { id } => trash::show(call, id).await,
        ExtensionRoute::TrashRestore { id } => trash::restore(call, id, body).await,
        ExtensionRoute::TrashGroupRestore => trash::restore_group(call, body).await,
        ExtensionRoute::Restore => trash::restore_reference(call, body).await,
        ExtensionRoute::History => history::list(call).await,
        ExtensionRoute::Repository { name } if call.method == hyper::Method::DELETE => {
            repositories::delete(call, name).await
        }
        ExtensionRoute::Repository { name } => repositories::show(call, name).await,
        ExtensionRoute::Collection if call.method == hyper::Method::POST => collection::begin(call, body).await,
        ExtensionRoute::Collection => collection::show(call).await,
        ExtensionRoute::Runs if call.method == hyper::Method::POST => retention::start(call, body).await,
        ExtensionRoute::Runs => retention::list(call).await,
        ExtensionRoute::Run { id } => retention::show(call, id).await,
        ExtensionRoute::Candidates { id } => retention::candidates(call, id).await,
        ExtensionRoute::Apply { id } => retention::apply(call, id, body).await,
        ExtensionRoute::Interrupt { id } => retention::interrupt(call, id, body).await,
        ExtensionRoute::Plan { id } => retention::plan(call, id).await,
        ExtensionRoute::Forecast => retention::forecast(call, body).await,
        ExtensionRoute::Policies => retention::policies(call),
        ExtensionRoute::RunPolicy { namespace, name } => retention::run_policy(call, namespace, name).await,
        ExtensionRoute::Why => retention::why(call).await,
        ExtensionRoute::Scrub if call.method == hyper::Method::POST => scrub::start(call, body).await,
        ExtensionRoute::Scrub => scrub::show(call).await,
        ExtensionRoute::Findings => scrub::findings(call).await,
    }
}

fn version(call: &Call<'_>) -> Response<Body> {
    let mut capabilities = vec!["trash", "restore", "purge", "repositories", "history"];
    capabilities.extend(call.app.runs.as_ref().map(|_| "retention"));
    capabilities.extend(call.app.collections.as_ref().map(|_| "gc"));
    capabilities.extend(call.app.scrubs.as_ref().map(|_| "scrub"));
    let version = Version { version: env!("CARGO_PKG_VERSION"), capabilities };
    Answer::json(StatusCode::OK, &version).build()
}

/// Reads a request's body as JSON. An empty one is an empty object, so that requests whose fields all have defaults
/// can be made without one.
pub(super) async fn read_json<T: DeserializeOwned>(call: &Call<'_>, body: &mut RequestBody) -> Result<T, Error> {
    let whole = body.collect(MAX_BODY, &call.app.bodies).await?.ok_or(Error::BodyTooLarge { limit: MAX_BODY })?;
    let text: &[u8] = if whole.bytes().is_empty() { b"{}" } else { whole.bytes() };
    let Object(request) = serde_json::from_slice(text).map_err(|source| Malformed::Json { source })?;
    Ok(request)
}
