//! Copies from one key to another.

use bytes::Bytes;
use futures::TryStreamExt as _;

use crate::storage::driver::{Error, StoragePath, object::fault::broken};

use super::{
    StagedObject,
    state::{Marker, in_folder, new_name},
};

impl StagedObject {
    /// Copies what was sealed: within the store up to the length that it copies, and otherwise through this process.
    pub(super) async fn transfer(&self, from: &StoragePath, to: &StoragePath) -> Result<(), Error> {
        let length = self.state.sent_bytes();
        if length <= self.shared.sizes.longest_copy {
            self.bucket().copy(from, to).await?;
        } else {
            self.stream_through(from, to, length).await?;
        }
        self.check_size(to, length).await
    }

    async fn stream_through(&self, from: &StoragePath, to: &StoragePath, length: u64) -> Result<(), Error> {
        let id = self.bucket().begin_parts(to).await?;
        let name = format!("copies/{}", new_name());
        let marker = Marker { path: to.to_string(), id: id.clone() };
        let path = in_folder(&self.at, &name)?;
        let marker = serde_json::to_vec(&marker).map_err(|error| broken("write", &path, error.to_string()))?;
        self.bucket().put(&path, marker).await?;
        let sent = self.send_ranges(from, to, &id, length).await?;
        self.bucket().join_parts(to, &id, &sent).await?;
        self.remove_quietly(&name).await;
        Ok(())
    }

    /// One part after the other, each with its share of the budget, which is held by nobody who waits.
    async fn send_ranges(
        &self,
        from: &StoragePath,
        to: &StoragePath,
        id: &String,
        length: u64,
    ) -> Result<Vec<String>, Error> {
        let mut sent = Vec::new();
        let mut at = 0;
        while at < length {
            let size = self.shared.sizes.part(sent.len());
            let size = size.ok_or_else(|| broken("copy", from, "it has as many parts as there can be"))?;
            let end = length.min(at + size as u64);
            let _reservation = self.shared.budget.wait(size).await;
            let chunks: Vec<Bytes> = self.bucket().read(from, at..end).await?.try_collect().await?;
            let part = self.bucket().put_part(to, id, sent.len(), chunks.into_iter().collect()).await?;
            sent.push(part);
            at = end;
        }
        Ok(sent)
    }
}
