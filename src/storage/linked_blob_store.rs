//! Membership: which blobs a repository has.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::oci::{Descriptor, Digest, MediaType, RepositoryName};

use super::{
    Audience, BlobReader, Error, Repository,
    blob_descriptor::{BlobDescriptorService, CachedDescriptors, DescriptorKey, LinkedDescriptors, MemoryDescriptors},
    driver,
    guard::Key,
    layout::PathSpec,
    store::Store,
};

/// What a link makes a member of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LinkScope {
    /// Configs and layers.
    Layers,
    /// Manifests and indexes.
    Manifests,
}

impl Repository {
    /// What the repository has under a digest; its media type is `application/octet-stream`.
    ///
    /// # Guarantees
    /// A [`Audience::Pusher`] is answered from the medium, and may rely on the answer for as long as a push lasts.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], also while a delete of the blob is under way; [`Error::Driver`].
    pub async fn stat_blob(&self, digest: &Digest, audience: Audience) -> Result<Descriptor, Error> {
        let found = match audience {
            Audience::Puller => self.cached_descriptor(LinkScope::Layers, digest).await?,
            Audience::Pusher => self.promised_blob(digest).await?,
        };
        match found {
            Some(stored) => Ok(Descriptor { digest: digest.clone(), ..stored }),
            None => Err(self.blob_unknown(digest).await),
        }
    }

    /// A blob, to read.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], [`Error::Driver`].
    pub async fn open_blob(&self, digest: &Digest) -> Result<BlobReader, Error> {
        match self.cached_descriptor(LinkScope::Layers, digest).await? {
            Some(stored) => Ok(BlobReader {
                repository: self.clone(),
                digest: digest.clone(),
                target: stored.digest,
                size: stored.size,
            }),
            None => Err(self.blob_unknown(digest).await),
        }
    }

    /// Makes a blob of another repository a member of this one; `None` where `from` does not have it, and the client has
    /// to upload it. Whether the client may pull from there is the caller's to know.
    ///
    /// # Errors
    /// [`Error::Frozen`], [`Error::Driver`].
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<Option<Descriptor>, Error> {
        let (this, digest, from) = (self.clone(), digest.clone(), from.clone());
        self.store.changes.run(async move { this.mount(&digest, &from).await }).await
    }

    async fn mount(&self, digest: &Digest, from: &RepositoryName) -> Result<Option<Descriptor>, Error> {
        let source = PathSpec::LayerLink(from, digest);
        let Some(target) = self.store.link(source, digest).await? else { return Ok(None) };
        let keys = [
            Key::Blob(digest.clone()),
            Key::Blob(target.clone()),
            Key::Revision(self.name.clone(), digest.clone()),
            Key::Revision(from.clone(), digest.clone()),
        ];
        let _entered = self.store.guard.enter(keys).await?;
        // Again, now that no delete can be between this and the link.
        if self.store.link(source, digest).await?.as_ref() != Some(&target) {
            return Ok(None);
        }
        self.store.put_link(PathSpec::LayerLink(&self.name, digest), &target).await?;
        let size = self.store.stored_size(&target).await?;
        Ok(size.map(|size| blob_descriptor(digest.clone(), size)))
    }

    /// What a client that may push is told, so that it need not upload: read from the medium, with the link young
    /// enough to be kept for as long as the push may take.
    async fn promised_blob(&self, digest: &Digest) -> Result<Option<Descriptor>, Error> {
        let keys = [Key::Blob(digest.clone()), Key::Revision(self.name.clone(), digest.clone())];
        // A client that is told "no" uploads, which is better than to wait for a delete.
        let Some(_entered) = self.store.guard.try_enter(keys) else { return Ok(None) };
        if !self.refresh_layer_link(digest).await? {
            return Ok(None);
        }
        LinkedDescriptors(&self.store).stat(&self.descriptor_key(LinkScope::Layers, digest)).await
    }

    /// Makes a link young that is older than half the grace period; whether there is one.
    async fn refresh_layer_link(&self, digest: &Digest) -> Result<bool, Error> {
        let spec = PathSpec::LayerLink(&self.name, digest);
        let Some(modified) = self.store.age(spec).await? else { return Ok(false) };
        let now = self.store.clock.now();
        let half = SignedDuration::try_from(self.store.timing.grace / 2).unwrap_or(SignedDuration::MAX);
        if now.duration_since(modified) <= half {
            return Ok(true);
        }
        match self.store.driver.touch(&spec.path(), now).await {
            Ok(()) => Ok(true),
            Err(driver::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(Error::driver("refresh a link", source)),
        }
    }

    /// What is known, perhaps from memory, of content of the repository.
    pub(super) async fn cached_descriptor(
        &self,
        scope: LinkScope,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, Error> {
        self.store.cached_descriptors().stat(&self.descriptor_key(scope, digest)).await
    }

    /// The answer for a blob that is not there, with what the trash says of it.
    pub(super) async fn blob_unknown(&self, digest: &Digest) -> Error {
        let trash = self.store.explain_blob(&self.name, digest).await;
        Error::BlobUnknown { repository: self.name.clone(), digest: digest.clone(), trash }
    }

    fn descriptor_key(&self, scope: LinkScope, digest: &Digest) -> DescriptorKey {
        DescriptorKey { repository: self.name.clone(), scope, digest: digest.clone() }
    }
}

impl Store {
    /// The memory in front of the links.
    pub(super) fn cached_descriptors(&self) -> CachedDescriptors<&MemoryDescriptors, LinkedDescriptors<'_>> {
        CachedDescriptors { cache: &self.descriptors, source: LinkedDescriptors(self) }
    }

    /// Drops what memory knows of a digest in a repository, to be called after its links changed.
    pub(super) async fn forget_descriptors(&self, name: &RepositoryName, digest: &Digest) {
        for scope in [LinkScope::Layers, LinkScope::Manifests] {
            let key = DescriptorKey { repository: name.clone(), scope, digest: digest.clone() };
            self.cached_descriptors().clear(&key).await;
        }
    }
}

/// The descriptor of content of unknown type.
pub(super) fn blob_descriptor(digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: MediaType::octet_stream(),
        digest,
        size,
        artifact_type: None,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
    }
}
