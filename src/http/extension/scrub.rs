//! Scrubs: begun, watched, read.

use hyper::{Response, StatusCode};

use crate::api::wire::ScrubRequest;
use crate::http::{
    Error, Malformed,
    body::{Body, RequestBody},
    call::{Call, refuse_if_read_only},
    page::PageRequest,
    response::Answer,
};
use crate::maintenance::Scrubs;

use super::read_json;

/// `POST /v2/_lagan/scrub`
pub(super) async fn start(call: &Call<'_>, body: &mut RequestBody) -> Result<Response<Body>, Error> {
    let request: ScrubRequest = read_json(call, body).await?;
    refuse_if_read_only(call.app, request.repair)?;
    let status = scrubs(call)?.start(&request).await?;
    Ok(Answer::json(StatusCode::ACCEPTED, &status).build())
}

/// `GET /v2/_lagan/scrub`
pub(super) async fn show(call: &Call<'_>) -> Result<Response<Body>, Error> {
    Ok(Answer::json(StatusCode::OK, &scrubs(call)?.status().await?).build())
}

/// `GET /v2/_lagan/scrub/findings?n=&last=`
pub(super) async fn findings(call: &Call<'_>) -> Result<Response<Body>, Error> {
    let page = PageRequest::parse(call.query)?;
    let after = page.after.map(str::parse).transpose().map_err(|_| Malformed::Parameter { name: "last" })?;
    let found = scrubs(call)?.findings(after, page.limit.max(1)).await?;
    Ok(Answer::json(StatusCode::OK, &found).build())
}

/// A process that serves without maintenance has no such routes.
fn scrubs<'a>(call: &Call<'a>) -> Result<&'a Scrubs, Error> {
    call.app.scrubs.as_ref().ok_or(Error::RouteUnknown)
}
