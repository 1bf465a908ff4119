//! Where things go.

use reqwest::{Method, Response, StatusCode};

use crate::oci::{Algorithm, Digest, Reference, RepositoryName, Tag};
use crate::storage::{self, Audience, Catalog, PutManifest};

use super::{
    blob_push::{BlobPush, cancel, location},
    blob_stream::BlobStream,
    failure::Failure,
    remote::Remote,
    retry::with_retries,
    source::{FoundManifest, Source},
};

/// Says which of a request's tags were set (distribution-spec, development version).
const OCI_TAG: &str = "OCI-Tag";

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

    /// Stores a blob of the source, if what comes is what was announced; how many bytes that were.
    pub(super) async fn put_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        source: &Source,
    ) -> Result<u64, Failure> {
        match self {
            Self::Remote(remote) => BlobPush::new(remote, source, name, digest).run().await,
            Self::Folder(catalog) => {
                let mut content = BlobStream::new(source.clone(), name.clone(), digest.clone(), 0, None);
                let mut upload = catalog.repository(name).create_upload().await?;
                loop {
                    match content.next().await {
                        Ok(Some(piece)) => upload.append(piece).await?,
                        Ok(None) => break,
                        Err(failure) => {
                            upload.cancel().await?;
                            return Err(failure);
                        }
                    }
                }
                let length = upload.offset();
                match upload.commit(digest).await {
                    Ok(_) => Ok(length),
                    Err(error @ storage::Error::DigestMismatch { .. }) => {
                        Err(Failure::Content { what: format!("{name}@{digest}"), reason: error.to_string() })
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Stores a manifest and lets a tag point to it.
    pub(super) async fn put_tagged(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        found: &FoundManifest,
    ) -> Result<(), Failure> {
        if let Self::Remote(remote) = self
            && found.digest.algorithm() != Algorithm::Sha256
        {
            // A push by tag has no way to say how the digest is computed, and registries take SHA-256. The development
            // version of the specification has one: a push by digest that names tags, and says which it set.
            let query = format!("{}?tag={tag}", found.digest);
            let answer = put_manifest(remote, name, &query, found).await?;
            let set = answer.headers().get_all(OCI_TAG).iter().filter_map(|value| value.to_str().ok());
            if set.flat_map(|tags| tags.split(',')).any(|set| set.trim() == tag.as_str()) {
                return Ok(());
            }
        }
        self.put_manifest(name, &Reference::Tag(tag.clone()), found).await
    }

    pub(super) async fn put_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        found: &FoundManifest,
    ) -> Result<(), Failure> {
        match self {
            Self::Remote(remote) => put_manifest(remote, name, &reference.to_string(), found).await.map(drop),
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
                    immutable: Vec::new(),
                    actor: ACTOR.to_owned(),
                };
                Ok(catalog.repository(name).put_manifest(put).await.map(drop)?)
            }
        }
    }
}

async fn put_manifest(
    remote: &Remote,
    name: &RepositoryName,
    reference: &str,
    found: &FoundManifest,
) -> Result<Response, Failure> {
    let path = format!("/v2/{name}/manifests/{reference}");
    let put = |url| {
        let request = remote.request(Method::PUT, url).header("Content-Type", found.media_type.as_str());
        request.body(found.bytes.clone())
    };
    // The same manifest twice is the same manifest.
    with_retries(|| remote.send(name.as_str(), &path, put)).await
}
