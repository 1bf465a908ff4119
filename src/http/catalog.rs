//! `/v2/_catalog`

use hyper::{Response, StatusCode, header::LINK};
use serde::Serialize;

use crate::oci::RepositoryName;

use super::{Error, body::Body, call::Call, page::PageRequest, response::Answer};

/// Docker's list of repositories.
#[derive(Serialize)]
struct RepositoryList<'a> {
    repositories: &'a [RepositoryName],
}

pub(super) async fn list(call: &Call<'_>) -> Result<Response<Body>, Error> {
    let page = PageRequest::parse(call.query)?;
    if page.limit == 0 {
        return Ok(Answer::json(StatusCode::OK, &RepositoryList { repositories: &[] }).build());
    }
    let found = call.app.catalog.repositories(page.after, page.limit).await?;
    let answer = Answer::json(StatusCode::OK, &RepositoryList { repositories: &found.entries });
    Ok(match found.entries.last() {
        Some(last) if found.more => answer.header(LINK, page.link("/v2/_catalog", last.as_str())),
        _ => answer,
    }
    .build())
}
