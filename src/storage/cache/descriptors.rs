//! The descriptor caches in front of the links: asking them, and making them forget.

use tracing::warn;
use ulid::Ulid;

use crate::oci::{Descriptor, Digest, RepositoryName};

use super::blob_descriptor::{BlobDescriptorService as _, DescriptorKey, Lookup, NotCleared};
use crate::storage::{
    Error,
    blobs::linked_store::{LinkScope, blob_descriptor},
    layout::PathSpec,
    store::Store,
};

/// What a link leads to.
#[derive(Debug)]
pub(in crate::storage) struct Linked {
    /// What it is.
    pub(in crate::storage) descriptor: Descriptor,
    /// Whether it stays this for as long as the repository has it. The link of another registry may name other content,
    /// and a manifest that does not say what it is may be pushed again as something else: no push asks the other replicas
    /// to forget, so what can change is never remembered.
    pub(in crate::storage) is_fixed: bool,
}

impl Store {
    /// What a repository has, perhaps from a cache, so that nothing is promised with it.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn cached_descriptor(&self, key: &DescriptorKey) -> Result<Option<Descriptor>, Error> {
        if !self.may_answer_from_memory() {
            return self.linked_descriptor(key).await;
        }
        match self.descriptors.stat(key).await {
            // Asked again: the answer of a cache that was waited for may be from after the lease.
            Lookup::Known(descriptor) if self.may_answer_from_memory() => Ok(Some(descriptor)),
            Lookup::Known(_) => self.linked_descriptor(key).await,
            Lookup::Unknown(fill) => {
                let found = self.linked(key).await?;
                if let Some(Linked { descriptor, is_fixed: true }) = &found {
                    self.descriptors.set(key, descriptor, fill).await;
                }
                Ok(found.map(|linked| linked.descriptor))
            }
        }
    }

    /// What a repository has, read from the medium. Content whose link stands and whose bytes are not there is not
    /// there.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn linked_descriptor(&self, key: &DescriptorKey) -> Result<Option<Descriptor>, Error> {
        Ok(self.linked(key).await?.map(|linked| linked.descriptor))
    }

    async fn linked(&self, key: &DescriptorKey) -> Result<Option<Linked>, Error> {
        let (name, digest) = (&key.repository, &key.digest);
        match key.scope {
            LinkScope::Manifests => self.linked_revision(name, digest).await,
            LinkScope::Layers => {
                let Some(target) = self.link(PathSpec::LayerLink(name, digest), digest).await? else {
                    return Ok(None);
                };
                let is_fixed = target == *digest;
                let size = self.stored_size(&target).await?;
                Ok(size.map(|size| Linked { descriptor: blob_descriptor(target, size), is_fixed }))
            }
        }
    }

    /// Makes the caches forget a digest of a repository, to be called after its links were removed, and before the
    /// others are told, with the epoch that stands then.
    ///
    /// # Guarantees
    /// Once this is answered, no cache that this process asks, or that one does which starts later, says what was
    /// removed.
    ///
    /// # Errors
    /// [`Error::Driver`]; a cache that is down is none.
    pub(in crate::storage) async fn forget_descriptors(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), Error> {
        if self.descriptors.redis.is_some() {
            self.adopt_recorded_epoch().await?;
        }
        self.clear_or_raise(&DescriptorKey::both(name, digest)).await
    }

    /// The same, when another replica says so. `told` is the epoch that stood when it had cleared.
    ///
    /// # Errors
    /// As [`Self::forget_descriptors`].
    pub(in crate::storage) async fn forget_descriptors_told(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        told: Option<Ulid>,
    ) -> Result<(), Error> {
        let keys = DescriptorKey::both(name, digest);
        if told.is_some_and(|told| self.adopt_epoch(told)) {
            // The other one cleared that epoch, or has just begun it: only memory is from before.
            let _ = self.descriptors.memory.clear(&keys).await;
            return Ok(());
        }
        // By this process's own connection: it may lead to another Redis, if one is taking over just now.
        self.clear_or_raise(&keys).await
    }

    async fn clear_or_raise(&self, keys: &[DescriptorKey]) -> Result<(), Error> {
        if self.descriptors.clear(keys).await == Err(NotCleared) {
            self.raise_cache_epoch().await?;
            // After the raise: what an earlier look at Redis brought is remembered before this, or not at all.
            let _ = self.descriptors.memory.clear(keys).await;
        }
        Ok(())
    }

    /// Makes the caches forget everything, to be called after bytes were removed that any repository may have, and before
    /// the others are told.
    ///
    /// # Errors
    /// [`Error::Driver`]; a cache that is down is none.
    pub(in crate::storage) async fn forget_all_descriptors(&self) -> Result<(), Error> {
        self.raise_cache_epoch().await?;
        // After the raise: what an earlier look at Redis brought is remembered before this, or not at all.
        self.descriptors.memory.clear_all();
        Ok(())
    }

    /// The same, when another replica says so. `told` is the epoch that it has begun.
    ///
    /// # Errors
    /// As [`Self::forget_all_descriptors`].
    pub(in crate::storage) async fn forget_all_descriptors_told(&self, told: Option<Ulid>) -> Result<(), Error> {
        let Some(told) = told else { return self.forget_all_descriptors().await };
        self.adopt_epoch(told);
        self.descriptors.memory.clear_all();
        Ok(())
    }

    /// Makes the caches forget what turned out to be wrong, or might be. A shared one that cannot be reached keeps it for
    /// as long as entries live: anybody can find a hole, and must not be able to empty the cache with it.
    pub(in crate::storage) async fn drop_descriptors(&self, name: &RepositoryName, digest: &Digest) {
        let keys = DescriptorKey::both(name, digest);
        if self.descriptors.clear(&keys).await == Err(NotCleared) {
            let _ = self.descriptors.memory.clear(&keys).await;
        }
    }

    /// Begins to use the caches, or begins anew after a time in which this process was told of no clear: memory is
    /// empty, and the shared cache is looked at in the epoch that the store names.
    ///
    /// In shared mode it comes after the replica's key was written, and before anything is answered: whoever clears
    /// later finds that key, and whoever cleared earlier had written the epoch before.
    ///
    /// # Errors
    /// [`Error::Driver`] where the epoch cannot be read.
    pub(in crate::storage) async fn join_descriptor_caches(&self) -> Result<(), Error> {
        if let Some(redis) = &self.descriptors.redis {
            let recorded = self.recorded_epoch().await?;
            let own = match recorded {
                Some(epoch) if self.is_epoch_of_this_store(epoch).await? => Some(epoch),
                _ => None,
            };
            if let Some(epoch) = own {
                self.adopt_epoch(epoch);
            } else if let Err(error) = self.raise_cache_epoch_after(recorded).await {
                let error = &error as &dyn std::error::Error;
                warn!(error, "could not begin an epoch of the shared cache; going on without it");
            }
            redis.connected().await;
        }
        self.descriptors.memory.clear_all();
        Ok(())
    }
}
