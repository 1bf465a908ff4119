//! `/v2/<name>/blobs/<digest>`

use hyper::{
    Method, Response, StatusCode,
    header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE},
};

use crate::oci::{Digest, MediaType, RepositoryName};
use crate::storage::{Audience, BlobReader, DeleteCause, Repository};

use super::{Error, body::Body, call::Call, conditional, range::Requested, response::Answer};

/// Why something was deleted that a client asked to delete.
pub(super) const DELETED_BY_REQUEST: &str = "deleted through the API";

pub(super) async fn respond(call: &Call<'_>, name: &RepositoryName, digest: &Digest) -> Result<Response<Body>, Error> {
    let repository = call.app.catalog.repository(name);
    match *call.method {
        Method::HEAD => head(call, &repository, digest).await,
        Method::DELETE => delete(call, &repository, digest).await,
        _ => get(call, &repository, digest).await,
    }
}

/// To who may push, the answer is a promise that a manifest may reference the blob; to others, what is remembered.
async fn head(call: &Call<'_>, repository: &Repository, digest: &Digest) -> Result<Response<Body>, Error> {
    let audience = if call.may_push { Audience::Pusher } else { Audience::Puller };
    let descriptor = repository.stat_blob(digest, audience).await?;
    if conditional::is_held(call.headers, digest) {
        return Ok(not_modified(digest));
    }
    Ok(blob(StatusCode::OK, digest).length(descriptor.size).build())
}

async fn get(call: &Call<'_>, repository: &Repository, digest: &Digest) -> Result<Response<Body>, Error> {
    let reader = repository.open_blob(digest).await?;
    if conditional::is_held(call.headers, digest) {
        return Ok(not_modified(digest));
    }
    if let Some(elsewhere) = redirect(call, &reader).await? {
        return Ok(elsewhere);
    }
    let size = reader.size();
    match Requested::parse(conditional::range(call.headers, digest), size) {
        Requested::Whole => {
            let stream = reader.stream(0..size).await?;
            Ok(blob(StatusCode::OK, digest).body(Body::stream(stream, size)).build())
        }
        Requested::Part(range) => {
            let part = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
            let length = range.end.saturating_sub(range.start);
            let stream = reader.stream(range).await?;
            Ok(blob(StatusCode::PARTIAL_CONTENT, digest)
                .header(CONTENT_RANGE, part)
                .body(Body::stream(stream, length))
                .build())
        }
        Requested::Unsatisfiable => Err(Error::RangeNotSatisfiable { size }),
    }
}

/// To where the storage sends the bytes itself, ranges of them too, if it can and should. A HEAD is answered here: what
/// it is asked for is known.
async fn redirect(call: &Call<'_>, reader: &BlobReader) -> Result<Option<Response<Body>>, Error> {
    let Some(expires) = call.app.settings.redirect_for else { return Ok(None) };
    let Some(url) = reader.redirect(expires).await? else { return Ok(None) };
    let answer = Answer::empty(StatusCode::TEMPORARY_REDIRECT).location(&url).digest(reader.digest());
    // The address ends before long, and was made for this client.
    Ok(Some(answer.header(CACHE_CONTROL, "no-store").build()))
}

async fn delete(call: &Call<'_>, repository: &Repository, digest: &Digest) -> Result<Response<Body>, Error> {
    repository.delete_blob(digest, cause(call)).await?;
    Ok(Answer::empty(StatusCode::ACCEPTED).digest(digest).build())
}

/// The cause that a client's delete leaves in the tombstone.
pub(super) fn cause(call: &Call<'_>) -> DeleteCause {
    DeleteCause { actor: call.actor.to_owned(), reason: DELETED_BY_REQUEST.to_owned(), policy: None, group: None }
}

fn blob(status: StatusCode, digest: &Digest) -> Answer {
    Answer::empty(status).content(digest).header(CONTENT_TYPE, MediaType::OCTET_STREAM).header(ACCEPT_RANGES, "bytes")
}

/// The client has it already.
pub(super) fn not_modified(digest: &Digest) -> Response<Body> {
    Answer::empty(StatusCode::NOT_MODIFIED).content(digest).build()
}
