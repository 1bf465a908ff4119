//! Staged files of drivers that can append to a file.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tracing::warn;

use super::{
    ByteStream, Durability, Error, KeptState, PathComponent, Purge, Sealed, StagedFile, Staging, StorageDriver,
    StoragePath,
};

/// What such a driver can.
#[async_trait]
pub(super) trait Appending: StorageDriver + Clone {
    /// Writes `chunk` at `offset` of a file; the file is cut there first, so that what a broken request left behind
    /// `offset` is gone. The file appears with the first call, at offset 0. Not durable before [`sync`](Self::sync).
    async fn append(&self, path: &StoragePath, offset: u64, chunk: Bytes) -> Result<(), Error>;

    /// Makes a file's content durable.
    async fn sync(&self, path: &StoragePath) -> Result<(), Error>;

    /// Moves a synced file to its final path, durably, in place of what was there.
    async fn rename(&self, from: &StoragePath, target: &StoragePath) -> Result<(), Error>;
}

/// As [`StorageDriver::purge`]. No other process has the store, so whoever could go on with it is in this one.
pub(super) async fn purge(driver: &impl StorageDriver, at: &Staging, unused_since: Timestamp) -> Result<Purge, Error> {
    match driver.last_use(at).await {
        Ok(last_use) if last_use > unused_since => Ok(Purge::InUse),
        Ok(_) => driver.delete_directory(&at.folder).await.map(|()| Purge::Removed),
        Err(Error::NotFound { .. }) => Ok(Purge::Absent),
        Err(error) => Err(error),
    }
}

/// A staged file that is one file, as distribution has it: [`resume`](StorageDriver::resume) finds all that was
/// appended, durable or not.
#[derive(Debug)]
pub(super) struct AppendedFile<D> {
    driver: D,
    at: Staging,
    length: u64,
}

impl<D: Appending> AppendedFile<D> {
    pub(super) async fn stage(driver: D, at: &Staging, started_at: Bytes) -> Result<Self, Error> {
        let (started, created) = futures::future::join(
            driver.put(&at.started_at, started_at, Durability::Visible),
            driver.append(&at.data, 0, Bytes::new()),
        )
        .await;
        if let Err(error) = started.and(created) {
            // On a full medium even half of it is in the way.
            if let Err(error) = driver.delete_directory(&at.folder).await {
                warn!(path = %at.folder, error = &error as &dyn std::error::Error, "could not remove what an upload left");
            }
            return Err(error);
        }
        Ok(Self { driver, at: at.clone(), length: 0 })
    }

    pub(super) async fn resume(driver: D, at: &Staging) -> Result<Self, Error> {
        let length = driver.stat(&at.data).await?.size;
        Ok(Self { driver, at: at.clone(), length })
    }

    fn state_path(&self, offset: u64) -> Option<StoragePath> {
        Some(self.at.states.child(&offset.to_string().parse::<PathComponent>().ok()?))
    }
}

#[async_trait]
impl<D: Appending> StagedFile for AppendedFile<D> {
    fn length(&self) -> u64 {
        self.length
    }

    async fn kept_state(&self) -> Option<KeptState> {
        let entries = self.driver.list(&self.at.states, None, usize::MAX).await.ok()?;
        let offsets = entries.iter().filter_map(|entry| entry.name.parse::<u64>().ok());
        let offset = offsets.filter(|offset| *offset <= self.length).max()?;
        let state = self.driver.get(&self.state_path(offset)?).await.ok()?;
        Some(KeptState { offset, state })
    }

    async fn append(&mut self, chunk: Bytes) -> Result<(), Error> {
        let added = chunk.len() as u64;
        self.driver.append(&self.at.data, self.length, chunk).await?;
        self.length += added;
        Ok(())
    }

    /// The bytes are made durable before the state is written: after a power cut a file may be as long as it was and
    /// hold other bytes, and a state would vouch for what is not there.
    async fn suspend(&mut self, state: Option<Bytes>) -> Result<(), Error> {
        let Some((state, path)) = state.zip(self.state_path(self.length)) else { return Ok(()) };
        self.driver.sync(&self.at.data).await?;
        self.driver.put(&path, state, Durability::Visible).await
    }

    async fn seal(&mut self) -> Result<Sealed, Error> {
        self.driver.sync(&self.at.data).await.map(|()| Sealed::AsAppended)
    }

    async fn read(&self, range: Range<u64>) -> Result<ByteStream, Error> {
        self.driver.read(&self.at.data, range).await
    }

    async fn publish(&mut self, target: &StoragePath) -> Result<(), Error> {
        self.driver.rename(&self.at.data, target).await
    }

    async fn discard(&mut self) -> Result<(), Error> {
        self.driver.delete_directory(&self.at.folder).await
    }
}
