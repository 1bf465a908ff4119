//! Both caches, one behind the other.

use async_trait::async_trait;

use crate::oci::Descriptor;

use crate::storage::metrics::CacheMetrics;

use super::{
    BlobDescriptorService, DescriptorKey, Lookup, MemoryDescriptors, NotCleared, RedisDescriptors, RedisTarget,
    memory::MemoryFill, redis::RedisFill,
};

/// Memory, and behind it the Redis that replicas share, where there is one.
#[derive(Debug)]
pub(in crate::storage) struct Descriptors {
    pub(in crate::storage) memory: MemoryDescriptors,
    pub(in crate::storage) redis: Option<RedisDescriptors>,
}

impl Descriptors {
    /// Memory for so many descriptors, and a Redis if there is one; nothing is known of its epoch yet.
    pub(in crate::storage) fn new(capacity: u64, redis: Option<RedisTarget>, metrics: &CacheMetrics) -> Self {
        Self {
            memory: MemoryDescriptors::new(capacity, metrics.clone()),
            redis: redis.map(|target| RedisDescriptors::new(target, metrics.clone())),
        }
    }
}

/// The right to fill both; none for a Redis that did not answer.
#[derive(Debug)]
pub(in crate::storage) struct DescriptorsFill {
    memory: MemoryFill,
    redis: Option<RedisFill>,
}

#[async_trait]
impl BlobDescriptorService for Descriptors {
    type Fill = DescriptorsFill;

    async fn stat(&self, key: &DescriptorKey) -> Lookup<DescriptorsFill> {
        let memory = match self.memory.stat(key).await {
            Lookup::Known(descriptor) => return Lookup::Known(descriptor),
            Lookup::Unknown(fill) => fill,
        };
        let Some(redis) = &self.redis else { return Lookup::Unknown(DescriptorsFill { memory, redis: None }) };
        match redis.stat(key).await {
            Lookup::Known(descriptor) => {
                // With the right from before Redis was asked: a clear may have been since.
                self.memory.set(key, &descriptor, memory).await;
                Lookup::Known(descriptor)
            }
            Lookup::Unknown(redis) => Lookup::Unknown(DescriptorsFill { memory, redis }),
        }
    }

    async fn set(&self, key: &DescriptorKey, descriptor: &Descriptor, fill: DescriptorsFill) {
        self.memory.set(key, descriptor, fill.memory).await;
        if let Some(redis) = &self.redis {
            redis.set(key, descriptor, fill.redis).await;
        }
    }

    async fn clear(&self, keys: &[DescriptorKey]) -> Result<(), NotCleared> {
        // Redis first: what was found there is remembered here, and must not be once this is over. For the same reason
        // memory waits where Redis failed: what it forgot now it would be taught again.
        if let Some(redis) = &self.redis {
            redis.clear(keys).await?;
        }
        self.memory.clear(keys).await
    }
}
