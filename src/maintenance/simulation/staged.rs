//! A staged file: what was left for another request lies in the store, the rest in its process.

use std::ops::Range;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream;

use crate::storage::driver::{
    ByteStream, Durability, Error, KeptState, Sealed, StagedFile, Staging, StorageDriver as _, StoragePath,
};

use super::remote::Remote;

/// A file on its way in.
#[derive(Debug)]
pub(super) struct Staged {
    remote: Remote,
    at: Staging,
    content: BytesMut,
}

impl Staged {
    pub(super) async fn begin(remote: Remote, at: &Staging, started_at: Bytes) -> Result<Self, Error> {
        remote.put(&at.started_at, started_at, Durability::Visible).await?;
        Ok(Self { remote, at: at.clone(), content: BytesMut::new() })
    }

    pub(super) async fn resume(remote: Remote, at: &Staging) -> Result<Self, Error> {
        remote.stat(&at.started_at).await?;
        let content = match remote.get(&at.data).await {
            Ok(content) => content.into(),
            Err(Error::NotFound { .. }) => BytesMut::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { remote, at: at.clone(), content })
    }
}

#[async_trait]
impl StagedFile for Staged {
    fn length(&self) -> u64 {
        self.content.len() as u64
    }

    async fn kept_state(&self) -> Option<KeptState> {
        None
    }

    async fn append(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.content.extend_from_slice(&chunk);
        Ok(())
    }

    async fn suspend(&mut self, _: Option<Bytes>) -> Result<(), Error> {
        self.remote.put(&self.at.data, self.content.clone().freeze(), Durability::Durable).await
    }

    async fn seal(&mut self) -> Result<Sealed, Error> {
        Ok(Sealed::AsAppended)
    }

    async fn read(&self, range: Range<u64>) -> Result<ByteStream, Error> {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let content = self.content.clone().freeze().slice(range);
        Ok(Box::pin(stream::iter([Ok(content)])))
    }

    async fn publish(&mut self, target: &StoragePath) -> Result<(), Error> {
        self.remote.put(target, self.content.clone().freeze(), Durability::Durable).await
    }

    async fn discard(&mut self) -> Result<(), Error> {
        self.remote.delete_directory(&self.at.folder).await
    }
}
