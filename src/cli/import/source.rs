//! What a registry has.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{Method, Response, header::RANGE};
use serde::{Deserialize, de::DeserializeOwned};

use crate::oci::{Algorithm, Descriptor, Digest, Manifest, MediaType, Reference, RepositoryName, Tag};

use super::{failure::Failure, remote::Remote};

/// Every kind of manifest.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// How many names to ask for at a time.
const PAGE: usize = 500;

/// The largest manifest that is read, in bytes: sixteen times what registries take by default.
const MAX_MANIFEST: usize = 64 << 20;

/// A registry that is copied from.
#[derive(Clone)]
pub(super) struct Source(pub(super) Arc<Remote>);

/// A manifest as it came.
pub(super) struct FoundManifest {
    pub(super) digest: Digest,
    pub(super) media_type: MediaType,
    pub(super) bytes: Bytes,
    pub(super) manifest: Manifest,
}

#[derive(Deserialize)]
struct CatalogPage {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct TagPage {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ReferrerPage {
    manifests: Vec<Descriptor>,
}

impl Source {
    /// The names of all repositories. One that Lagan cannot have is passed over, and said.
    pub(super) async fn repositories(&self) -> Result<(Vec<RepositoryName>, Vec<String>), Failure> {
        let (mut names, mut others) = (Vec::new(), Vec::new());
        let pages = self.pages("", format!("/v2/_catalog?n={PAGE}"), |page: CatalogPage| page.repositories);
        for text in pages.await? {
            match text.parse() {
                Ok(name) => names.push(name),
                Err(_) => others.push(text),
            }
        }
        Ok((names, others))
    }

    /// The tags of a repository.
    pub(super) async fn tags(&self, name: &RepositoryName) -> Result<Vec<Tag>, Failure> {
        let path = format!("/v2/{name}/tags/list?n={PAGE}");
        let found = self.pages(name.as_str(), path, |page: TagPage| page.tags).await?;
        Ok(found.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// All pages of a list, as their `Link` headers join them.
    async fn pages<T: DeserializeOwned>(
        &self,
        key: &str,
        first: String,
        names: impl Fn(T) -> Option<Vec<String>>,
    ) -> Result<Vec<String>, Failure> {
        let mut found: Vec<String> = Vec::new();
        let mut path = first;
        loop {
            let answer = self.0.get(key, &path).await?;
            let next = next_page(&answer);
            let page = answer.json().await.map_err(|error| Failure::connection(&path, &error))?;
            let more = names(page).unwrap_or_default();
            // A registry that says that there is more, and then has nothing, would be asked for ever.
            let is_empty = more.is_empty();
            found.extend(more);
            match next.filter(|_| !is_empty) {
                Some(next) => path = next,
                None => return Ok(found),
            }
        }
    }

    /// What a tag points to; `None` where the source does not say without sending all of it, or has no such tag.
    pub(super) async fn tag_digest(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, Failure> {
        let answer = self.0.find(Method::HEAD, name, &format!("manifests/{tag}")).await?;
        Ok(answer.and_then(|answer| header_digest(&answer)))
    }

    /// A manifest, verified; `None` where there is none.
    pub(super) async fn manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<FoundManifest>, Failure> {
        super::retry::with_retries(|| self.manifest_once(name, reference)).await
    }

    async fn manifest_once(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<FoundManifest>, Failure> {
        let path = format!("manifests/{reference}");
        let what = format!("{name} {reference}");
        let content = |reason: String| Failure::Content { what: what.clone(), reason };
        let Some(mut answer) = self.0.find(Method::GET, name, &path).await? else { return Ok(None) };
        let content_type = answer.headers().get("Content-Type").and_then(|value| value.to_str().ok());
        let content_type = content_type.and_then(|text| text.split(';').next()?.trim().parse::<MediaType>().ok());
        let said = header_digest(&answer);
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| Failure::connection(&what, &error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_MANIFEST {
                return Err(content(format!("the manifest has more than {MAX_MANIFEST} bytes")));
            }
        }
        let digest = match (reference, said) {
            (Reference::Digest(digest), _) => digest.clone(),
            (Reference::Tag(_), Some(digest)) => digest,
            (Reference::Tag(_), None) => Digest::of(Algorithm::Sha256, &bytes),
        };
        if !digest.matches(&bytes) {
            return Err(content(format!("the manifest that came does not hash to {digest}")));
        }
        let manifest = Manifest::parse(content_type.as_ref().filter(|of| of.is_manifest()), &bytes)
            .or_else(|_| Manifest::parse(None, &bytes))
            .map_err(|error| content(error.to_string()))?;
        let media_type = manifest.media_type.clone();
        Ok(Some(FoundManifest { digest, media_type, bytes: bytes.into(), manifest }))
    }

    /// What refers to a manifest: as the source lists it, or as the tag schema of the specification has it.
    pub(super) async fn referrers(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Descriptor>, Failure> {
        let mut found = Vec::new();
        let mut path = Some(format!("referrers/{digest}"));
        while let Some(asked) = path.take() {
            let Some(answer) = self.0.find(Method::GET, name, &asked).await? else {
                return self.tagged_referrers(name, digest).await;
            };
            let next = next_page(&answer);
            // A registry without the API may answer with anything but a list.
            let Ok(page) = answer.json::<ReferrerPage>().await else {
                return self.tagged_referrers(name, digest).await;
            };
            let prefix = format!("/v2/{name}/");
            path = next
                .and_then(|next| Some(next.split_once(&prefix)?.1.to_owned()))
                .filter(|_| !page.manifests.is_empty());
            found.extend(page.manifests);
        }
        Ok(found)
    }

    async fn tagged_referrers(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Descriptor>, Failure> {
        // distribution-spec 1.1, *Referrers Tag Schema*.
        let hex: String = digest.hex().chars().take(64).collect();
        let Ok(tag) = format!("{}-{hex}", digest.algorithm()).parse::<Tag>() else { return Ok(Vec::new()) };
        let found = self.manifest(name, &Reference::Tag(tag)).await?;
        Ok(found.map(|found| found.manifest.manifests).unwrap_or_default())
    }

    /// A blob's bytes from one of them on, as they come; from the first where the source knows no ranges.
    pub(super) async fn blob(&self, name: &RepositoryName, digest: &Digest, from: u64) -> Result<Response, Failure> {
        let path = format!("/v2/{name}/blobs/{digest}");
        let client = |url| match from {
            0 => self.0.request(Method::GET, url),
            _ => self.0.request(Method::GET, url).header(RANGE, format!("bytes={from}-")),
        };
        self.0.send(name.as_str(), &path, client).await
    }
}

fn header_digest(answer: &Response) -> Option<Digest> {
    answer.headers().get("Docker-Content-Digest")?.to_str().ok()?.parse().ok()
}

fn next_page(answer: &Response) -> Option<String> {
    let link = answer.headers().get("Link")?.to_str().ok()?;
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    parameters.contains("rel=\"next\"").then(|| target.to_owned())
}
