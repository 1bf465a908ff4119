//! What is known of a repository's content: its size, its type, and under which digest it is stored.
//!
//! The links are the truth, and two caches stand before them: [`MemoryDescriptors`], and behind it, where it is
//! configured, [`RedisDescriptors`], which replicas share and a restart finds warm. [`Descriptors`] puts them together.
//! Three rules:
//!
//! 1. A promise is never made from a cache: who promises asks the links.
//! 2. Invalidation follows the change: unlink, *then* clear. A miss hands out the right to fill, a [`Fill`], before the
//!    links are read; a clear takes it back, so that what was read before the clear does not land after it.
//! 3. It reaches every replica before a delete is answered, and a replica without a valid lease asks no cache.
//!
//! Only what exists is remembered, so a push needs no invalidation to be seen.
//!
//! [`Fill`]: BlobDescriptorService::Fill

mod descriptors;
mod memory;
mod redis;
#[cfg(test)]
mod tests;

use std::fmt;

use async_trait::async_trait;

use crate::oci::{Descriptor, Digest, RepositoryName};

use crate::storage::blobs::linked_store::LinkScope;

pub(in crate::storage) use descriptors::Descriptors;
pub(in crate::storage) use memory::MemoryDescriptors;
pub(in crate::storage) use redis::RedisDescriptors;
pub use redis::{RedisOptions, RedisTarget, RedisTargetError, RedisTimeouts, RedisTls};

/// Whose descriptor: membership is a repository's, and a manifest's is not a blob's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::storage) struct DescriptorKey {
    pub(in crate::storage) repository: RepositoryName,
    pub(in crate::storage) scope: LinkScope,
    pub(in crate::storage) digest: Digest,
}

impl DescriptorKey {
    /// Both keys of a digest in a repository.
    pub(in crate::storage) fn both(repository: &RepositoryName, digest: &Digest) -> [Self; 2] {
        [LinkScope::Layers, LinkScope::Manifests].map(|scope| Self {
            repository: repository.clone(),
            scope,
            digest: digest.clone(),
        })
    }
}

/// What a cache answers.
#[derive(Debug)]
pub(in crate::storage) enum Lookup<F> {
    /// It remembers this.
    Known(Descriptor),
    /// It does not know, and takes what the links say for this right.
    Unknown(F),
}

/// The cache did not say that it forgot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) struct NotCleared;

/// A memory of descriptors of content that is a member of a repository. The digest in them is the one under which the
/// content is stored, which is the link's target.
///
/// Distribution's interface of this name has `Stat`, `SetDescriptor` and `Clear`; that a miss gives the right to fill is
/// what it lacks. A cache that fails knows nothing, and takes nothing.
#[async_trait]
pub(in crate::storage) trait BlobDescriptorService: Send + Sync + fmt::Debug {
    /// The right to remember what the links say, given before they are read, and void after a clear.
    type Fill: Send;

    /// What is remembered.
    async fn stat(&self, key: &DescriptorKey) -> Lookup<Self::Fill>;

    /// Remembers a descriptor, unless it was cleared since the right was given.
    async fn set(&self, key: &DescriptorKey, descriptor: &Descriptor, fill: Self::Fill);

    /// Forgets descriptors, to be called after the links are gone; and with them every right to fill.
    ///
    /// # Errors
    /// [`NotCleared`]: it may remember them still.
    async fn clear(&self, keys: &[DescriptorKey]) -> Result<(), NotCleared>;
}
