//! `/v2/<name>/manifests/<reference>`

use hyper::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, WARNING},
};

use crate::oci::{Digest, MediaType, Reference, RepositoryName, Tag};
use crate::storage::{ManifestContent, PutManifest, Repository};

use super::{
    Error, Malformed,
    blobs::{cause, not_modified},
    body::{Body, RequestBody},
    call::Call,
    conditional, pushed_manifest,
    response::Answer,
};

/// Says that the registry lists the manifest among its subject's referrers, so that the client need not.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Says which tags of the request's parameters were set.
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// Up to which length a manifest is read whole and then sent. Nearly every one is shorter; clients that take a longer one
/// slowly would hold all of it, each of them.
const SENT_WHOLE: u64 = 64 << 10;

/// How many tags one request may set. Each is a few writes that are made durable together.
const MAX_TAGS: usize = 64;

pub(super) async fn respond(
    call: &Call<'_>,
    name: &RepositoryName,
    reference: &Reference,
    body: &mut RequestBody,
) -> Result<Response<Body>, Error> {
    let repository = call.app.catalog.repository(name);
    match *call.method {
        Method::HEAD => head(call, &repository, reference).await,
        Method::PUT => put(call, &repository, reference, body).await,
        Method::DELETE => {
            repository.delete_manifest(reference, cause(call)).await?;
            Ok(Answer::empty(StatusCode::ACCEPTED).build())
        }
        _ => get(call, &repository, reference).await,
    }
}

/// `Accept` is not looked at: a manifest has one form, and the digest is of that form (distribution-spec,
/// *Content Negotiation*).
async fn get(call: &Call<'_>, repository: &Repository, reference: &Reference) -> Result<Response<Body>, Error> {
    let (descriptor, content) = repository.open_manifest(reference, SENT_WHOLE).await?;
    // Who has it already and asks whether it still is the same uses it, too.
    repository.note_pull(reference);
    let warning = warning(call, repository, reference, &descriptor.digest);
    if conditional::is_held(call.headers, &descriptor.digest) {
        return Ok(warned(not_modified(&descriptor.digest), warning));
    }
    let answer = Answer::empty(StatusCode::OK)
        .content(&descriptor.digest)
        .header(CONTENT_TYPE, descriptor.media_type.as_str())
        .body(match content {
            ManifestContent::Whole(bytes) => Body::full(bytes),
            ManifestContent::Stream(stream) => Body::stream(stream, descriptor.size),
        });
    Ok(warned(answer.build(), warning))
}

async fn head(call: &Call<'_>, repository: &Repository, reference: &Reference) -> Result<Response<Body>, Error> {
    let descriptor = repository.stat_manifest(reference).await?;
    let warning = warning(call, repository, reference, &descriptor.digest);
    if conditional::is_held(call.headers, &descriptor.digest) {
        return Ok(warned(not_modified(&descriptor.digest), warning));
    }
    let answer = Answer::empty(StatusCode::OK)
        .content(&descriptor.digest)
        .header(CONTENT_TYPE, descriptor.media_type.as_str())
        .length(descriptor.size);
    Ok(warned(answer.build(), warning))
}

/// What who pulls a tag is told that stands in a plan which waits for approval (distribution-spec, *Warnings*): code 299,
/// no agent, and a quoted text.
fn warning(call: &Call<'_>, repository: &Repository, reference: &Reference, digest: &Digest) -> Option<HeaderValue> {
    let Reference::Tag(tag) = reference else { return None };
    let policies = call.app.runs.as_ref()?.awaiting_approval(repository.name(), tag, digest);
    if policies.is_empty() {
        return None;
    }
    let name = repository.name();
    let text = format!("{name}:{tag} is to be deleted by retention policy {}, once approved", policies.join(", "));
    HeaderValue::try_from(format!("299 - \"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))).ok()
}

fn warned(mut response: Response<Body>, warning: Option<HeaderValue>) -> Response<Body> {
    response.headers_mut().extend(warning.map(|warning| (WARNING, warning)));
    response
}

async fn put(
    call: &Call<'_>,
    repository: &Repository,
    reference: &Reference,
    body: &mut RequestBody,
) -> Result<Response<Body>, Error> {
    let parameters = tags_to_set(call, reference)?;
    let media_type = content_type(call)?;
    let limit = call.app.settings.max_manifest_size;
    let body = body.collect(limit, &call.app.bodies).await?.ok_or(Error::ManifestTooLarge { limit })?;
    let manifest = pushed_manifest::parse(media_type, body.bytes()).await?;
    let subject = manifest.subject.as_ref().map(|subject| subject.digest.clone());
    let (digest, tags) = match reference {
        Reference::Tag(tag) => (None, vec![tag.clone()]),
        Reference::Digest(digest) => (Some(digest.clone()), parameters.clone()),
    };
    let never_moves = |tag: &&Tag| call.app.settings.immutable_tags.contains(repository.name(), tag);
    let immutable = tags.iter().filter(never_moves).cloned().collect();
    let (bytes, actor) = (body.bytes().clone(), call.actor.to_owned());
    let put = PutManifest { digest, tags, manifest, bytes, immutable, actor };
    let digest = repository.put_manifest(put).await?;
    Ok(created(repository.name(), &digest, subject.as_ref(), &parameters))
}

/// The `tag` parameters, which only a push by digest may have.
fn tags_to_set(call: &Call<'_>, reference: &Reference) -> Result<Vec<Tag>, Error> {
    if matches!(reference, Reference::Tag(_)) {
        return Ok(Vec::new());
    }
    let parse = |text: &str| text.parse().map_err(|source| Malformed::Tag { source });
    let mut tags: Vec<Tag> = Vec::new();
    for tag in call.query.all("tag").map(parse) {
        let tag = tag?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        if tags.len() > MAX_TAGS {
            return Err(Error::TooManyTags { limit: MAX_TAGS });
        }
    }
    Ok(tags)
}

fn content_type(call: &Call<'_>) -> Result<Option<MediaType>, Error> {
    let Some(value) = call.headers.get(CONTENT_TYPE) else { return Ok(None) };
    // Types have no case (RFC 6838, section 4.2); the ones that a manifest has inside are written in one.
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
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
