//! A cache in front of what it caches.

use async_trait::async_trait;

use crate::oci::Descriptor;

use crate::storage::Error;

use super::{BlobDescriptorService, DescriptorKey, Fill};

/// Answers from `cache`; asks `source` for what that does not know, and remembers it.
#[derive(Debug)]
pub(in crate::storage) struct CachedDescriptors<C, S> {
    pub(in crate::storage) cache: C,
    pub(in crate::storage) source: S,
}

#[async_trait]
impl<C: BlobDescriptorService, S: BlobDescriptorService> BlobDescriptorService for CachedDescriptors<C, S> {
    async fn stat(&self, key: &DescriptorKey) -> Result<Option<Descriptor>, Error> {
        if let Some(known) = self.cache.stat(key).await? {
            return Ok(Some(known));
        }
        let fill = self.cache.begin(key);
        let found = self.source.stat(key).await?;
        if let Some(descriptor) = &found {
            self.cache.set(key, descriptor.clone(), fill).await;
        }
        Ok(found)
    }

    fn begin(&self, key: &DescriptorKey) -> Fill {
        self.cache.begin(key)
    }

    async fn set(&self, key: &DescriptorKey, descriptor: Descriptor, fill: Fill) {
        self.source.set(key, descriptor.clone(), fill).await;
        self.cache.set(key, descriptor, fill).await;
    }

    async fn clear(&self, key: &DescriptorKey) {
        self.source.clear(key).await;
        self.cache.clear(key).await;
    }
}

#[async_trait]
impl<T: BlobDescriptorService + ?Sized> BlobDescriptorService for &T {
    async fn stat(&self, key: &DescriptorKey) -> Result<Option<Descriptor>, Error> {
        (**self).stat(key).await
    }

    fn begin(&self, key: &DescriptorKey) -> Fill {
        (**self).begin(key)
    }

    async fn set(&self, key: &DescriptorKey, descriptor: Descriptor, fill: Fill) {
        (**self).set(key, descriptor, fill).await;
    }

    async fn clear(&self, key: &DescriptorKey) {
        (**self).clear(key).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{Mutex, oneshot};

    use crate::storage::{
        blob_descriptor::MemoryDescriptors,
        fixtures::{name, sha256},
        linked_blob_store::{LinkScope, blob_descriptor},
    };

    use super::*;

    /// A source whose read lasts until the test lets it end, and which then answers what it saw at its beginning.
    #[derive(Debug)]
    struct SlowSource {
        began: Mutex<Option<oneshot::Sender<()>>>,
        ends: Mutex<Option<oneshot::Receiver<()>>>,
    }

    #[async_trait]
    impl BlobDescriptorService for SlowSource {
        async fn stat(&self, key: &DescriptorKey) -> Result<Option<Descriptor>, Error> {
            let seen = blob_descriptor(key.digest.clone(), 1);
            if let Some(began) = self.began.lock().await.take() {
                began.send(()).unwrap();
            }
            if let Some(ends) = self.ends.lock().await.take() {
                ends.await.unwrap();
            }
            Ok(Some(seen))
        }

        fn begin(&self, _key: &DescriptorKey) -> Fill {
            Fill(0)
        }

        async fn set(&self, _key: &DescriptorKey, _descriptor: Descriptor, _fill: Fill) {}

        async fn clear(&self, _key: &DescriptorKey) {}
    }

    #[tokio::test]
    async fn a_read_that_a_clear_overtook_is_not_remembered() {
        let key = DescriptorKey { repository: name("a"), scope: LinkScope::Layers, digest: sha256(b"x") };
        let ((began, has_begun), (end, ends)) = (oneshot::channel(), oneshot::channel());
        let source = SlowSource { began: Mutex::new(Some(began)), ends: Mutex::new(Some(ends)) };
        let cache = MemoryDescriptors::new(10);
        let cached = CachedDescriptors { cache: &cache, source };
        let delete = async {
            has_begun.await.unwrap();
            cached.clear(&key).await;
            end.send(()).unwrap();
        };
        let (read, ()) = futures::future::join(cached.stat(&key), delete).await;
        assert!(read.unwrap().is_some(), "it was there when the read began");
        assert_eq!(cache.stat(&key).await.unwrap(), None);
    }
}
