//! What a tag has pointed to.

use hyper::{Response, StatusCode};

use crate::api::wire;
use crate::http::{Error, Malformed, body::Body, call::Call, page::PageRequest, response::Answer};
use crate::oci::{RepositoryName, Tag};
use crate::storage::{PushId, TagHistoryEntry};

/// `GET /v2/_lagan/history?repository=&tag=&n=&last=`
pub(super) async fn list(call: &Call<'_>) -> Result<Response<Body>, Error> {
    let page = PageRequest::parse(call.query)?;
    let parameter = |name: &'static str| call.query.get(name).ok_or(Malformed::Parameter { name });
    let repository = parameter("repository")?.parse::<RepositoryName>();
    let repository = repository.map_err(|source| Malformed::Name { source })?;
    let tag = parameter("tag")?.parse::<Tag>().map_err(|_| Malformed::Parameter { name: "tag" })?;
    let before = page.after.map(str::parse::<PushId>).transpose();
    let before = before.map_err(|_| Malformed::Parameter { name: "last" })?;
    let found = call.app.catalog.repository(&repository).tag_history(&tag, before, page.limit.max(1)).await?;
    let next = found.entries.last().filter(|_| found.more).and_then(|last| Some(last.id?.to_string()));
    let entries = found.entries.into_iter().map(view).collect();
    Ok(Answer::json(StatusCode::OK, &wire::TagHistoryPage { entries, next }).build())
}

fn view(entry: TagHistoryEntry) -> wire::TagHistoryEntry {
    let TagHistoryEntry { id, digest, pushed_at, actor, restored } = entry;
    wire::TagHistoryEntry { id: id.map(|id| id.to_string()), digest, pushed_at, actor, restored }
}
