//! Objects in a bucket of S3, Google Cloud Storage or Azure.
//!
//! # Durability
//! A store answers a write when it is durable, and everybody sees it then (docs/protocol.md, assumption A1; the
//! start-up tests it through the configured address). So both kinds of [`Durability`] are the same here, and a folder
//! is nothing but the beginning of keys.
//!
//! # Attempts
//! The ordinary client makes a request again that was refused for a while or got no answer: each of them comes to the
//! same when it is made twice. The [fenced](StorageDriver::fenced) client does not, and gives up after ten seconds.

mod bucket;
mod budget;
mod client;
mod connect;
mod dial;
mod fault;
mod listing;
mod options;
mod part_copies;
mod sizes;
#[cfg(test)]
mod tests;
mod upload;

use std::{io, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{
    ByteStream, Durability, Entry, Error, Look, Metadata, Purge, Seen, StagedFile, Staging, StorageDriver, StoragePath,
    look::{look_once, or_absent},
};

use bucket::Bucket;
use budget::Budget;
use connect::{Purpose, connect};
use fault::fault;
pub use options::{
    AzureCredentials, AzureOptions, GcsCredentials, GcsOptions, ObjectStoreOptions, Provider, S3Addressing, S3Checksum,
    S3Credentials, S3Encryption, S3Options, Secret,
};
use sizes::Sizes;
use upload::StagedObject;
#[cfg(any(test, fuzzing))]
pub(in crate::storage) use upload::fuzz_state as fuzz_upload_state;

/// How many looks of one call are asked for at the same time. What a store answers in some 20 ms is 400 a second then, and
/// callers make a few such calls at once.
const LOOKS_AT_ONCE: usize = 8;

/// A store in a bucket.
#[derive(Debug, Clone)]
pub struct ObjectDriver {
    shared: Arc<Shared>,
    /// For removals.
    fenced: Bucket,
}

/// What a driver and its uploads have in common.
#[derive(Debug)]
struct Shared {
    bucket: Bucket,
    budget: Budget,
    sizes: Sizes,
}

impl ObjectDriver {
    /// Prepares clients for a bucket. Nothing is asked yet: a bucket that is not there, or may not be used, is found by
    /// the first call.
    ///
    /// # Errors
    /// Where an option makes no sense, or the environment has none of the credentials that were expected.
    pub fn open(options: &ObjectStoreOptions) -> io::Result<Self> {
        let bucket = connect(options, Purpose::Everything).map_err(io::Error::other)?;
        let fenced = connect(options, Purpose::Fenced).map_err(io::Error::other)?;
        let budget = Budget::new(options.buffer_bytes.max(ObjectStoreOptions::LEAST_BUFFER_BYTES));
        Ok(Self { shared: Arc::new(Shared { bucket, budget, sizes: Sizes::REAL }), fenced })
    }

    fn bucket(&self) -> &Bucket {
        &self.shared.bucket
    }

    async fn look_once(&self, look: &Look) -> Result<Seen, Error> {
        match look {
            Look::Content { path, max_size } => or_absent(self.bucket().get_up_to(path, *max_size).await),
            Look::Metadata(_) | Look::FirstName(_) => look_once(self, look).await,
        }
    }
}

#[async_trait]
impl StorageDriver for ObjectDriver {
    async fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
        self.bucket().get(path).await
    }

    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, Error> {
        self.bucket().read(path, range).await
    }

    async fn stat(&self, path: &StoragePath) -> Result<Metadata, Error> {
        self.bucket().head(path).await
    }

    async fn list(&self, directory: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
        self.bucket().list(directory, after, limit).await
    }

    async fn look(&self, looks: &[Look]) -> Result<Vec<Seen>, Error> {
        // Collected first, because a future that holds the iterator's closure is not known to be `Send`.
        let all: Vec<_> = looks.iter().map(|look| self.look_once(look)).collect();
        stream::iter(all).buffered(LOOKS_AT_ONCE).try_collect().await
    }

    async fn put(&self, path: &StoragePath, content: Bytes, _durability: Durability) -> Result<(), Error> {
        self.bucket().put(path, content).await
    }

    async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, Error> {
        Ok(Box::new(StagedObject::stage(Arc::clone(&self.shared), at, started_at).await?))
    }

    async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, Error> {
        Ok(Box::new(StagedObject::resume(Arc::clone(&self.shared), at).await?))
    }

    async fn last_use(&self, at: &Staging) -> Result<Timestamp, Error> {
        StagedObject::last_use(&self.shared, at).await
    }

    async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<Purge, Error> {
        StagedObject::purge(&self.shared, at, unused_since).await
    }

    /// Writes the object anew: its age is then the store's own time, whatever `modified` says.
    async fn touch(&self, path: &StoragePath, _modified: Timestamp) -> Result<(), Error> {
        let content = self.bucket().get(path).await?;
        self.bucket().put(path, content).await
    }

    async fn delete(&self, path: &StoragePath) -> Result<(), Error> {
        if self.bucket().forgets_absence {
            self.bucket().head(path).await?;
        }
        self.bucket().delete(path).await
    }

    async fn delete_directory(&self, path: &StoragePath) -> Result<(), Error> {
        let mut paths = Vec::new();
        for name in self.bucket().tree(path).await? {
            let at = format!("{path}/{name}").parse();
            paths.push(at.map_err(|_| fault::broken("delete", path, format!("{name:?} is no name")))?);
        }
        self.shared.remove_all(paths).await
    }

    async fn signed_url(&self, path: &StoragePath, expires: Duration) -> Result<Option<String>, Error> {
        let Some(signer) = &self.bucket().signer else { return Ok(None) };
        let key = self.bucket().key(path)?;
        let signed = signer.signed_url(http::Method::GET, &key, expires).await;
        signed.map(|url| Some(url.to_string())).map_err(|error| fault("sign an address of", path, error))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn fenced(self: Arc<Self>) -> Arc<dyn StorageDriver> {
        let Shared { budget, sizes, .. } = &*self.shared;
        let shared = Shared { bucket: self.fenced.clone(), budget: budget.clone(), sizes: *sizes };
        Arc::new(Self { shared: Arc::new(shared), fenced: self.fenced.clone() })
    }
}
