//! From a tag to everything that it needs.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;

use crate::cli::exit::InvalidUsage;
use crate::oci::{Descriptor, Digest, Reference, RepositoryName, Tag};

use super::{
    failure::Failure,
    locks::Locks,
    report::Tally,
    retry::Patience,
    selection::Selection,
    source::{FoundManifest, Source},
    target::Target,
};

/// How deep manifests may lie in each other: an index of indexes, with what refers to it, is four.
const MAX_DEPTH: usize = 16;

/// Copies from one to the other.
pub(super) struct Copier {
    source: Source,
    target: Target,
    pub(super) tally: Arc<Tally>,
    dry_run: bool,
    /// Two images that share a layer do not send it twice, in whichever repositories they are.
    locks: Locks<Digest>,
    /// Where a blob is known to be in the target.
    homes: Mutex<HashMap<Digest, RepositoryName>>,
    /// Manifests whose referrers were asked for.
    asked: Mutex<HashSet<(RepositoryName, Digest)>>,
}

impl Copier {
    pub(super) fn new(source: Source, target: Target, tally: Arc<Tally>, dry_run: bool) -> Self {
        let (locks, homes, asked) = (Locks::default(), Mutex::default(), Mutex::default());
        Self { source, target, tally, dry_run, locks, homes, asked }
    }

    /// Which repositories to copy.
    ///
    /// # Errors
    /// Where the source has no catalog.
    pub(super) async fn repositories(&self, selection: &Selection) -> anyhow::Result<Vec<RepositoryName>> {
        if let Some(named) = selection.named() {
            return Ok(named.to_vec());
        }
        let (names, others) = self.source.repositories().await.map_err(|failure| match failure {
            Failure::Answer { .. } => anyhow::Error::from(InvalidUsage(format!(
                "the source does not say which repositories it has ({failure}): name them with --repositories"
            ))),
            failure => failure.into(),
        })?;
        for name in others {
            self.tally.failed(&name, "", "its name is not one that the specification allows");
        }
        Ok(names.into_iter().filter(|name| selection.has_repository(name)).collect())
    }

    /// Which tags of a repository to copy.
    pub(super) async fn tags(&self, name: &RepositoryName, selection: &Selection) -> Vec<Tag> {
        let tags = match self.source.tags(name).await {
            Ok(tags) => tags,
            Err(failure) => {
                self.tally.failed(name.as_str(), "", &failure.in_words());
                Vec::new()
            }
        };
        let tags: Vec<Tag> = tags.into_iter().filter(|tag| selection.has_tag(tag)).collect();
        self.tally.listed(tags.len());
        tags
    }

    /// Copies what a tag points to.
    pub(super) async fn image(&self, name: &RepositoryName, tag: &Tag) {
        match self.copy_tag(name, tag).await {
            Ok(true) => self.tally.tag_copied(),
            Ok(false) => self.tally.tag_present(),
            Err(failure) => self.tally.failed(name.as_str(), tag.as_str(), &failure.in_words()),
        }
    }

    /// Whether there was something to do.
    async fn copy_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<bool, Failure> {
        let there = self.target.tag_digest(name, tag).await?;
        if let Some(digest) = &there
            && self.source.tag_digest(name, tag).await?.as_ref() == Some(digest)
        {
            // What refers to it may have come since.
            self.referrers(name, digest, 0).await?;
            return Ok(false);
        }
        let reference = Reference::Tag(tag.clone());
        let Some(found) = self.source.manifest(name, &reference).await? else {
            let reason = "the source lists it and does not have it".to_owned();
            return Err(Failure::Content { what: format!("{name}:{tag}"), reason });
        };
        if there.as_ref() == Some(&found.digest) {
            self.referrers(name, &found.digest, 0).await?;
            return Ok(false);
        }
        if !self.dry_run {
            self.contents(name, &found, 0).await?;
            self.target.put_tagged(name, tag, &found).await?;
            self.tally.manifest_copied();
            self.referrers(name, &found.digest, 0).await?;
        }
        Ok(true)
    }

    /// Copies all that a manifest needs.
    fn contents<'a>(
        &'a self,
        name: &'a RepositoryName,
        found: &'a FoundManifest,
        depth: usize,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            for child in found.manifest.children() {
                self.manifest(name, &child.digest, depth + 1).await?;
            }
            for blob in found.manifest.blobs().filter(|blob| blob.is_required()) {
                self.blob(name, blob).await?;
            }
            Ok(())
        })
    }

    /// Copies a manifest by its digest, with all that it needs and what refers to it.
    fn manifest<'a>(
        &'a self,
        name: &'a RepositoryName,
        digest: &'a Digest,
        depth: usize,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let what = || format!("{name}@{digest}");
            if depth > MAX_DEPTH {
                return Err(Failure::Content {
                    what: what(),
                    reason: "manifests lie too deep in each other".to_owned(),
                });
            }
            if !self.target.has_manifest(name, digest).await? {
                let reference = Reference::Digest(digest.clone());
                let Some(found) = self.source.manifest(name, &reference).await? else {
                    let reason = "the source does not have it, and lists it".to_owned();
                    return Err(Failure::Content { what: what(), reason });
                };
                self.contents(name, &found, depth).await?;
                self.target.put_manifest(name, &reference, &found).await?;
                self.tally.manifest_copied();
            }
            self.referrers(name, digest, depth).await
        })
    }

    /// Copies what refers to a manifest.
    async fn referrers(&self, name: &RepositoryName, digest: &Digest, depth: usize) -> Result<(), Failure> {
        let is_new = self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert((name.clone(), digest.clone()));
        if self.dry_run || !is_new {
            return Ok(());
        }
        for referrer in self.source.referrers(name, digest).await? {
            self.manifest(name, &referrer.digest, depth + 1).await?;
        }
        Ok(())
    }

    async fn blob(&self, name: &RepositoryName, blob: &Descriptor) -> Result<(), Failure> {
        let digest = &blob.digest;
        let _alone = self.locks.lock(digest.clone()).await;
        if self.target.has_blob(name, digest).await? {
            self.tally.blob_present();
        } else if self.mounted(name, digest).await {
            self.tally.blob_mounted();
        } else {
            let length = self.copy_blob(name, digest).await?;
            self.tally.blob_copied(length);
        }
        self.homes.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone(), name.clone());
        Ok(())
    }

    /// A mount saves an upload, and nothing more: what goes wrong with it is no failure.
    async fn mounted(&self, name: &RepositoryName, digest: &Digest) -> bool {
        let home = self.homes.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned();
        match home.filter(|home| home != name) {
            Some(home) => self.target.mount(name, digest, &home).await.unwrap_or(false),
            None => false,
        }
    }

    /// Begins anew where what came is not what was announced. Connections that break are gone on with below.
    async fn copy_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<u64, Failure> {
        let mut patience = Patience::default();
        loop {
            match self.target.put_blob(name, digest, &self.source).await {
                Err(failure @ (Failure::Content { .. } | Failure::Storage(_))) if failure.is_passing() => {
                    patience.after(failure).await?;
                }
                other => return other,
            }
        }
    }
}
