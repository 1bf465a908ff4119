//! Files on their way into a bucket.
//!
//! What fits into one part stays in memory, and is written to its place at once. What is longer is sent in parts to a
//! name in the upload's folder, because its place is known only at the end; joined there, and copied. When a request
//! ends before, it leaves a state: an object that names the parts, and has the rest. Another request, on any replica,
//! goes on from there.
//!
//! # Two at once
//! Two requests may go on from the same state, and a store keeps of two parts with the same number the last one; not
//! every store notices at the end. So whoever sends or joins parts first writes down that it does (`attempts/`), then
//! looks whether the upload is sealed. Whoever joined them writes that down (a sealed state), then looks for attempts
//! that it does not descend from. One of the two sees the other (docs/protocol.md, assumption A1): then what was joined
//! is copied to a name that nobody else knows, and its hash is computed again from there ([`Sealed::MaybeMixed`]).
//!
//! In the same way somebody who removes what nobody uses, and somebody who begins to use it again, see each other: see
//! [`purging`].

mod buffer;
mod purging;
mod sealing;
mod sending;
mod state;
mod transfer;

#[cfg(any(test, fuzzing))]
pub(in crate::storage) use state::fuzz as fuzz_state;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;
use tracing::warn;

use crate::storage::driver::{ByteStream, Error, KeptState, Sealed, StagedFile, Staging, StoragePath};

use super::{Shared, bucket::Bucket, fault::broken};
use buffer::Buffer;
use sealing::Seal;
use sending::Sending;
use state::{Folder, Hash, Marker, State, StateName, hex, in_folder, new_name, unhex};

/// How many objects are removed at the same time.
const CONCURRENT_REMOVALS: usize = 8;

/// How much of a state is read to know what it says: the names of some five hundred parts. The bytes behind it are read
/// when they are needed, and there is room for them.
const STATE_LINE_BYTES: u64 = 64 * 1024;

/// Where the bytes are that do not fill a part yet.
#[derive(Debug)]
enum Tail {
    Here(Buffer),
    /// In the state that was written last.
    WithTheStore,
}

/// A file on its way into a bucket.
#[derive(Debug)]
pub(super) struct StagedObject {
    shared: Arc<Shared>,
    at: Staging,
    /// The name of what this value does.
    attempt: String,
    /// Whether `attempts/` says so.
    has_begun: bool,
    /// What the store has, apart from what is being sent.
    state: State,
    /// Where that was written last.
    written: Option<StateName>,
    /// How many states this value wrote.
    states: u32,
    sending: Option<Sending>,
    tail: Tail,
    seal: Option<Seal>,
    /// A chunk was taken in by half, and then something failed.
    is_broken: bool,
    /// Whether this value's own objects were there when the upload was seen to be alive; see [`purging`].
    is_in_use: bool,
    /// When this value wrote last.
    wrote: Instant,
}

impl StagedObject {
    pub(super) async fn stage(shared: Arc<Shared>, at: &Staging, started_at: Bytes) -> Result<Self, Error> {
        shared.bucket.put(&at.started_at, started_at).await?;
        Ok(Self { is_in_use: true, ..Self::new(shared, at, State::nothing(), None) })
    }

    pub(super) async fn resume(shared: Arc<Shared>, at: &Staging) -> Result<Self, Error> {
        let folder = Folder { names: shared.bucket.tree(&at.folder).await? };
        if !folder.is_alive(at) {
            return Err(Error::NotFound { path: at.folder.clone() });
        }
        Self::from_folder(shared, at, &folder).await
    }

    async fn from_folder(shared: Arc<Shared>, at: &Staging, folder: &Folder) -> Result<Self, Error> {
        let Some(name) = folder.best_state() else { return Ok(Self::new(shared, at, State::nothing(), None)) };
        let path = in_folder(at, &name.text())?;
        let state = match State::from_beginning(&shared.bucket.beginning(&path, STATE_LINE_BYTES).await?) {
            Some(state) => state,
            None => State::decode(&path, &shared.bucket.get(&path).await?)?.0,
        };
        Ok(Self::new(shared, at, state, Some(name)))
    }

    fn new(shared: Arc<Shared>, at: &Staging, state: State, written: Option<StateName>) -> Self {
        let tail = if state.tail == 0 { Tail::Here(Buffer::default()) } else { Tail::WithTheStore };
        let (at, attempt) = (at.clone(), new_name());
        Self {
            shared,
            at,
            attempt,
            has_begun: false,
            state,
            written,
            states: 0,
            sending: None,
            tail,
            seal: None,
            is_broken: false,
            is_in_use: false,
            wrote: Instant::now(),
        }
    }

    fn bucket(&self) -> &Bucket {
        &self.shared.bucket
    }

    fn tail_bytes(&self) -> usize {
        match &self.tail {
            Tail::Here(buffer) => buffer.length(),
            Tail::WithTheStore => self.state.tail,
        }
    }

    /// Where the parts go.
    fn data_path(&self) -> Result<StoragePath, Error> {
        let name = self.state.parts.as_ref().map(|parts| parts.name.as_str()).unwrap_or_default();
        in_folder(&self.at, &format!("data/{name}"))
    }

    /// Writes down what the store has, and `tail` of what it has not; then removes what was written before.
    async fn write_state(&mut self, tail: &[Bytes]) -> Result<(), Error> {
        self.state.tail = tail.iter().map(Bytes::len).sum();
        self.states += 1;
        let name = StateName {
            is_sealed: self.state.is_sealed,
            length: self.state.sent_bytes() + self.state.tail as u64,
            attempt: self.attempt.clone(),
            number: self.states,
        };
        let path = in_folder(&self.at, &name.text())?;
        let object = self.state.encode(tail).map_err(|error| broken("write", &path, error.to_string()))?;
        self.bucket().put(&path, object).await?;
        self.confirm().await?;
        if let Some(before) = self.written.replace(name) {
            self.remove_quietly(&before.text()).await;
        }
        Ok(())
    }

    async fn remove_quietly(&self, name: &str) {
        let Ok(path) = in_folder(&self.at, name) else { return };
        match self.bucket().delete(&path).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => {
                warn!(%path, error = &error as &dyn std::error::Error, "what an upload left behind stays until it ends");
            }
        }
    }

    /// Drops all parts that anybody sent and did not join. A store that does not know them any more is content.
    async fn drop_parts(&self, folder: &Folder) {
        for name in folder.markers() {
            let dropped = async {
                let path = in_folder(&self.at, name)?;
                let marker = self.bucket().get(&path).await?;
                let marker: Marker =
                    serde_json::from_slice(&marker).map_err(|error| broken("read", &path, error.to_string()))?;
                let joined = self.state.is_sealed
                    && self.state.parts.as_ref().is_some_and(|parts| parts.id == marker.id && !marker.id.is_empty());
                if joined {
                    return Ok(());
                }
                let parts = marker.path.parse().map_err(|_| broken("read", &path, "it names no path"))?;
                self.bucket().drop_parts(&parts, &marker.id).await
            };
            match dropped.await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(path = %self.at.folder, error, "could not drop the parts of an upload");
                }
            }
        }
    }
}

#[async_trait]
impl StagedFile for StagedObject {
    fn length(&self) -> u64 {
        let sending = self.sending.as_ref().map_or(0, Sending::length);
        self.state.sent_bytes() + (sending + self.tail_bytes()) as u64
    }

    async fn kept_state(&self) -> Option<KeptState> {
        let hash = self.state.hash.as_ref().filter(|hash| hash.offset <= self.length())?;
        Some(KeptState { offset: hash.offset, state: unhex(&hash.state)? })
    }

    async fn append(&mut self, chunk: Bytes) -> Result<(), Error> {
        if chunk.is_empty() {
            return Ok(());
        }
        if self.is_broken || self.state.is_sealed {
            return Err(broken("append to", &self.at.folder, "nothing can be added any more"));
        }
        self.give_way().await?;
        self.keep_alive().await?;
        self.recall().await?;
        let before = self.length();
        let taken = self.take_in(chunk).await;
        if taken.is_err() {
            let added = self.length().saturating_sub(before);
            let undone = match &mut self.tail {
                Tail::Here(buffer) => buffer.cut(added),
                Tail::WithTheStore => added == 0,
            };
            self.is_broken |= !undone;
        }
        taken
    }

    async fn suspend(&mut self, state: Option<Bytes>) -> Result<(), Error> {
        self.settle().await?;
        let length = self.length();
        if length == 0 || self.seal.is_some() || self.state.is_sealed {
            return Ok(());
        }
        let hash = state.map(|state| Hash { offset: length, state: hex(&state) });
        let is_written = self.written.as_ref().is_some_and(|written| written.length == length);
        if is_written && (hash.is_none() || hash == self.state.hash) {
            return Ok(());
        }
        self.recall().await?;
        self.state.hash = hash.or(self.state.hash.take());
        self.put_aside().await
    }

    async fn seal(&mut self) -> Result<Sealed, Error> {
        self.seal_all().await
    }

    async fn read(&self, range: Range<u64>) -> Result<ByteStream, Error> {
        match (&self.seal, &self.tail) {
            (Some(Seal::Object(path)), _) => self.bucket().read(path, range).await,
            (Some(Seal::InMemory), Tail::Here(buffer)) => buffer
                .slice(range)
                .map(|chunks| stream::iter(chunks.into_iter().map(Ok)).boxed())
                .ok_or_else(|| broken("read", &self.at.folder, "the range is not within the file")),
            _ => Err(broken("read", &self.at.folder, "it is not sealed")),
        }
    }

    async fn publish(&mut self, target: &StoragePath) -> Result<(), Error> {
        match (&self.seal, &self.tail) {
            (Some(Seal::Object(path)), _) => self.transfer(path, target).await,
            (Some(Seal::InMemory), Tail::Here(buffer)) => self.bucket().put(target, buffer.payload()).await,
            _ => Err(broken("publish", &self.at.folder, "it is not sealed")),
        }
    }

    async fn discard(&mut self) -> Result<(), Error> {
        // A part that is still being sent would stay.
        if let Some(sending) = self.sending.take() {
            sending.abandon().await;
        }
        let folder = Folder { names: self.bucket().tree(&self.at.folder).await? };
        self.drop_parts(&folder).await;
        for names in folder.in_order_of_removal(&self.at) {
            let paths = names.into_iter().map(|name| in_folder(&self.at, name));
            self.shared.remove_all(paths.collect::<Result<_, _>>()?).await?;
        }
        Ok(())
    }
}

impl Shared {
    /// Removes objects that may be absent.
    pub(super) async fn remove_all(&self, paths: Vec<StoragePath>) -> Result<(), Error> {
        let removals = paths.iter().map(|path| async {
            match self.bucket.delete(path).await {
                Err(Error::NotFound { .. }) => Ok(()),
                removed => removed,
            }
        });
        // Collected first, because a future that holds the iterator's closures is not known to be `Send`.
        let removals: Vec<_> = removals.collect();
        stream::iter(removals).buffer_unordered(CONCURRENT_REMOVALS).try_collect::<()>().await
    }
}
