//! `/v2/<name>/manifests/<reference>`

use hyper::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName},
};

use crate::oci::{Algorithm, Digest, Manifest, MediaType, Reference, RepositoryName, Tag};
use crate::storage::{self, PutManifest, Repository};

use super::{
    Error, Malformed,
    blobs::{cause, not_modified},
    body::{Body, RequestBody},
    call::Call,
    conditional,
    response::Answer,
};

/// Says that the registry lists the manifest among its subject's referrers, so that the client need not.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Says which tags of the request's parameters were set.
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// How many tags one request may set. The specification wants 10 at least.
const MAX_TAGS: usize = 64;

pub(super) async fn respond(
    call: &Call<'_>,
    name: &RepositoryName,
    reference: Reference,
    body: &mut RequestBody,
) -> Result<Response<Body>, Error> {
    let repository = call.app.catalog.repository(name);
    match *call.method {
        Method::HEAD => head(call, &repository, &reference).await,
        Method::PUT => put(call, &repository, reference, body).await,
        Method::DELETE => {
            repository.delete_manifest(&reference, cause(call)).await?;
            Ok(Answer::empty(StatusCode::ACCEPTED).build())
        }
        _ => get(call, &repository, &reference).await,
    }
}

/// `Accept` is not looked at: a manifest has one form, and the digest is of that form (distribution-spec,
/// *Content Negotiation*).
async fn get(call: &Call<'_>, repository: &Repository, reference: &Reference) -> Result<Response<Body>, Error> {
    let stored = repository.manifest(reference).await?;
    let descriptor = &stored.descriptor;
    if conditional::is_held(call.headers, &descriptor.digest) {
        return Ok(not_modified(&descriptor.digest));
    }
    Ok(Answer::empty(StatusCode::OK)
        .content(&descriptor.digest)
        .header(CONTENT_TYPE, descriptor.media_type.as_str())
        .body(Body::full(stored.bytes))
        .build())
}

async fn head(call: &Call<'_>, repository: &Repository, reference: &Reference) -> Result<Response<Body>, Error> {
    let descriptor = repository.stat_manifest(reference).await?;
    if conditional::is_held(call.headers, &descriptor.digest) {
        return Ok(not_modified(&descriptor.digest));
    }
    Ok(Answer::empty(StatusCode::OK)
        .content(&descriptor.digest)
        .header(CONTENT_TYPE, descriptor.media_type.as_str())
        .length(descriptor.size)
        .build())
}

async fn put(
    call: &Call<'_>,
    repository: &Repository,
    reference: Reference,
    body: &mut RequestBody,
) -> Result<Response<Body>, Error> {
    let tags = tags_to_set(call, &reference)?;
    let limit = call.app.settings.max_manifest_size;
    let bytes = body.collect(limit).await?.ok_or(Error::ManifestTooLarge { limit })?;
    let media_type = content_type(call)?;
    let manifest = Manifest::parse(media_type.as_ref(), &bytes).map_err(|source| Malformed::Manifest { source })?;
    let subject = manifest.subject.as_ref().map(|subject| subject.digest.clone());
    let digest = digest_of(&reference, &bytes)?;
    let put = PutManifest { reference, media_type, manifest, bytes, digest, actor: call.actor.to_owned() };
    let digest = repository.put_manifest(put.clone()).await?;
    for tag in &tags {
        repository.put_manifest(PutManifest { reference: Reference::Tag(tag.clone()), ..put.clone() }).await?;
    }
    Ok(created(repository.name(), &digest, subject.as_ref(), &tags))
}

/// The digest that the bytes must have, or that they have where a tag was named.
fn digest_of(reference: &Reference, bytes: &[u8]) -> Result<Digest, Error> {
    match reference {
        Reference::Tag(_) => Ok(Digest::of(Algorithm::Sha256, bytes)),
        Reference::Digest(expected) if expected.matches(bytes) => Ok(expected.clone()),
        Reference::Digest(expected) => Err(Error::Storage(storage::Error::DigestMismatch {
            expected: expected.clone(),
            actual: Digest::of(expected.algorithm(), bytes),
        })),
    }
}

/// The `tag` parameters, which only a push by digest may have.
fn tags_to_set(call: &Call<'_>, reference: &Reference) -> Result<Vec<Tag>, Error> {
    if matches!(reference, Reference::Tag(_)) {
        return Ok(Vec::new());
    }
    let parse = |text: &str| text.parse().map_err(|source| Malformed::Tag { source });
    let tags: Vec<Tag> = call.query.all("tag").take(MAX_TAGS + 1).map(parse).collect::<Result<_, _>>()?;
    if tags.len() > MAX_TAGS { Err(Malformed::Parameter { name: "tag" }.into()) } else { Ok(tags) }
}

fn content_type(call: &Call<'_>) -> Result<Option<MediaType>, Error> {
    let Some(value) = call.headers.get(CONTENT_TYPE) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    Ok(Some(text.parse().map_err(|source| Malformed::ContentType { source })?))
}

fn created(name: &RepositoryName, digest: &Digest, subject: Option<&Digest>, tags: &[Tag]) -> Response<Body> {
    let mut answer =
        Answer::empty(StatusCode::CREATED).location(&format!("/v2/{name}/manifests/{digest}")).digest(digest);
    if let Some(subject) = subject {
        answer = answer.header(OCI_SUBJECT, subject.to_string());
    }
    if !tags.is_empty() {
        let names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        answer = answer.header(OCI_TAG, names.join(", "));
    }
    answer.build()
}
