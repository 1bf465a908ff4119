//! Collections: begun, gone on with, watched.

use hyper::{Response, StatusCode};

use crate::api::v1alpha1::GarbageCollectionMode;
use crate::api::wire::CollectionRequest;
use crate::http::{
    Error,
    body::{Body, RequestBody},
    call::{Call, refuse_if_read_only},
    response::Answer,
};
use crate::maintenance::Collections;

use super::read_json;

/// `POST /v2/_lagan/gc`
pub(super) async fn begin(call: &Call<'_>, body: &mut RequestBody) -> Result<Response<Body>, Error> {
    let request: CollectionRequest = read_json(call, body).await?;
    refuse_if_read_only(call.app, !request.dry_run)?;
    if !request.dry_run && call.app.settings.garbage_collection == GarbageCollectionMode::Disabled {
        return Err(Error::CollectionDisabled);
    }
    let status = collections(call)?.begin(call.actor, request).await?;
    Ok(Answer::json(StatusCode::ACCEPTED, &status).build())
}

/// `GET /v2/_lagan/gc`
pub(super) async fn show(call: &Call<'_>) -> Result<Response<Body>, Error> {
    let status = collections(call)?.status().await?.ok_or(Error::NeverCollected)?;
    Ok(Answer::json(StatusCode::OK, &status).build())
}

/// A process that serves without maintenance has no such routes.
fn collections<'a>(call: &Call<'a>) -> Result<&'a Collections, Error> {
    call.app.collections.as_ref().ok_or(Error::RouteUnknown)
}
