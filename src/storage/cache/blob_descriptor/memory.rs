//! Descriptors in memory.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use moka::sync::Cache;

use crate::oci::Descriptor;

use crate::storage::metrics::{CacheLevel, CacheMetrics};

use super::{BlobDescriptorService, DescriptorKey, Lookup, NotCleared};

/// Into how many generations the keys are divided. A clear spoils the fills of its stripe, so there should be more
/// stripes than reads at a time; each takes 16 bytes.
const STRIPES: usize = 256;

/// The descriptors that were used last, at most so many.
#[derive(Debug)]
pub(in crate::storage) struct MemoryDescriptors {
    entries: Cache<DescriptorKey, Descriptor>,
    /// How often each stripe was cleared. A fill and a clear of one stripe exclude each other.
    generations: Vec<Mutex<u64>>,
    metrics: CacheMetrics,
}

/// The generation of the key's stripe when the read began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) struct MemoryFill(u64);

impl MemoryDescriptors {
    /// Remembers at most `capacity` descriptors.
    pub(in crate::storage) fn new(capacity: u64, metrics: CacheMetrics) -> Self {
        let generations = std::iter::repeat_with(Mutex::default).take(STRIPES).collect();
        Self { entries: Cache::new(capacity), generations, metrics }
    }

    /// The generation of a key's stripe; `None` cannot be, as there are stripes.
    fn generation(&self, key: &DescriptorKey) -> Option<MutexGuard<'_, u64>> {
        let stripe = stripe_of(key) % self.generations.len() as u64;
        self.generations.get(usize::try_from(stripe).ok()?).map(lock)
    }

    /// Forgets everything, and every right to fill.
    pub(in crate::storage) fn clear_all(&self) {
        for stripe in &self.generations {
            *lock(stripe) += 1;
        }
        self.entries.invalidate_all();
    }
}

#[async_trait]
impl BlobDescriptorService for MemoryDescriptors {
    type Fill = MemoryFill;

    async fn stat(&self, key: &DescriptorKey) -> Lookup<MemoryFill> {
        let fill = MemoryFill(self.generation(key).map(|generation| *generation).unwrap_or_default());
        let known = self.entries.get(key);
        self.metrics.looked_up(CacheLevel::Memory, known.is_some());
        known.map_or(Lookup::Unknown(fill), Lookup::Known)
    }

    async fn set(&self, key: &DescriptorKey, descriptor: &Descriptor, fill: MemoryFill) {
        let generation = self.generation(key);
        let stands = generation.as_deref() == Some(&fill.0);
        if stands {
            self.entries.insert(key.clone(), descriptor.clone());
        }
        self.metrics.filled(CacheLevel::Memory, stands);
    }

    async fn clear(&self, keys: &[DescriptorKey]) -> Result<(), NotCleared> {
        for key in keys {
            if let Some(mut generation) = self.generation(key) {
                *generation += 1;
                self.entries.invalidate(key);
            }
        }
        self.metrics.cleared(CacheLevel::Memory, true);
        Ok(())
    }
}

/// The same in every process, so that a run can be repeated. Whoever chooses keys of one stripe gains nothing: a fill that
/// is spoilt is a read of the medium more.
fn stripe_of(key: &DescriptorKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

fn lock(stripe: &Mutex<u64>) -> MutexGuard<'_, u64> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use crate::storage::{
        blobs::linked_store::blob_descriptor,
        cache::blob_descriptor::tests::{assert_unknown, fill_of, known, layer_key, manifest_key},
        fixtures::sha256,
    };

    use super::*;

    fn memory() -> MemoryDescriptors {
        MemoryDescriptors::new(10, CacheMetrics::default())
    }

    #[tokio::test]
    async fn what_was_set_is_known_until_it_is_cleared() {
        let memory = memory();
        let (layer, manifest) = (layer_key("a", b"x"), manifest_key("a", b"x"));
        let descriptor = blob_descriptor(sha256(b"x"), 1);
        memory.set(&layer, &descriptor, fill_of(&memory, &layer).await).await;
        assert_eq!(known(&memory, &layer).await, Some(descriptor));
        assert_unknown(&memory, &manifest, "a manifest is not the blob of its bytes").await;
        memory.clear(std::slice::from_ref(&layer)).await.unwrap();
        assert_unknown(&memory, &layer, "it was cleared").await;
    }

    #[tokio::test]
    async fn a_clear_spoils_the_same_fills_in_every_process() {
        let digests = (0..2_000_u32).map(|n| layer_key("a", &n.to_be_bytes()));
        let keys: Vec<_> = digests.collect();
        let mut spoilt = Vec::new();
        for _ in 0..2 {
            let memory = memory();
            memory.clear(&keys[..1]).await.unwrap();
            let mut fills = Vec::new();
            for key in &keys {
                fills.push(fill_of(&memory, key).await != MemoryFill(0));
            }
            spoilt.push(fills);
        }
        assert_eq!(spoilt[0], spoilt[1]);
        assert!((2..40).contains(&spoilt[0].iter().filter(|is_spoilt| **is_spoilt).count()));
    }

    #[tokio::test]
    async fn a_fill_that_began_before_a_clear_does_not_land_after_it() {
        let memory = memory();
        let key = layer_key("a", b"x");
        let descriptor = blob_descriptor(sha256(b"x"), 1);
        let fill = fill_of(&memory, &key).await;
        memory.clear(std::slice::from_ref(&key)).await.unwrap();
        memory.set(&key, &descriptor, fill).await;
        assert_unknown(&memory, &key, "its right was taken back").await;
        memory.set(&key, &descriptor, fill_of(&memory, &key).await).await;
        assert!(known(&memory, &key).await.is_some(), "the next one lands");
    }

    #[tokio::test]
    async fn forgetting_everything_takes_back_every_right_to_fill() {
        let memory = memory();
        let (remembered, being_read) = (layer_key("a", b"x"), layer_key("a", b"y"));
        let descriptor = blob_descriptor(sha256(b"x"), 1);
        memory.set(&remembered, &descriptor, fill_of(&memory, &remembered).await).await;
        let fill = fill_of(&memory, &being_read).await;
        memory.clear_all();
        memory.set(&being_read, &descriptor, fill).await;
        for key in [remembered, being_read] {
            assert_unknown(&memory, &key, "all was forgotten").await;
        }
    }
}
