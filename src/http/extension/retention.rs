//! Runs of policies: asked for, read, applied.

use hyper::{Response, StatusCode};

use crate::api::v1alpha1::PlanDecision;
use crate::api::wire::{
    ApplyRequest, Explanation, InterruptRequest, PlanRequest, PolicyList, PolicyRunner, RunList, RunRequest,
};
use crate::http::{
    Error, Malformed,
    body::{Body, RequestBody},
    call::Call,
    page::PageRequest,
    response::Answer,
};
use crate::maintenance::{Explained, RetentionRuns, RunId};
use crate::oci::{Reference, RepositoryName};
use crate::storage::TrashFilter;

use super::{read_json, trash};

/// How many entries of the trash an explanation has at most: what a name was before that, `lagan trash list` tells.
const MAX_ENTRIES: usize = 20;

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

/// `POST /v2/_lagan/retention/runs/<id>/interrupt`
pub(super) async fn interrupt(call: &Call<'_>, run: &RunId, body: &mut RequestBody) -> Result<Response<Body>, Error> {
    let request: InterruptRequest = read_json(call, body).await?;
    let status = runs(call)?.interrupt(run, &request.reason).await?;
    Ok(Answer::json(StatusCode::OK, &status).build())
}

/// `GET /v2/_lagan/retention/runs`
pub(super) async fn list(call: &Call<'_>) -> Result<Response<Body>, Error> {
    let runs = runs(call)?.all().await?;
    Ok(Answer::json(StatusCode::OK, &RunList { runs }).build())
}

/// `GET /v2/_lagan/retention/runs/<id>/plan?decision=&n=&last=`
pub(super) async fn plan(call: &Call<'_>, run: &RunId) -> Result<Response<Body>, Error> {
    let page = PageRequest::parse(call.query)?;
    let after = page.after.map(str::parse).transpose();
    let after = after.map_err(|_| Malformed::Parameter { name: "last" })?;
    let only = decision(call)?;
    let found = runs(call)?.plan(run, after, page.limit.max(1), only).await?;
    Ok(Answer::json(StatusCode::OK, &found).build())
}

/// `POST /v2/_lagan/retention/plan?decision=&n=`
pub(super) async fn forecast(call: &Call<'_>, body: &mut RequestBody) -> Result<Response<Body>, Error> {
    let page = PageRequest::parse(call.query)?;
    if page.after.is_some() {
        // What is not stored has no pages.
        return Err(Malformed::Parameter { name: "last" }.into());
    }
    let only = decision(call)?;
    let request: PlanRequest = read_json(call, body).await?;
    let report = runs(call)?.forecast(&request, page.limit, only).await?;
    Ok(Answer::json(StatusCode::OK, &report).build())
}

/// `GET /v2/_lagan/retention/policies`
pub(super) fn policies(call: &Call<'_>) -> Result<Response<Body>, Error> {
    let policies = runs(call)?.declared();
    let runner = if policies.is_empty() { call.app.settings.policy_runner } else { PolicyRunner::Files };
    Ok(Answer::json(StatusCode::OK, &PolicyList { runner, policies }).build())
}

/// `POST /v2/_lagan/retention/policies/<namespace>/<name>/run`
pub(super) async fn run_policy(call: &Call<'_>, namespace: &str, name: &str) -> Result<Response<Body>, Error> {
    let status = runs(call)?.run_now(namespace, name).await?;
    Ok(Answer::json(StatusCode::ACCEPTED, &status).build())
}

/// Which lines of a plan are asked for; `None`: all.
fn decision(call: &Call<'_>) -> Result<Option<PlanDecision>, Malformed> {
    match call.query.get("decision") {
        None => Ok(None),
        Some("Delete") => Ok(Some(PlanDecision::Delete)),
        Some("Keep") => Ok(Some(PlanDecision::Keep)),
        Some(_) => Err(Malformed::Parameter { name: "decision" }),
    }
}

/// `GET /v2/_lagan/retention/why?repository=&reference=`
pub(super) async fn why(call: &Call<'_>) -> Result<Response<Body>, Error> {
    let parameter = |name: &'static str| call.query.get(name).ok_or(Malformed::Parameter { name });
    let repository: Result<RepositoryName, _> = parameter("repository")?.parse();
    let repository = repository.map_err(|source| Malformed::Name { source })?;
    let reference: Result<Reference, _> = parameter("reference")?.parse();
    let reference = reference.map_err(|_| Malformed::Parameter { name: "reference" })?;
    let Explained { digest, planned, now, policies_of } = runs(call)?.explain(&repository, &reference).await?;
    let filter = TrashFilter { repository: Some(repository.clone()), reference: Some(reference.clone()), group: None };
    let entries = call.app.catalog.trash().list(&filter, None, MAX_ENTRIES).await?.entries;
    let trash = trash::looked_up(call, entries).await?;
    let explanation = Explanation { repository, reference, digest, planned, now, policies_of, trash };
    Ok(Answer::json(StatusCode::OK, &explanation).build())
}

/// A process that serves without maintenance has no such routes.
fn runs<'a>(call: &Call<'a>) -> Result<&'a RetentionRuns, Error> {
    call.app.runs.as_ref().ok_or(Error::RouteUnknown)
}
