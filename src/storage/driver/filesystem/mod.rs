//! Files in a folder of this machine.
//!
//! # Durability
//! A durable write syncs the file, moves it to its place, and then syncs the folder, and the parent of each folder that
//! is not known to be durable. A sync that fails is not retried: from then on every write is refused.
//!
//! A file that another request is still making durable is found ([`get`](StorageDriver::get),
//! [`stat`](StorageDriver::stat)) only when it is.
//!
//! # Assumptions
//! - Only this process writes: it holds the lock.
//! - A rename replaces a file atomically, and after a power cut either name is whole. What was put
//!   [`Durability::Visible`] may be empty then, on file systems that write names before content.
//! - `fsync` of a folder makes the names in it durable.

mod barriers;
mod boot;
mod health;
mod lock;
mod look;
mod read;
mod remove;
mod root;
mod unsynced_folders;
mod volume;
mod write;

use std::{io, ops::Range, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::{
    ByteStream, Durability, Entry, Error, Look, Metadata, Purge, Seen, StagedFile, Staging, StorageDriver, StoragePath,
    appended_file::{self, AppendedFile, Appending},
};

pub use lock::UnlockedDirectory;
use volume::Volume;

/// A store in a folder of this machine, whose lock this process holds, until the last clone and the last staged file
/// is dropped.
#[derive(Debug, Clone)]
pub struct FilesystemDriver {
    volume: Arc<Volume>,
    was_clean: bool,
    ages_lost_at: Option<Timestamp>,
}

impl FilesystemDriver {
    /// Prepares a folder, creating it where it is absent, without taking its lock.
    ///
    /// # Errors
    /// Where the folder cannot be created or opened.
    pub async fn prepare(root: &Path) -> io::Result<UnlockedDirectory> {
        UnlockedDirectory::prepare(root).await
    }

    /// Prepares a folder and waits for its lock.
    ///
    /// # Errors
    /// As [`Self::prepare`] and [`UnlockedDirectory::lock`].
    pub async fn open(root: &Path) -> io::Result<Self> {
        Self::prepare(root).await?.lock().await
    }

    /// Whether a sync failed, so that nothing is written any more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.volume.health.is_poisoned()
    }

    /// Ends all writing in order: waits for what is in progress, and refuses what comes later. The lock goes with the
    /// driver itself.
    ///
    /// # Errors
    /// Where the marker of a clean stop cannot be written; the next start then takes its time to sync everything.
    pub async fn close(&self) -> io::Result<()> {
        let volume = Arc::clone(&self.volume);
        lock::blocking(move || volume.close()).await
    }

    /// Runs a whole operation on a thread that may block. It runs to its end even if the caller goes away.
    async fn hop<T: Send + 'static>(
        &self,
        path: &StoragePath,
        operation: impl FnOnce(&Volume, &StoragePath) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (volume, at) = (Arc::clone(&self.volume), path.clone());
        let done = spawn_blocking(move || operation(&volume, &at)).await;
        done.map_err(|error| Error::Io {
            action: "finish work on",
            path: path.clone(),
            source: io::Error::other(error),
        })?
    }
}

#[async_trait]
impl StorageDriver for FilesystemDriver {
    async fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
        let content = self.hop(path, Volume::get).await?;
        self.volume.barriers.closed(path).await;
        Ok(content)
    }

    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, Error> {
        Ok(self.hop(path, move |volume, at| volume.read(at, range)).await?.into_stream())
    }

    async fn stat(&self, path: &StoragePath) -> Result<Metadata, Error> {
        let metadata = self.hop(path, Volume::stat).await?;
        self.volume.barriers.closed(path).await;
        Ok(metadata)
    }

    async fn list(&self, directory: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
        let after = after.map(str::to_owned);
        self.hop(directory, move |volume, at| volume.list(at, after.as_deref(), limit)).await
    }

    async fn look(&self, looks: &[Look]) -> Result<Vec<Seen>, Error> {
        let Some(first) = looks.first() else { return Ok(Vec::new()) };
        let all = looks.to_vec();
        let seen = self.hop(first.path(), move |volume, _| volume.look(&all)).await?;
        let found = looks.iter().zip(&seen).filter(|(_, seen)| **seen != Seen::Absent);
        let open = self.volume.barriers.open_of(found.map(|(look, _)| look.path()));
        for mut closed in open {
            // An error is the sender's end, which is what is waited for.
            let _ = closed.changed().await;
        }
        Ok(seen)
    }

    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), Error> {
        self.hop(path, move |volume, at| volume.put(at, &content, durability)).await
    }

    async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, Error> {
        Ok(Box::new(AppendedFile::stage(self.clone(), at, started_at).await?))
    }

    async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, Error> {
        Ok(Box::new(AppendedFile::resume(self.clone(), at).await?))
    }

    async fn last_use(&self, at: &Staging) -> Result<Timestamp, Error> {
        self.hop(&at.folder, Volume::last_change).await
    }

    async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<Purge, Error> {
        appended_file::purge(self, at, unused_since).await
    }

    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error> {
        self.hop(path, move |volume, at| volume.touch(at, modified)).await
    }

    async fn delete(&self, path: &StoragePath) -> Result<(), Error> {
        self.hop(path, Volume::delete).await
    }

    async fn delete_directory(&self, path: &StoragePath) -> Result<(), Error> {
        self.hop(path, Volume::delete_directory).await
    }

    async fn signed_url(&self, _path: &StoragePath, _expires: Duration) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn was_interrupted(&self) -> bool {
        !self.was_clean
    }

    fn ages_lost_at(&self) -> Option<Timestamp> {
        self.ages_lost_at
    }

    fn fenced(self: Arc<Self>) -> Arc<dyn StorageDriver> {
        self
    }
}

#[async_trait]
impl Appending for FilesystemDriver {
    async fn append(&self, path: &StoragePath, offset: u64, chunk: Bytes) -> Result<(), Error> {
        self.hop(path, move |volume, at| volume.append(at, offset, &chunk)).await
    }

    async fn sync(&self, path: &StoragePath) -> Result<(), Error> {
        self.hop(path, Volume::sync).await
    }

    async fn rename(&self, from: &StoragePath, target: &StoragePath) -> Result<(), Error> {
        let target = target.clone();
        self.hop(from, move |volume, from| volume.publish(from, &target)).await
    }
}

#[cfg(test)]
mod tests;
