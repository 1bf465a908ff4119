//! Bytes on their way in.
//!
//! An upload is a staged file with the hash of its bytes. Whoever writes to it holds its lease; whoever is gone leaves
//! it to the next request, of this process or another.

mod block;
mod purge;

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{
    TryStreamExt as _,
    future::{self, BoxFuture},
};
use tracing::warn;

use crate::oci::{Algorithm, Descriptor, Digest};

use super::{hash::UploadHash, lease::UploadLease};
use crate::storage::{
    Audience, Error, Repository, UploadId,
    blobs::linked_store::blob_descriptor,
    driver::{self, Sealed, StagedFile},
    guard::keys::Key,
    layout::PathSpec,
    metrics::UploadEvent,
};

use block::Block;
pub use purge::PurgedUploads;

/// How much is gathered before it is written: enough that the hop to another thread and the system calls cost little
/// (some 20 µs of 256 KiB, which take a disk or a hash some 250 µs), and little enough that a hundred uploads at once
/// take 50 MiB, counted twice for what is being written. It is also what a broken connection may lose, which the client
/// is told by the offset and sends again.
const FLUSH_BYTES: usize = 256 * 1024;

/// How often it is looked, within the time that a request waits for another one, whether another process has ended an
/// upload.
const LOOKS_AT_THE_OTHER: u32 = 50;

/// An upload that this value's owner writes to, and nobody else until it is dropped. Dropping it leaves the upload
/// resumable, with what was written so far.
#[derive(Debug)]
pub struct BlobUpload {
    repository: Repository,
    id: UploadId,
    /// How many bytes the file has.
    written: u64,
    /// What comes after them.
    gathered: Option<Block>,
    /// The hash of the first bytes of the file, in most cases of all. It is not there while it is being updated, or
    /// when an update was abandoned; then it is made again from the file.
    hash: Option<UploadHash>,
    /// Not there while something is done to it, and after that was abandoned.
    staged: Option<Staged>,
}

/// What only one writer has. It goes with a write to its end.
#[derive(Debug)]
struct Staged {
    file: Box<dyn StagedFile>,
    #[expect(dead_code, reason = "held for its drop")]
    lease: UploadLease,
}

impl BlobUpload {
    fn new(repository: &Repository, id: &UploadId, staged: Staged, hash: Option<UploadHash>) -> Self {
        let (repository, id, written) = (repository.clone(), id.clone(), staged.file.length());
        Self { repository, id, written, gathered: None, hash, staged: Some(staged) }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.written + self.gathered.as_ref().map_or(0, Block::len) as u64
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// [`Error::Driver`]; what was not written is dropped, and the upload is as long as [`Self::offset`] says.
    /// [`Error::UploadBusy`] after an earlier call was dropped.
    ///
    /// # Cancel safety
    /// A call that is dropped may still be writing: this value is of no use then, and whoever resumes the upload waits
    /// for the write.
    pub async fn append(&mut self, mut chunk: Bytes) -> Result<(), Error> {
        self.refuse_if_abandoned()?;
        while !chunk.is_empty() {
            let gathered = self.gathered.get_or_insert_with(Block::new);
            gathered.fill(&mut chunk);
            if gathered.is_full() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn refuse_if_abandoned(&self) -> Result<(), Error> {
        if self.staged.is_none() { Err(self.busy()) } else { Ok(()) }
    }

    fn busy(&self) -> Error {
        Error::UploadBusy { id: self.id.clone() }
    }

    /// Does something to the staged file, to its end, with the lease, whether or not somebody waits: a write that lands
    /// late would cut off what a later one wrote.
    async fn work<T: Send + 'static>(
        &mut self,
        action: &'static str,
        work: impl for<'a> FnOnce(&'a mut dyn StagedFile) -> BoxFuture<'a, Result<T, driver::Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let mut staged = self.staged.take().ok_or_else(|| self.busy())?;
        let work = async move {
            let result = work(&mut *staged.file).await;
            (staged, result)
        };
        let (staged, result) = self.repository.store.changes.run(work).await;
        self.staged = Some(staged);
        result.map_err(|source| match source {
            // Another process has ended it.
            driver::Error::NotFound { .. } => {
                Error::UploadUnknown { repository: self.repository.name.clone(), id: self.id.clone() }
            }
            source => Error::driver(action, source),
        })
    }

    /// Writes what was gathered, and hashes it at the same time.
    async fn flush(&mut self) -> Result<(), Error> {
        self.refuse_if_abandoned()?;
        let Some(gathered) = self.gathered.take() else { return Ok(()) };
        let chunk = gathered.freeze();
        let length = chunk.len() as u64;
        let written = self.written;
        let hash = self.hash.take_if(|hash| hash.length() == written);
        let hashing = hashed(hash, chunk.clone());
        let (appended, hashed) =
            future::join(self.work("write to an upload", move |file| file.append(chunk)), hashing).await;
        if let Err(error) = appended {
            return Err(self.not_in_the_way(error).await);
        }
        self.written += length;
        self.repository.store.options.metrics.content.uploaded(length);
        if let Some(hash) = hashed? {
            self.hash = Some(hash);
        }
        Ok(())
    }

    /// Leaves the upload for another request, also of another process; returns its offset.
    ///
    /// # Errors
    /// [`Error::Driver`].
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn suspend(mut self) -> Result<u64, Error> {
        self.flush().await?;
        let state = self.hash.as_ref().filter(|hash| hash.length() == self.written).and_then(UploadHash::to_state);
        let state = state.filter(|_| self.written > 0).map(Bytes::from);
        self.work("leave an upload", move |file| file.suspend(state)).await?;
        Ok(self.written)
    }

    /// Ends the upload: what arrived becomes a blob of the repository.
    ///
    /// # Guarantees
    /// - What is answered is durable, and has the digest.
    /// - Content of another digest, or an upload that fails on the way, leaves nothing that can be seen.
    /// - Of two processes that end the same upload, both are answered alike.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], which ends the upload as well, because its bytes cannot be taken back;
    /// [`Error::Frozen`], [`Error::NoLease`] and [`Error::Driver`], which leave it resumable.
    ///
    /// # Cancel safety
    /// Once the bytes are verified it runs to its end also when it is dropped.
    pub async fn commit(self, expected: &Digest) -> Result<Descriptor, Error> {
        let (repository, id) = (self.repository.clone(), self.id.clone());
        match self.finish(expected).await {
            Err(error @ (Error::Driver { .. } | Error::UploadUnknown { .. })) => {
                repository.finished_elsewhere(&id, expected).await.ok_or(error)
            }
            finished => finished,
        }
    }

    async fn finish(mut self, expected: &Digest) -> Result<Descriptor, Error> {
        self.flush().await?;
        if self.work("sync an upload", |file| file.seal()).await? == Sealed::MaybeMixed {
            self.hash = None;
        }
        let actual = self.digest(expected.algorithm()).await?;
        if actual != *expected {
            self.cancel().await?;
            return Err(Error::DigestMismatch { expected: expected.clone(), actual });
        }
        let store = Arc::clone(&self.repository.store);
        store.changes.run(async move { self.publish(actual).await }).await
    }

    /// The digest of all bytes, which are sealed; from the hash so far if that is of the same algorithm, and otherwise
    /// from the start.
    async fn digest(&self, algorithm: Algorithm) -> Result<Digest, Error> {
        let so_far = self.hash.clone().filter(|hash| hash.algorithm() == algorithm && hash.length() <= self.written);
        let mut hash = Some(so_far.unwrap_or_else(|| UploadHash::new(algorithm)));
        let length = hash.as_ref().map(UploadHash::length).unwrap_or_default();
        if length < self.written {
            let read = |source| Error::driver("read an upload", source);
            let staged = self.staged.as_ref().ok_or_else(|| self.busy())?;
            let mut content = staged.file.read(length..self.written).await.map_err(read)?;
            while let Some(chunk) = content.try_next().await.map_err(read)? {
                hash = hashed(hash, chunk).await?;
            }
        }
        hash.and_then(UploadHash::finish).ok_or_else(|| unhashed(io::Error::other("there is no hash")))
    }

    /// From the verified bytes to the end (docs/protocol.md, *Promises*, blob commit).
    async fn publish(mut self, digest: Digest) -> Result<Descriptor, Error> {
        let (store, name) = (&self.repository.store, &self.repository.name);
        let keys = [Key::Blob(digest.clone()), Key::Revision(name.clone(), digest.clone())];
        let promise = store.enter(keys).await?;
        let mut staged = self.staged.take().ok_or_else(|| self.busy())?;
        // Also where it exists: its age is what protects the blob until a manifest references it.
        if let Err(error) = store.put_link(PathSpec::LayerLink(name, &digest), &digest).await {
            promise.leave(store, &error);
            return Err(error);
        }
        store.publish_blob(&mut *staged.file, &digest).await?;
        promise.lease()?;
        // A link that another registry wrote may have named other content.
        store.drop_descriptors(name, &digest).await;
        if let Err(error) = staged.file.discard().await {
            warn!(upload_id = %self.id, error = &error as &dyn std::error::Error, "could not remove a finished upload");
        }
        store.options.metrics.content.upload(UploadEvent::Committed);
        Ok(blob_descriptor(digest, self.written))
    }

    /// Ends the upload without a trace.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn cancel(mut self) -> Result<(), Error> {
        self.discard().await?;
        self.repository.store.options.metrics.content.upload(UploadEvent::Cancelled);
        Ok(())
    }

    async fn discard(&mut self) -> Result<(), Error> {
        self.work("remove an upload", |file| file.discard()).await
    }

    /// An upload that filled the medium goes: its client begins anew once there is space, and until then what it left
    /// would keep everybody else from pushing and deleting.
    async fn not_in_the_way(&mut self, error: Error) -> Error {
        let is_full = matches!(error, Error::Driver { source: driver::Error::NoSpace { .. }, .. });
        if is_full && let Err(error) = self.discard().await {
            warn!(upload_id = %self.id, error = &error as &dyn std::error::Error, "could not remove what an upload left");
        }
        error
    }
}

async fn hashed(hash: Option<UploadHash>, chunk: Bytes) -> Result<Option<UploadHash>, Error> {
    let Some(hash) = hash else { return Ok(None) };
    hash.updated(chunk).await.map(Some).map_err(io::Error::other).map_err(unhashed)
}

fn unhashed(source: io::Error) -> Error {
    let path = driver::StoragePath::root();
    Error::Driver { action: "hash an upload", source: driver::Error::Io { action: "hash", path, source } }
}

impl Repository {
    /// Begins an upload.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn create_upload(&self) -> Result<BlobUpload, Error> {
        let store = &self.store;
        let id = UploadId::random();
        let lease = store.uploads.take(&id, store.timing.upload_wait).await?;
        let started_at = store.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let staged = store.driver.stage(&PathSpec::staging(&self.name, &id), started_at.into()).await;
        let file = staged.map_err(|source| Error::driver("begin an upload", source))?;
        store.options.metrics.content.upload(UploadEvent::Begun);
        Ok(BlobUpload::new(self, &id, Staged { file, lease }, Some(UploadHash::new(Algorithm::Sha256))))
    }

    /// Goes on with an upload.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], [`Error::UploadBusy`], [`Error::Driver`].
    pub async fn resume_upload(&self, id: &UploadId) -> Result<BlobUpload, Error> {
        let lease = self.store.uploads.take(id, self.store.timing.upload_wait).await?;
        let file = self.staged_upload(id).await?;
        let hash = if file.length() == 0 { Some(UploadHash::new(Algorithm::Sha256)) } else { kept_hash(&*file).await };
        self.store.options.metrics.content.upload(UploadEvent::Resumed);
        Ok(BlobUpload::new(self, id, Staged { file, lease }, hash))
    }

    async fn staged_upload(&self, id: &UploadId) -> Result<Box<dyn StagedFile>, Error> {
        match self.store.driver.resume(&PathSpec::staging(&self.name, id)).await {
            Ok(file) => Ok(file),
            Err(driver::Error::NotFound { .. }) => {
                Err(Error::UploadUnknown { repository: self.name.clone(), id: id.clone() })
            }
            Err(source) => Err(Error::driver("look at an upload", source)),
        }
    }

    /// What became of an upload that another process ended while this one was at it: its client has sent the last
    /// request twice.
    async fn finished_elsewhere(&self, id: &UploadId, expected: &Digest) -> Option<Descriptor> {
        if !self.store.driver.is_shared() {
            return None;
        }
        // The other one may still be removing it; where it stays, this one failed by itself.
        for _ in 0..LOOKS_AT_THE_OTHER {
            match self.staged_upload(id).await {
                Ok(_) => self.store.clock.sleep(self.store.timing.upload_wait / LOOKS_AT_THE_OTHER).await,
                Err(Error::UploadUnknown { .. }) => return self.stat_blob(expected, Audience::Pusher).await.ok(),
                Err(_) => return None,
            }
        }
        None
    }

    /// How many bytes of an upload have arrived and were written.
    ///
    /// Whoever asks was cut off, mostly, and goes on from what it hears: so what it had sent before is awaited, as long as
    /// a request that goes on would.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], [`Error::Driver`].
    pub async fn upload_offset(&self, id: &UploadId) -> Result<u64, Error> {
        // One that is busy for longer has a client that sends: what was written so far is the answer then.
        let _lease = self.store.uploads.take(id, self.store.timing.upload_wait).await.ok();
        Ok(self.staged_upload(id).await?.length())
    }

    /// Ends an upload without a trace.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], [`Error::UploadBusy`], [`Error::Driver`].
    pub async fn cancel_upload(&self, id: &UploadId) -> Result<(), Error> {
        self.resume_upload(id).await?.cancel().await
    }
}

/// The hash of the bytes so far, or of fewer.
async fn kept_hash(file: &dyn StagedFile) -> Option<UploadHash> {
    let kept = file.kept_state().await?;
    UploadHash::from_state(&kept.state, kept.offset)
}

#[cfg(test)]
mod tests;
