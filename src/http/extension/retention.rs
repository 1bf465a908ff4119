//! Runs of policies: asked for, read, applied.

use hyper::{Response, StatusCode};

use crate::api::wire::{ApplyRequest, RunRequest};
use crate::http::{
    Error, Malformed,
    body::{Body, RequestBody},
    call::Call,
    page::PageRequest,
    response::Answer,
};
use crate::maintenance::{RetentionRuns, RunId};

use super::read_json;

/// `POST /v2/_lagan/retention/runs`
pub(super) async fn start(call: &Call<'_>, body: &mut RequestBody) -> Result<Response<Body>, Error> {
    let request: RunRequest = read_json(call, body).await?;
    let status = runs(call)?.start(request).await?;
    Ok(Answer::json(StatusCode::ACCEPTED, &status).build())
}

/// `GET /v2/_lagan/retention/runs/<id>`
pub(super) async fn show(call: &Call<'_>, run: &RunId) -> Result<Response<Body>, Error> {
    let status = runs(call)?.status(run).await?;
    Ok(Answer::json(StatusCode::OK, &status).build())
}

/// `GET /v2/_lagan/retention/runs/<id>/candidates?n=&last=`
pub(super) async fn candidates(call: &Call<'_>, run: &RunId) -> Result<Response<Body>, Error> {
    let page = PageRequest::parse(call.query)?;
    let after = page.after.map(str::parse).transpose();
    let after = after.map_err(|_| Malformed::Parameter { name: "last" })?;
    let found = runs(call)?.candidates(run, after, page.limit.max(1)).await?;
    Ok(Answer::json(StatusCode::OK, &found).build())
}

/// `POST /v2/_lagan/retention/runs/<id>/apply`
pub(super) async fn apply(call: &Call<'_>, run: &RunId, body: &mut RequestBody) -> Result<Response<Body>, Error> {
    let request: ApplyRequest = read_json(call, body).await?;
    let status = runs(call)?.apply(run, request).await?;
    Ok(Answer::json(StatusCode::ACCEPTED, &status).build())
}

/// A process that serves without maintenance has no such routes.
fn runs<'a>(call: &Call<'a>) -> Result<&'a RetentionRuns, Error> {
    call.app.runs.as_ref().ok_or(Error::RouteUnknown)
}
