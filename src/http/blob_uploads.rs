//! `/v2/<name>/blobs/uploads/`: bytes on their way in.
//!
//! A client that goes away in the middle leaves an upload that it, or another connection of it, can go on with;
//! nothing becomes visible before the digest of everything was checked.

use hyper::{
    Method, Response, StatusCode,
    header::{CONTENT_RANGE, HeaderName, HeaderValue, RANGE},
};

use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::storage::{BlobUpload, Repository, UploadId};

use super::{
    Error, Malformed,
    body::{Body, RequestBody},
    call::Call,
    error::upload_range,
    range::Chunk,
    response::Answer,
    router::parse_digest,
};

/// How Docker's clients name an upload.
const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// Says how large chunks should be at least.
const OCI_CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// `POST`: mounts a blob, takes one whole, or begins an upload.
pub(super) async fn begin(
    call: &Call<'_>,
    name: &RepositoryName,
    body: &mut RequestBody,
) -> Result<Response<Body>, Error> {
    let repository = call.app.catalog.repository(name);
    if let Some(algorithm) = call.query.get("digest-algorithm") {
        // Every registered algorithm is computed from what was uploaded once the digest is known.
        if !Algorithm::ALL.iter().any(|known| known.as_str() == algorithm) {
            return Err(Malformed::Parameter { name: "digest-algorithm" }.into());
        }
    }
    if let Some(digest) = call.query.get("mount") {
        if let Some(mounted) = mount(call, &repository, &parse_digest(digest)?).await? {
            return Ok(mounted);
        }
    } else if let Some(digest) = call.query.get("digest") {
        return take_whole(call, &repository, &parse_digest(digest)?, body).await;
    }
    let upload = repository.create_upload().await?;
    let mut begun = in_progress(StatusCode::ACCEPTED, name, upload.id(), upload.offset());
    if let Some(bytes) = call.app.settings.min_chunk_size {
        begun.headers_mut().insert(OCI_CHUNK_MIN_LENGTH, HeaderValue::from(bytes));
    }
    Ok(begun)
}

/// `GET`, `PATCH`, `PUT` and `DELETE` of an upload.
pub(super) async fn go_on(
    call: &Call<'_>,
    name: &RepositoryName,
    id: &UploadId,
    body: &mut RequestBody,
) -> Result<Response<Body>, Error> {
    let repository = call.app.catalog.repository(name);
    match *call.method {
        Method::PATCH => {
            let upload = append(call, &repository, id, body).await?;
            let offset = upload.suspend().await?;
            Ok(in_progress(StatusCode::ACCEPTED, name, id, offset))
        }
        Method::PUT => {
            let expected = parse_digest(call.query.get("digest").ok_or(Malformed::DigestMissing)?)?;
            let upload = append(call, &repository, id, body).await?;
            upload.commit(&expected).await?;
            Ok(created(call, name, &expected))
        }
        Method::DELETE => {
            repository.cancel_upload(id).await?;
            Ok(Answer::empty(StatusCode::NO_CONTENT).header(DOCKER_UPLOAD_UUID, id.as_str()).build())
        }
        _ => {
            let offset = repository.upload_offset(id).await?;
            Ok(in_progress(StatusCode::NO_CONTENT, name, id, offset))
        }
    }
}

/// A blob of another repository becomes one of this, if it is there. Who may push here may pull there: without rules
/// of access, rights are the same in every repository. Without `from`, the blob may still be where it was seen last.
async fn mount(call: &Call<'_>, repository: &Repository, digest: &Digest) -> Result<Option<Response<Body>>, Error> {
    let sources = match call.query.get("from") {
        Some(from) => [from.parse().map_err(|source| Malformed::Name { source })?].into(),
        None => call.app.homes.find(digest),
    };
    for from in sources.iter() {
        if repository.mount_blob(digest, from).await?.is_some() {
            return Ok(Some(created(call, repository.name(), digest)));
        }
    }
    Ok(None)
}

/// The whole blob in one request. Nobody learns the upload's id, so that one that fails is of no use to anybody.
async fn take_whole(
    call: &Call<'_>,
    repository: &Repository,
    digest: &Digest,
    body: &mut RequestBody,
) -> Result<Response<Body>, Error> {
    refuse_if_too_large(call, 0, body)?;
    let mut upload = repository.create_upload().await?;
    if let Err(error) = receive(call, &mut upload, None, body).await {
        upload.cancel().await?;
        return Err(error);
    }
    upload.commit(digest).await?;
    Ok(created(call, repository.name(), digest))
}

/// Appends a request's body to an upload, which the caller then suspends or commits.
async fn append(
    call: &Call<'_>,
    repository: &Repository,
    id: &UploadId,
    body: &mut RequestBody,
) -> Result<BlobUpload, Error> {
    let chunk = announced_chunk(call, body)?;
    let mut upload = repository.resume_upload(id).await?;
    let offset = upload.offset();
    if chunk.is_some_and(|chunk| chunk.start != offset) {
        return Err(Error::ChunkOutOfOrder { location: upload_location(repository.name(), id), offset });
    }
    refuse_if_too_large(call, offset, body)?;
    match receive(call, &mut upload, chunk, body).await {
        Ok(()) => Ok(upload),
        Err(error @ Error::Storage(_)) => Err(error),
        Err(error) => {
            // What arrived is kept: the client comes back and asks where it was.
            upload.suspend().await?;
            Err(match error {
                Error::BodyStalled { after } => Error::UploadStalled { after },
                other => other,
            })
        }
    }
}

/// The chunk that `Content-Range` announces, if its length is the body's.
fn announced_chunk(call: &Call<'_>, body: &RequestBody) -> Result<Option<Chunk>, Error> {
    let Some(value) = call.headers.get(CONTENT_RANGE) else { return Ok(None) };
    let chunk = value.to_str().ok().and_then(Chunk::parse).ok_or(Malformed::ChunkRange)?;
    if body.declared().is_some_and(|length| length != chunk.len) {
        return Err(Malformed::ChunkSize.into());
    }
    Ok(Some(chunk))
}

/// Refuses a body that says by itself that the blob would be too large, before a byte of it is read.
fn refuse_if_too_large(call: &Call<'_>, offset: u64, body: &RequestBody) -> Result<(), Error> {
    let length = offset.saturating_add(body.declared().unwrap_or(0));
    match call.app.settings.max_blob_size {
        Some(limit) if length > limit => Err(Error::BlobTooLarge { limit }),
        _ => Ok(()),
    }
}

async fn receive(
    call: &Call<'_>,
    upload: &mut BlobUpload,
    chunk: Option<Chunk>,
    body: &mut RequestBody,
) -> Result<(), Error> {
    let announced = chunk.map_or(u64::MAX, |chunk| chunk.len);
    let limit = call.app.settings.max_blob_size.unwrap_or(u64::MAX);
    while let Some(piece) = body.next().await? {
        if body.received() > announced {
            return Err(Malformed::ChunkSize.into());
        }
        if upload.offset().saturating_add(piece.len() as u64) > limit {
            return Err(Error::BlobTooLarge { limit });
        }
        upload.append(piece).await?;
    }
    if chunk.is_some_and(|chunk| chunk.len != body.received()) {
        return Err(Malformed::ChunkSize.into());
    }
    Ok(())
}

/// Locations are paths: behind a proxy, only the client knows the scheme and host that lead here. docker, containerd,
/// skopeo, crane and oras resolve them against the request's URL.
fn upload_location(name: &RepositoryName, id: &UploadId) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

fn in_progress(status: StatusCode, name: &RepositoryName, id: &UploadId, offset: u64) -> Response<Body> {
    Answer::empty(status)
        .location(&upload_location(name, id))
        .header(RANGE, upload_range(offset))
        .header(DOCKER_UPLOAD_UUID, id.as_str())
        .build()
}

fn created(call: &Call<'_>, name: &RepositoryName, digest: &Digest) -> Response<Body> {
    call.app.homes.remember(digest, name);
    Answer::empty(StatusCode::CREATED).location(&format!("/v2/{name}/blobs/{digest}")).digest(digest).build()
}
