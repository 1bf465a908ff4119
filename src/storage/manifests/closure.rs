//! Everything that a manifest needs to be complete.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use tracing::warn;

use crate::oci::{Descriptor, Digest, Manifest, MediaType, RepositoryName};

use crate::storage::{
    Error,
    concurrent::concurrently,
    driver::{self},
    layout::PathSpec,
    store::Store,
};

/// The longest manifest that is read to see what it needs, in bytes: the largest limit that a configuration can set. What
/// is longer was never pushed as one.
const MAX_MANIFEST: u64 = 64 << 20;

/// A manifest with all that it reaches in its repository: config, layers, children and their closures; not its subject,
/// not content that may be had elsewhere and was never pushed, and not manifests that were never pushed there.
#[derive(Debug, Clone, Default)]
pub(in crate::storage) struct Closure {
    /// What the root says; `None` where that cannot be read.
    pub(in crate::storage) root: Option<Manifest>,
    /// The manifests, the root first, parents before their children.
    pub(in crate::storage) manifests: Vec<ClosureManifest>,
    /// Configs and layers.
    pub(in crate::storage) blobs: BTreeSet<Digest>,
    /// Of both, what the store does not have, or has damaged.
    pub(in crate::storage) missing: Vec<Digest>,
}

/// A manifest of a closure.
#[derive(Debug, Clone)]
pub(in crate::storage) struct ClosureManifest {
    /// Its address.
    pub(in crate::storage) digest: Digest,
    /// Its length in bytes; `None` where its bytes are missing.
    pub(in crate::storage) size: Option<u64>,
    /// The manifests that it lists.
    pub(in crate::storage) children: Vec<Digest>,
}

impl Closure {
    /// Every digest in it, the root first.
    pub(in crate::storage) fn digests(&self) -> Vec<Digest> {
        self.manifests.iter().map(|manifest| &manifest.digest).chain(&self.blobs).cloned().collect()
    }
}

impl Store {
    /// The closure of a manifest, whether or not its links stand. `known` are digests that belong to it although they
    /// may be had elsewhere, because they did when it was deleted.
    pub(in crate::storage) async fn closure(
        &self,
        name: &RepositoryName,
        root: &Digest,
        known: &[Digest],
    ) -> Result<Closure, Error> {
        let mut closure = Closure::default();
        let mut optional = BTreeSet::new();
        let mut seen = BTreeSet::from([root.clone()]);
        let mut queue = VecDeque::from([(root.clone(), None)]);
        while let Some((digest, media_type)) = queue.pop_front() {
            let (found, manifest) = self.closure_manifest(name, digest, media_type).await?;
            for descriptor in manifest.iter().flat_map(Manifest::children) {
                let child = &descriptor.digest;
                if !seen.contains(child) && (known.contains(child) || self.was_pushed(name, child).await?) {
                    seen.insert(child.clone());
                    queue.push_back((child.clone(), Some(descriptor.media_type.clone())));
                }
            }
            for blob in manifest.iter().flat_map(Manifest::blobs) {
                let kept = blob.is_required() || known.contains(&blob.digest);
                if kept { &mut closure.blobs } else { &mut optional }.insert(blob.digest.clone());
            }
            if found.size.is_none() {
                closure.missing.push(found.digest.clone());
            }
            if closure.manifests.is_empty() {
                closure.root = manifest;
            }
            closure.manifests.push(found);
        }
        for digest in optional {
            if self.link(PathSpec::LayerLink(name, &digest), &digest).await?.is_some() {
                closure.blobs.insert(digest);
            }
        }
        closure.missing.extend(self.missing_blobs(name, &closure.blobs).await?);
        Ok(closure)
    }

    async fn closure_manifest(
        &self,
        name: &RepositoryName,
        digest: Digest,
        media_type: Option<MediaType>,
    ) -> Result<(ClosureManifest, Option<Manifest>), Error> {
        let Some(bytes) = self.manifest_bytes(&digest).await? else {
            return Ok((ClosureManifest { digest, size: None, children: Vec::new() }, None));
        };
        let fact = self.revision_fact(name, &digest).await?.read();
        let media_type = fact.map(|fact| fact.media_type).or(media_type);
        let manifest = Manifest::parse(media_type.as_ref(), &bytes).or_else(|_| Manifest::parse(None, &bytes));
        let manifest = manifest.inspect_err(|error| warn!(%digest, %error, "a manifest could not be read")).ok();
        let children = manifest.iter().flat_map(Manifest::children).map(|child| child.digest.clone()).collect();
        Ok((ClosureManifest { digest, size: Some(bytes.len() as u64), children }, manifest))
    }

    /// Whether a manifest is or was in the repository. The bytes of others', and of refused ones, are no part of it:
    /// else whoever knows a digest could have it restored, and read it.
    async fn was_pushed(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        Ok(self.link(PathSpec::RevisionLink(name, digest), digest).await?.is_some()
            || !self.names(PathSpec::Tombstones(name, digest)).await?.is_empty())
    }

    /// A manifest's bytes, verified; `None` where they are not there, or damaged, or too many for a manifest.
    pub(in crate::storage) async fn manifest_bytes(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        if self.stored_size(digest).await?.is_some_and(|size| size > MAX_MANIFEST) {
            warn!(%digest, "what should be a manifest is longer than any");
            return Ok(None);
        }
        match self.driver.get(&PathSpec::BlobData(digest).path()).await {
            Ok(bytes) if digest.matches(&bytes) => Ok(Some(bytes)),
            Ok(_) => {
                warn!(%digest, "the bytes of a manifest are damaged");
                Ok(None)
            }
            Err(driver::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(Error::driver("read a manifest", source)),
        }
    }

    async fn missing_blobs(&self, name: &RepositoryName, blobs: &BTreeSet<Digest>) -> Result<Vec<Digest>, Error> {
        let looks = blobs.iter().map(|digest| async move {
            let target = self.link(PathSpec::LayerLink(name, digest), digest).await?;
            let size = self.stored_size(target.as_ref().unwrap_or(digest)).await?;
            Ok::<_, Error>(size.is_none().then(|| digest.clone()))
        });
        let found: Vec<_> = concurrently(looks).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The length in bytes of what a descriptor names, where the repository has it: its link stands and its bytes are
    /// there. Read from the medium.
    pub(in crate::storage) async fn member_size(
        &self,
        name: &RepositoryName,
        descriptor: &Descriptor,
    ) -> Result<Option<u64>, Error> {
        let digest = &descriptor.digest;
        let spec = if descriptor.media_type.is_manifest() {
            PathSpec::RevisionLink(name, digest)
        } else {
            PathSpec::LayerLink(name, digest)
        };
        match self.link(spec, digest).await? {
            Some(target) => self.stored_size(&target).await,
            None => Ok(None),
        }
    }
}
