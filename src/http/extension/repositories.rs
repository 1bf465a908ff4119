//! Whole repositories.

use hyper::{Response, StatusCode};

use crate::api::wire;
use crate::http::{Error, blobs::cause, body::Body, call::Call, response::Answer};
use crate::oci::RepositoryName;
use crate::storage::{DeleteCause, DeletedRepository, RepositoryCounts, TrashGroup};

/// Why, for whoever reads the trash.
const WHOLE: &str = "the whole repository was deleted through the API";

/// `GET /v2/_lagan/repositories/<name>`
pub(super) async fn show(call: &Call<'_>, name: &RepositoryName) -> Result<Response<Body>, Error> {
    let RepositoryCounts { manifests, tags } = call.app.catalog.repository(name).counts().await?;
    let summary = wire::RepositorySummary { repository: name.clone(), manifests, tags };
    Ok(Answer::json(StatusCode::OK, &summary).build())
}

/// `DELETE /v2/_lagan/repositories/<name>`
pub(super) async fn delete(call: &Call<'_>, name: &RepositoryName) -> Result<Response<Body>, Error> {
    let cause = DeleteCause { reason: WHOLE.to_owned(), ..cause(call) };
    let deleted = call.app.catalog.repository(name).delete(cause).await?;
    let DeletedRepository { group: TrashGroup { repository, name: group }, manifests, tags, restorable_until } =
        deleted;
    let report = wire::RepositoryDeletion { repository, group, manifests, tags, restorable_until };
    Ok(Answer::json(StatusCode::ACCEPTED, &report).build())
}
