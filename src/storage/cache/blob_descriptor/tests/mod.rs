//! The three rules, each with the race that it closes, on memory and on a real Redis.

mod faults;
mod redis;
mod redis_server;
mod replicas;
mod tls;

use crate::oci::Descriptor;

use crate::storage::{
    blobs::linked_store::LinkScope,
    fixtures::{name, sha256},
};

use super::{BlobDescriptorService, DescriptorKey, Lookup};

pub(super) fn layer_key(repository: &str, content: &[u8]) -> DescriptorKey {
    DescriptorKey { repository: name(repository), scope: LinkScope::Layers, digest: sha256(content) }
}

pub(super) fn manifest_key(repository: &str, content: &[u8]) -> DescriptorKey {
    DescriptorKey { scope: LinkScope::Manifests, ..layer_key(repository, content) }
}

/// What a cache remembers.
pub(super) async fn known<C: BlobDescriptorService>(cache: &C, key: &DescriptorKey) -> Option<Descriptor> {
    match cache.stat(key).await {
        Lookup::Known(descriptor) => Some(descriptor),
        Lookup::Unknown(_) => None,
    }
}

/// The right that a miss gives.
pub(super) async fn fill_of<C: BlobDescriptorService>(cache: &C, key: &DescriptorKey) -> C::Fill {
    match cache.stat(key).await {
        Lookup::Known(descriptor) => panic!("{descriptor:?} is remembered"),
        Lookup::Unknown(fill) => fill,
    }
}

pub(super) async fn assert_unknown<C: BlobDescriptorService>(cache: &C, key: &DescriptorKey, because: &str) {
    assert_eq!(known(cache, key).await, None, "{because}");
}
