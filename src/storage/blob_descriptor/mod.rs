//! What is known of a repository's content: its size, its type, and under which digest it is stored.
//!
//! [`LinkedDescriptors`] reads the links, [`MemoryDescriptors`] remembers, and [`CachedDescriptors`] puts the second in
//! front of the first. Three rules (DESIGN.md, *Descriptor cache*):
//!
//! 1. A promise is never made from the cache: who promises asks [`LinkedDescriptors`].
//! 2. Invalidation follows the change: unlink, *then* clear. A [`Fill`] carries the generation from before its read, and
//!    lands only if that still stands.
//! 3. Only what exists is remembered, so a push needs no invalidation to be seen.

mod cached;
mod linked;
mod memory;

use std::fmt;

use async_trait::async_trait;

use crate::oci::{Descriptor, Digest, RepositoryName};

use super::{Error, linked_blob_store::LinkScope};

pub(super) use cached::CachedDescriptors;
pub(super) use linked::LinkedDescriptors;
pub(super) use memory::MemoryDescriptors;

/// Whose descriptor: membership is a repository's, and a manifest's is not a blob's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DescriptorKey {
    pub(super) repository: RepositoryName,
    pub(super) scope: LinkScope,
    pub(super) digest: Digest,
}

/// The moment at which the read behind a fill began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fill(u64);

/// Descriptors of content that is a member of a repository. The digest in them is the one under which the content is
/// stored, which is the link's target.
///
/// Distribution's interface of this name has `Stat`, `SetDescriptor` and `Clear`; a fill's beginning is what it lacks.
#[async_trait]
pub(super) trait BlobDescriptorService: Send + Sync + fmt::Debug {
    /// What is known; `None`: nothing, which for a cache does not mean that nothing is there.
    async fn stat(&self, key: &DescriptorKey) -> Result<Option<Descriptor>, Error>;

    /// To be called before the read whose result [`Self::set`] will remember.
    fn begin(&self, key: &DescriptorKey) -> Fill;

    /// Remembers a descriptor, unless it was cleared since the fill began.
    async fn set(&self, key: &DescriptorKey, descriptor: Descriptor, fill: Fill);

    /// Forgets a descriptor, to be called after the link is gone; and with it every fill that has begun.
    async fn clear(&self, key: &DescriptorKey);
}
