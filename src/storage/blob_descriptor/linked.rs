//! Descriptors as the links tell them.

use async_trait::async_trait;

use crate::oci::Descriptor;

use crate::storage::{
    Error,
    layout::PathSpec,
    linked_blob_store::{LinkScope, blob_descriptor},
    store::Store,
};

use super::{BlobDescriptorService, DescriptorKey, Fill};

/// The links and bytes on the medium. Content whose link stands and whose bytes are not there is not there.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage) struct LinkedDescriptors<'a>(pub(in crate::storage) &'a Store);

#[async_trait]
impl BlobDescriptorService for LinkedDescriptors<'_> {
    async fn stat(&self, key: &DescriptorKey) -> Result<Option<Descriptor>, Error> {
        let (store, name, digest) = (self.0, &key.repository, &key.digest);
        match key.scope {
            LinkScope::Manifests => store.read_revision(name, digest).await,
            LinkScope::Layers => {
                let Some(target) = store.link(PathSpec::LayerLink(name, digest), digest).await? else {
                    return Ok(None);
                };
                Ok(store.stored_size(&target).await?.map(|size| blob_descriptor(target, size)))
            }
        }
    }

    fn begin(&self, _key: &DescriptorKey) -> Fill {
        Fill(0)
    }

    /// The links say it already.
    async fn set(&self, _key: &DescriptorKey, _descriptor: Descriptor, _fill: Fill) {}

    /// The link is gone already.
    async fn clear(&self, _key: &DescriptorKey) {}
}
