//! Files in a folder.

use std::{io, ops::Range, path::Path};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::{ByteStream, Durability, Entry, Error, Metadata, StorageDriver, StoragePath};

/// A store in a folder of this machine.
#[derive(Debug)]
pub struct FilesystemDriver {}

/// A folder whose lock is not held yet.
#[derive(Debug)]
pub struct UnlockedDirectory {}

impl FilesystemDriver {
    /// Prepares a folder, creating it where it is absent, without taking its lock.
    ///
    /// # Errors
    /// Where the folder cannot be created or opened.
    pub async fn prepare(root: &Path) -> io::Result<UnlockedDirectory> {
        todo!("{root:?}")
    }

    /// Prepares a folder and waits for its lock.
    ///
    /// # Errors
    /// As [`Self::prepare`] and [`UnlockedDirectory::lock`].
    pub async fn open(root: &Path) -> io::Result<Self> {
        Self::prepare(root).await?.lock().await
    }
}

impl UnlockedDirectory {
    /// Takes the lock if nobody else holds it; gives the folder back otherwise.
    ///
    /// # Errors
    /// Where the lock cannot be asked for, or what an earlier process left cannot be cleaned up.
    pub async fn try_lock(self) -> io::Result<Result<FilesystemDriver, Self>> {
        todo!()
    }

    /// Waits for the lock, for as long as another process holds it.
    ///
    /// # Errors
    /// As [`Self::try_lock`].
    pub async fn lock(self) -> io::Result<FilesystemDriver> {
        todo!()
    }
}

#[async_trait]
impl StorageDriver for FilesystemDriver {
    async fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
        todo!("{path}")
    }

    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, Error> {
        todo!("{path} {range:?}")
    }

    async fn stat(&self, path: &StoragePath) -> Result<Metadata, Error> {
        todo!("{path}")
    }

    async fn list(&self, directory: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
        todo!("{directory} {after:?} {limit}")
    }

    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), Error> {
        todo!("{path} {} {durability:?}", content.len())
    }

    async fn append(&self, path: &StoragePath, offset: u64, chunk: Bytes) -> Result<(), Error> {
        todo!("{path} {offset} {}", chunk.len())
    }

    async fn sync(&self, path: &StoragePath) -> Result<(), Error> {
        todo!("{path}")
    }

    async fn publish(&self, staged: &StoragePath, target: &StoragePath) -> Result<(), Error> {
        todo!("{staged} {target}")
    }

    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error> {
        todo!("{path} {modified}")
    }

    async fn delete(&self, path: &StoragePath) -> Result<(), Error> {
        todo!("{path}")
    }

    async fn delete_directory(&self, path: &StoragePath) -> Result<(), Error> {
        todo!("{path}")
    }
}
