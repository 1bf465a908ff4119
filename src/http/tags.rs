//! `/v2/<name>/tags/list`

use hyper::{Response, StatusCode, header::LINK};
use serde::Serialize;

use crate::oci::{RepositoryName, Tag};

use super::{Error, body::Body, call::Call, page::PageRequest, response::Answer};

/// The specification's list of tags.
#[derive(Serialize)]
struct TagList<'a> {
    name: &'a RepositoryName,
    tags: &'a [Tag],
}

pub(super) async fn list(call: &Call<'_>, name: &RepositoryName) -> Result<Response<Body>, Error> {
    let page = PageRequest::parse(call.query)?;
    // No entries are asked for, but whether the repository exists is.
    let found = call.app.catalog.repository(name).tags(page.after, page.limit.max(1)).await?;
    let tags = found.entries.get(..page.limit.min(found.entries.len())).unwrap_or_default();
    let answer = Answer::json(StatusCode::OK, &TagList { name, tags });
    Ok(match tags.last() {
        Some(last) if found.more => answer.header(LINK, page.link(&format!("/v2/{name}/tags/list"), last.as_str())),
        _ => answer,
    }
    .build())
}
