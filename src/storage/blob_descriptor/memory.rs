//! Descriptors in memory.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use moka::sync::Cache;

use crate::oci::Descriptor;

use crate::storage::Error;

use super::{BlobDescriptorService, DescriptorKey, Fill};

/// Into how many generations the keys are divided. A clear spoils the fills of its stripe, so there should be more
/// stripes than reads at a time; each takes 16 bytes.
const STRIPES: usize = 256;

/// The descriptors that were used last, at most so many.
#[derive(Debug)]
pub(in crate::storage) struct MemoryDescriptors {
    entries: Cache<DescriptorKey, Descriptor>,
    /// How often each stripe was cleared. A fill and a clear of one stripe exclude each other.
    generations: Vec<Mutex<u64>>,
    hasher: RandomState,
}

impl MemoryDescriptors {
    /// Remembers at most `capacity` descriptors.
    pub(in crate::storage) fn new(capacity: u64) -> Self {
        let generations = std::iter::repeat_with(Mutex::default).take(STRIPES).collect();
        Self { entries: Cache::new(capacity), generations, hasher: RandomState::new() }
    }

    /// The generation of a key's stripe; `None` cannot be, as there are stripes.
    fn generation(&self, key: &DescriptorKey) -> Option<MutexGuard<'_, u64>> {
        let stripe = self.hasher.hash_one(key) % STRIPES as u64;
        let stripe = self.generations.get(usize::try_from(stripe).ok()?)?;
        Some(stripe.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl BlobDescriptorService for MemoryDescriptors {
    async fn stat(&self, key: &DescriptorKey) -> Result<Option<Descriptor>, Error> {
        Ok(self.entries.get(key))
    }

    fn begin(&self, key: &DescriptorKey) -> Fill {
        Fill(self.generation(key).map(|generation| *generation).unwrap_or_default())
    }

    async fn set(&self, key: &DescriptorKey, descriptor: Descriptor, fill: Fill) {
        let generation = self.generation(key);
        if generation.as_deref() == Some(&fill.0) {
            self.entries.insert(key.clone(), descriptor);
        }
    }

    async fn clear(&self, key: &DescriptorKey) {
        if let Some(mut generation) = self.generation(key) {
            *generation += 1;
            self.entries.invalidate(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::storage::{
        fixtures::{name, sha256},
        linked_blob_store::{LinkScope, blob_descriptor},
    };

    use super::*;

    fn key(scope: LinkScope) -> DescriptorKey {
        DescriptorKey { repository: name("a"), scope, digest: sha256(b"x") }
    }

    #[tokio::test]
    async fn what_was_set_is_known_until_it_is_cleared() {
        let memory = MemoryDescriptors::new(10);
        let (layer, manifest) = (key(LinkScope::Layers), key(LinkScope::Manifests));
        let descriptor = blob_descriptor(sha256(b"x"), 1);
        memory.set(&layer, descriptor.clone(), memory.begin(&layer)).await;
        assert_eq!(memory.stat(&layer).await.unwrap(), Some(descriptor));
        assert_eq!(memory.stat(&manifest).await.unwrap(), None, "a manifest is not the blob of its bytes");
        memory.clear(&layer).await;
        assert_eq!(memory.stat(&layer).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_fill_that_began_before_a_clear_does_not_land_after_it() {
        let memory = MemoryDescriptors::new(10);
        let key = key(LinkScope::Layers);
        let fill = memory.begin(&key);
        memory.clear(&key).await;
        memory.set(&key, blob_descriptor(sha256(b"x"), 1), fill).await;
        assert_eq!(memory.stat(&key).await.unwrap(), None);
        memory.set(&key, blob_descriptor(sha256(b"x"), 1), memory.begin(&key)).await;
        assert!(memory.stat(&key).await.unwrap().is_some(), "the next one lands");
    }
}
