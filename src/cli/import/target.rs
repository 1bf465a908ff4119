//! Where things go.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use reqwest::{Body, Method, Response, StatusCode};
use sha2::Digest as _;

use crate::oci::{Algorithm, Digest, Reference, RepositoryName, Tag};
use crate::storage::{self, Audience, Catalog, PutManifest};

use super::{failure::Failure, remote::Remote, retry::with_retries, source::FoundManifest};

/// Who pushes, in a folder's history of tags.
const ACTOR: &str = "lagan import";

/// A registry, or a folder that none serves.
pub(super) enum Target {
    Remote(Box<Remote>),
    Folder(Catalog),
}

impl Target {
    /// What a tag points to.
    pub(super) async fn tag_digest(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, Failure> {
        self.manifest_digest(name, &Reference::Tag(tag.clone())).await
    }

    pub(super) async fn has_manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Failure> {
        Ok(self.manifest_digest(name, &Reference::Digest(digest.clone())).await?.is_some())
    }

    async fn manifest_digest(&self, name: &RepositoryName, reference: &Reference) -> Result<Option<Digest>, Failure> {
        match self {
            Self::Remote(remote) => {
                let answer = remote.find(Method::HEAD, name, &format!("manifests/{reference}")).await?;
                Ok(answer.and_then(|answer| answer.headers().get("Docker-Content-Digest")?.to_str().ok()?.parse().ok()))
            }
            Self::Folder(catalog) => match catalog.repository(name).stat_manifest(reference).await {
                Ok(found) => Ok(Some(found.digest)),
                Err(storage::Error::ManifestUnknown { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    pub(super) async fn has_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Failure> {
        match self {
            Self::Remote(remote) => Ok(remote.find(Method::HEAD, name, &format!("blobs/{digest}")).await?.is_some()),
            Self::Folder(catalog) => match catalog.repository(name).stat_blob(digest, Audience::Pusher).await {
                Ok(_) => Ok(true),
                Err(storage::Error::BlobUnknown { .. }) => Ok(false),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Takes a blob over from another repository of the target; whether that worked.
    pub(super) async fn mount(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        from: &RepositoryName,
    ) -> Result<bool, Failure> {
        match self {
            Self::Remote(remote) => {
                let path = format!("/v2/{name}/blobs/uploads/?mount={digest}&from={from}");
                let answer = remote.send(name.as_str(), &path, |url| remote.request(Method::POST, url)).await?;
                if answer.status() == StatusCode::CREATED {
                    return Ok(true);
                }
                cancel(remote, name, location(remote, &answer)).await;
                Ok(false)
            }
            Self::Folder(catalog) => Ok(catalog.repository(name).mount_blob(digest, from).await?.is_some()),
        }
    }

    /// Stores what comes, if it is what was announced; how many bytes that were.
    pub(super) async fn put_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        content: Response,
    ) -> Result<u64, Failure> {
        match self {
            Self::Remote(remote) => push_blob(remote, name, digest, content).await,
            Self::Folder(catalog) => {
                let what = format!("{name}@{digest}");
                let mut upload = catalog.repository(name).create_upload().await?;
                let mut content = content.bytes_stream();
                let mut length = 0;
                while let Some(chunk) = content.next().await {
                    match chunk {
                        Ok(chunk) => {
                            length += chunk.len() as u64;
                            upload.append(chunk).await?;
                        }
                        Err(error) => {
                            upload.cancel().await?;
                            return Err(Failure::connection(&what, &error));
                        }
                    }
                }
                match upload.commit(digest).await {
                    Ok(_) => Ok(length),
                    Err(error @ storage::Error::DigestMismatch { .. }) => {
                        Err(Failure::Content { what, reason: error.to_string() })
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    pub(super) async fn put_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        found: &FoundManifest,
    ) -> Result<(), Failure> {
        match self {
            Self::Remote(remote) => {
                let path = format!("/v2/{name}/manifests/{reference}");
                let put = |url| {
                    let request = remote.request(Method::PUT, url).header("Content-Type", found.media_type.as_str());
                    request.body(found.bytes.clone())
                };
                // The same manifest twice is the same manifest.
                with_retries(|| remote.send(name.as_str(), &path, put)).await.map(drop)
            }
            Self::Folder(catalog) => {
                let tags = match reference {
                    Reference::Tag(tag) => vec![tag.clone()],
                    Reference::Digest(_) => Vec::new(),
                };
                let put = PutManifest {
                    tags,
                    manifest: found.manifest.clone(),
                    bytes: found.bytes.clone(),
                    digest: Some(found.digest.clone()),
                    actor: ACTOR.to_owned(),
                };
                Ok(catalog.repository(name).put_manifest(put).await.map(drop)?)
            }
        }
    }
}

async fn push_blob(remote: &Remote, name: &RepositoryName, digest: &Digest, content: Response) -> Result<u64, Failure> {
    let what = format!("{name}@{digest}");
    let begin = format!("/v2/{name}/blobs/uploads/");
    let begun = remote.send(name.as_str(), &begin, |url| remote.request(Method::POST, url)).await?;
    let Some(place) = location(remote, &begun) else {
        let reason = "the target began an upload and did not say where".to_owned();
        return Err(Failure::Content { what, reason });
    };
    let mut url = remote.url(&place)?;
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    let mut request = remote.request(Method::PUT, url).header("Content-Type", "application/octet-stream");
    if let Some(length) = content.content_length() {
        request = request.header("Content-Length", length);
    }
    let state = Arc::new(Mutex::new(Arrived::default()));
    let body = Body::wrap_stream(verified(content.bytes_stream(), digest.clone(), Arc::clone(&state)));
    let pushed = remote.send_stream(name.as_str(), request.body(body), &what).await;
    let arrived = state.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match (pushed, arrived.problem) {
        (Ok(_), _) => Ok(arrived.length),
        (Err(_), Some(reason)) => {
            cancel(remote, name, Some(place)).await;
            Err(Failure::Content { what, reason })
        }
        (Err(failure), None) => {
            cancel(remote, name, Some(place)).await;
            Err(failure)
        }
    }
}

/// What is known of a stream that is passed on.
#[derive(Debug, Clone, Default)]
struct Arrived {
    length: u64,
    problem: Option<String>,
}

/// Passes a stream on, with the last piece held back until all of it is verified: what is not what was announced never
/// arrives whole, whether or not the target verifies.
fn verified(
    content: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
    digest: Digest,
    state: Arc<Mutex<Arrived>>,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    let passing = Passing {
        content: Box::pin(content),
        held: None,
        hasher: Some(Hasher::new(digest.algorithm())),
        digest,
        state,
    };
    stream::unfold(passing, |mut passing| async move { passing.next().await.map(|piece| (piece, passing)) })
}

/// A stream on its way.
struct Passing {
    content: BoxStream<'static, reqwest::Result<Bytes>>,
    /// What came last.
    held: Option<Bytes>,
    /// There until the end.
    hasher: Option<Hasher>,
    digest: Digest,
    state: Arc<Mutex<Arrived>>,
}

impl Passing {
    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        self.hasher.as_ref()?;
        loop {
            match self.content.next().await {
                Some(Ok(piece)) => {
                    self.arrived().length += piece.len() as u64;
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&piece);
                    }
                    if let Some(before) = self.held.replace(piece) {
                        return Some(Ok(before));
                    }
                }
                Some(Err(error)) => {
                    self.hasher = None;
                    return Some(Err(self.refuse(format!("the source broke off: {error}"))));
                }
                None => {
                    let actual = self.hasher.take().and_then(Hasher::finish);
                    return match actual.filter(|actual| *actual != self.digest) {
                        Some(actual) => Some(Err(self.refuse(format!("what the source sent hashes to {actual}")))),
                        None => self.held.take().map(Ok),
                    };
                }
            }
        }
    }

    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, reason: String) -> io::Error {
        self.arrived().problem = Some(reason.clone());
        io::Error::other(reason)
    }
}

enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Option<Digest> {
        match self {
            Self::Sha256(hasher) => Digest::from_raw(Algorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => Digest::from_raw(Algorithm::Sha512, &hasher.finalize()),
        }
    }
}

fn location(remote: &Remote, answer: &Response) -> Option<String> {
    let text = answer.headers().get("Location")?.to_str().ok()?;
    remote.url(text).ok().map(|url| url.to_string())
}

/// Ends an upload that came to nothing. Where that fails too, the target forgets it in time.
async fn cancel(remote: &Remote, name: &RepositoryName, place: Option<String>) {
    if let Some(place) = place {
        let _ = remote.send(name.as_str(), &place, |url| remote.request(Method::DELETE, url)).await;
    }
}
