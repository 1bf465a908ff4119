//! Membership: which blobs a repository has.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::oci::{Descriptor, Digest, MediaType, RepositoryName};

use crate::storage::{
    Audience, BlobReader, Error, Repository, cache::blob_descriptor::DescriptorKey, driver, guard::keys::Key,
    layout::PathSpec,
};

/// What a link makes a member of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::storage) enum LinkScope {
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
    /// [`Error::BlobUnknown`], also while a delete of the blob is under way, and without what the trash says of it: most
    /// of what a push asks for was never there. [`Error::NoLease`], [`Error::Driver`].
    pub async fn stat_blob(&self, digest: &Digest, audience: Audience) -> Result<Descriptor, Error> {
        let found = match audience {
            Audience::Puller => self.cached_descriptor(LinkScope::Layers, digest).await?,
            Audience::Pusher => self.promised_blob(digest).await?,
        };
        match found {
            Some(stored) => Ok(Descriptor { digest: digest.clone(), ..stored }),
            None => Err(Error::BlobUnknown { repository: self.name.clone(), digest: digest.clone(), trash: None }),
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
    /// [`Error::Frozen`], [`Error::NoLease`], [`Error::Driver`].
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
        let promise = self.store.enter(keys).await?;
        // Again, now that no delete can be between this and the link.
        if self.store.link(source, digest).await?.as_ref() != Some(&target) {
            return Ok(None);
        }
        if let Err(error) = self.store.put_link(PathSpec::LayerLink(&self.name, digest), &target).await {
            promise.leave(&self.store, &error);
            return Err(error);
        }
        let size = self.store.stored_size(&target).await?;
        promise.lease()?;
        Ok(size.map(|size| blob_descriptor(digest.clone(), size)))
    }

    /// What a client that may push is told, so that it need not upload: read from the medium, with the link young
    /// enough to be kept for as long as the push may take. Where nothing can be written a push fails in any case: the
    /// client is told what one is that may only pull, and is promised nothing.
    async fn promised_blob(&self, digest: &Digest) -> Result<Option<Descriptor>, Error> {
        let keys = [Key::Blob(digest.clone()), Key::Revision(self.name.clone(), digest.clone())];
        // A client that is told "no" uploads, which is better than to wait for a delete.
        let Some(promise) = self.store.try_enter(keys)? else { return Ok(None) };
        match self.refresh_layer_link(digest).await {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) if error.is_unwritable() => return self.cached_descriptor(LinkScope::Layers, digest).await,
            Err(error) => return Err(error),
        }
        // Never from a cache: the client will rely on it.
        let found = self.store.linked_descriptor(&self.descriptor_key(LinkScope::Layers, digest)).await?;
        promise.lease()?;
        Ok(found)
    }

    /// Makes a link young that is older than half the grace period, or may be: this process's clock may be behind the
    /// store's, and a collector's ahead of it. Whether there is a link.
    async fn refresh_layer_link(&self, digest: &Digest) -> Result<bool, Error> {
        let spec = PathSpec::LayerLink(&self.name, digest);
        let Some(modified) = self.store.age(spec).await? else { return Ok(false) };
        let now = self.store.clock.now();
        let timing = &self.store.timing;
        let half = (timing.grace / 2).saturating_sub(timing.clock_skew * 2);
        if now.duration_since(modified) <= SignedDuration::try_from(half).unwrap_or(SignedDuration::MAX) {
            return Ok(true);
        }
        match self.store.driver.touch(&spec.path(), now).await {
            Ok(()) => Ok(true),
            Err(driver::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(Error::driver("refresh a link", source)),
        }
    }

    /// What is known, perhaps from memory, of content of the repository.
    pub(in crate::storage) async fn cached_descriptor(
        &self,
        scope: LinkScope,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, Error> {
        self.store.cached_descriptor(&self.descriptor_key(scope, digest)).await
    }

    /// The answer for a blob that is not there, with what the trash says of it.
    pub(in crate::storage) async fn blob_unknown(&self, digest: &Digest) -> Error {
        let trash = self.store.explain_blob(&self.name, digest).await;
        Error::BlobUnknown { repository: self.name.clone(), digest: digest.clone(), trash }
    }

    fn descriptor_key(&self, scope: LinkScope, digest: &Digest) -> DescriptorKey {
        DescriptorKey { repository: self.name.clone(), scope, digest: digest.clone() }
    }
}

/// The descriptor of content of unknown type.
pub(in crate::storage) fn blob_descriptor(digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: MediaType::octet_stream(),
        digest,
        size,
        artifact_type: None,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
        platform: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use crate::storage::{
        DeleteCause,
        driver::faulty::Fault,
        fixtures::{World, name, sha256},
    };

    use super::*;

    const CONTENT: &[u8] = b"flotsam";

    async fn push(repository: &Repository) -> Digest {
        let mut upload = repository.create_upload().await.unwrap();
        upload.append(Bytes::from(CONTENT)).await.unwrap();
        upload.commit(&sha256(CONTENT)).await.unwrap().digest
    }

    fn cause() -> DeleteCause {
        DeleteCause { actor: "test".into(), reason: "because".into(), policy: None, group: None }
    }

    #[tokio::test]
    async fn a_mount_needs_the_blob_in_its_source() {
        let catalog = World::new().open().await;
        let (source, target) = (catalog.repository(&name("source")), catalog.repository(&name("target")));
        assert_eq!(target.mount_blob(&sha256(CONTENT), source.name()).await.unwrap(), None);
        let digest = push(&source).await;
        assert_eq!(target.mount_blob(&digest, &name("elsewhere")).await.unwrap(), None);
        assert!(target.stat_blob(&digest, Audience::Pusher).await.is_err(), "a digest alone is not enough");
        let mounted = target.mount_blob(&digest, source.name()).await.unwrap().unwrap();
        assert_eq!(mounted, target.stat_blob(&digest, Audience::Puller).await.unwrap());
        source.delete_blob(&digest, cause()).await.unwrap();
        assert_eq!(target.stat_blob(&digest, Audience::Pusher).await.unwrap(), mounted, "it has its own link");
    }

    #[tokio::test]
    async fn a_deleted_blob_is_unknown_to_everyone_at_once() {
        let world = World::new();
        let repository = world.repository("a").await;
        let digest = push(&repository).await;
        repository.stat_blob(&digest, Audience::Puller).await.unwrap();
        repository.delete_blob(&digest, cause()).await.unwrap();
        for audience in [Audience::Puller, Audience::Pusher] {
            let lists = world.driver.lists();
            let error = repository.stat_blob(&digest, audience).await.unwrap_err();
            assert!(matches!(error, Error::BlobUnknown { trash: None, .. }), "{error:?}");
            assert_eq!(world.driver.lists(), lists, "a HEAD has no body that would say more");
        }
        let error = repository.open_blob(&digest).await.unwrap_err();
        assert!(matches!(error, Error::BlobUnknown { trash: Some(_), .. }), "{error:?}");
        assert!(repository.store.stored_size(&digest).await.unwrap().is_some(), "its bytes stay");
        push(&repository).await;
        repository.stat_blob(&digest, Audience::Puller).await.unwrap();
    }

    #[tokio::test]
    async fn a_puller_is_answered_from_memory_and_a_pusher_is_not() {
        let world = World::new();
        let repository = world.repository("a").await;
        let digest = push(&repository).await;
        repository.stat_blob(&digest, Audience::Puller).await.unwrap();
        world.memory.remove_now(&PathSpec::LayerLink(&name("a"), &digest).path());
        repository.stat_blob(&digest, Audience::Puller).await.unwrap();
        assert!(repository.stat_blob(&digest, Audience::Pusher).await.is_err());
    }

    #[tokio::test]
    async fn a_blob_whose_bytes_went_away_is_unknown_and_forgotten() {
        let world = World::new();
        let repository = world.repository("a").await;
        let digest = push(&repository).await;
        let blob = repository.open_blob(&digest).await.unwrap();
        world.memory.remove_now(&PathSpec::BlobData(&digest).path());
        assert!(matches!(blob.stream(0..1).await, Err(Error::BlobUnknown { .. })));
        assert!(repository.stat_blob(&digest, Audience::Puller).await.is_err());
    }

    #[tokio::test]
    async fn a_promise_makes_an_old_link_young() {
        let world = World::new();
        let repository = world.repository("a").await;
        let digest = push(&repository).await;
        let age = || async { repository.store.age(PathSpec::LayerLink(&name("a"), &digest)).await.unwrap().unwrap() };
        let pushed_at = age().await;
        world.clock.advance(repository.store.timing.grace / 4);
        repository.stat_blob(&digest, Audience::Pusher).await.unwrap();
        assert_eq!(age().await, pushed_at);
        world.clock.advance(repository.store.timing.grace / 2);
        repository.stat_blob(&digest, Audience::Puller).await.unwrap();
        assert_eq!(age().await, pushed_at, "nothing is promised to who may only pull");
        repository.stat_blob(&digest, Audience::Pusher).await.unwrap();
        assert!(age().await > pushed_at + Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_pusher_is_answered_where_nothing_can_be_written() {
        let world = World::new();
        let repository = world.repository("a").await;
        let digest = push(&repository).await;
        world.clock.advance(repository.store.timing.grace);
        world.driver.crash(0, Fault::Full);
        let found = repository.stat_blob(&digest, Audience::Pusher).await.unwrap();
        assert_eq!(found.size, CONTENT.len() as u64);
        world.memory.remove_now(&PathSpec::LayerLink(&name("a"), &digest).path());
        assert!(repository.stat_blob(&digest, Audience::Pusher).await.is_err());
        world.memory.put_now(&PathSpec::LayerLink(&name("a"), &digest).path(), &digest.to_string());
        world.clock.advance(repository.store.timing.grace);
        world.driver.crash(0, Fault::Refused);
        assert!(repository.stat_blob(&digest, Audience::Pusher).await.is_err(), "what failed may do so for one file");
    }

    #[tokio::test]
    async fn a_link_that_names_other_content_leads_there() {
        let world = World::new();
        let repository = world.repository("a").await;
        let digest = push(&repository).await;
        // As stock distribution writes it for SHA-512.
        let alias = Digest::of(crate::oci::Algorithm::Sha512, CONTENT);
        world.memory.put_now(&PathSpec::LayerLink(&name("a"), &alias).path(), &digest.to_string());
        let found = repository.stat_blob(&alias, Audience::Pusher).await.unwrap();
        assert_eq!((found.digest, found.size), (alias.clone(), CONTENT.len() as u64));
        let mounted = world.repository("b").await;
        mounted.mount_blob(&alias, &name("a")).await.unwrap().unwrap();
        assert_eq!(mounted.open_blob(&alias).await.unwrap().size(), CONTENT.len() as u64);
    }
}
