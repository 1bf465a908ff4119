//! What was deleted, and bringing it back.

use hyper::{Response, StatusCode};

use crate::api::wire;
use crate::http::{
    Error, Malformed,
    body::{Body, RequestBody},
    call::{Call, refuse_if_read_only},
    page::PageRequest,
    response::Answer,
};
use crate::storage::{
    Conflict, MovedTag, Restored, Tombstone, TombstoneId, TombstoneKind, TombstoneState, TrashFilter, TrashGroup,
};

use super::read_json;

/// `GET /v2/_lagan/trash?repository=&reference=&group=&n=&last=`
pub(super) async fn list(call: &Call<'_>) -> Result<Response<Body>, Error> {
    let page = PageRequest::parse(call.query)?;
    let repository = call.query.get("repository").map(str::parse).transpose();
    let reference = call.query.get("reference").map(str::parse).transpose();
    let filter = TrashFilter {
        repository: repository.map_err(|_| Malformed::Parameter { name: "repository" })?,
        reference: reference.map_err(|_| Malformed::Parameter { name: "reference" })?,
        group: call.query.get("group").map(str::to_owned),
    };
    let after: Option<TombstoneId> =
        page.after.map(str::parse).transpose().map_err(|_| Malformed::Parameter { name: "last" })?;
    let found = call.app.catalog.trash().list(&filter, after.as_ref(), page.limit.max(1)).await?;
    let next = found.entries.last().filter(|_| found.more).map(|last| last.id.to_string());
    let entries = looked_up(call, found.entries).await?;
    Ok(Answer::json(StatusCode::OK, &wire::TrashPage { entries, next }).build())
}

/// `GET /v2/_lagan/trash/<id>`
pub(super) async fn show(call: &Call<'_>, id: &TombstoneId) -> Result<Response<Body>, Error> {
    let tombstone = call.app.catalog.trash().get(id).await?;
    let shown = looked_up(call, vec![tombstone]).await?;
    Ok(Answer::json(StatusCode::OK, &shown.first()).build())
}

/// `POST /v2/_lagan/trash/<id>/restore`
pub(super) async fn restore(
    call: &Call<'_>,
    id: &TombstoneId,
    body: &mut RequestBody,
) -> Result<Response<Body>, Error> {
    let request: wire::RestoreRequest = read_json(call, body).await?;
    let restored = call.app.catalog.trash().restore(id, conflict(request.conflict), call.actor).await?;
    Ok(report(restored))
}

/// `POST /v2/_lagan/restore`
pub(super) async fn restore_reference(call: &Call<'_>, body: &mut RequestBody) -> Result<Response<Body>, Error> {
    let request: wire::RestoreReferenceRequest = read_json(call, body).await?;
    let trash = call.app.catalog.trash();
    let conflict = conflict(request.conflict);
    let restored = trash.restore_reference(&request.repository, &request.reference, conflict, call.actor).await?;
    Ok(report(restored))
}

/// `POST /v2/_lagan/trash/restore`
pub(super) async fn restore_group(call: &Call<'_>, body: &mut RequestBody) -> Result<Response<Body>, Error> {
    let wire::RestoreGroupRequest { repository, group, conflict } = read_json(call, body).await?;
    let wanted = TrashGroup { repository: repository.clone(), name: group.clone() };
    let restored = call.app.catalog.trash().restore_group(&wanted, self::conflict(conflict), call.actor).await?;
    let restored = restored.into_iter().map(restore_report).collect();
    let report = wire::RestoreGroupReport { repository, group, restored };
    Ok(Answer::json(StatusCode::OK, &report).build())
}

/// `DELETE /v2/_lagan/trash/<id>`
pub(super) async fn purge(call: &Call<'_>, id: &TombstoneId) -> Result<Response<Body>, Error> {
    refuse_if_read_only(call.app, true)?;
    let purged = call.app.catalog.trash().purge(id).await?;
    purge_report(call, vec![purged]).await
}

/// `DELETE /v2/_lagan/trash?repository=&group=`
pub(super) async fn purge_group(call: &Call<'_>) -> Result<Response<Body>, Error> {
    refuse_if_read_only(call.app, true)?;
    let parameter = |name: &'static str| call.query.get(name).ok_or(Malformed::Parameter { name });
    let repository = parameter("repository")?.parse().map_err(|source| Malformed::Name { source })?;
    let group = TrashGroup { repository, name: parameter("group")?.to_owned() };
    purge_report(call, call.app.catalog.trash().purge_group(&group).await?).await
}

async fn purge_report(call: &Call<'_>, purged: Vec<Tombstone>) -> Result<Response<Body>, Error> {
    let purged = looked_up(call, purged).await?;
    Ok(Answer::json(StatusCode::OK, &wire::PurgeReport { purged }).build())
}

/// With what has become of their tags.
pub(super) async fn looked_up(call: &Call<'_>, tombstones: Vec<Tombstone>) -> Result<Vec<wire::TombstoneView>, Error> {
    let moved = call.app.catalog.trash().moved_tags(&tombstones).await?;
    Ok(tombstones.into_iter().zip(moved).map(|(tombstone, moved)| view(tombstone, moved)).collect())
}

fn report(restored: Restored) -> Response<Body> {
    Answer::json(StatusCode::OK, &restore_report(restored)).build()
}

fn restore_report(restored: Restored) -> wire::RestoreReport {
    let Restored { repository, digest, tags, manifests, moved_tags, already_present } = restored;
    let moved_tags = moved_tags.into_iter().map(moved_tag).collect();
    wire::RestoreReport { repository, digest, tags, manifests, moved_tags, already_present }
}

fn conflict(conflict: wire::Conflict) -> Conflict {
    match conflict {
        wire::Conflict::Fail => Conflict::Fail,
        wire::Conflict::Replace => Conflict::Replace,
    }
}

fn moved_tag(MovedTag { tag, digest }: MovedTag) -> wire::MovedTag {
    wire::MovedTag { tag, digest }
}

fn view(tombstone: Tombstone, moved: Vec<MovedTag>) -> wire::TombstoneView {
    wire::TombstoneView {
        id: tombstone.id.to_string(),
        repository: tombstone.repository,
        kind: match tombstone.kind {
            TombstoneKind::Manifest => wire::TombstoneKind::Manifest,
            TombstoneKind::Tag => wire::TombstoneKind::Tag,
            TombstoneKind::Blob => wire::TombstoneKind::Blob,
        },
        digest: tombstone.digest,
        tags: tombstone.tags,
        media_type: tombstone.media_type,
        size_bytes: tombstone.size,
        closure: tombstone.closure,
        group: tombstone.group,
        actor: tombstone.actor,
        reason: tombstone.reason,
        policy: tombstone.policy,
        deleted_at: tombstone.deleted_at,
        restorable_until: tombstone.restorable_until,
        state: match tombstone.state {
            TombstoneState::Restorable => wire::TombstoneState::Restorable,
            TombstoneState::Revived => wire::TombstoneState::Revived,
            TombstoneState::Missing => wire::TombstoneState::Missing,
        },
        moved_tags: moved.into_iter().map(moved_tag).collect(),
    }
}
