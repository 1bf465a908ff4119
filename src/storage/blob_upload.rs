//! Bytes on their way in.
//!
//! An upload is a folder with the bytes so far. Whoever writes to it holds its lease; whoever is gone leaves it to
//! the next request, of this process or a later one.

use std::{io, mem, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt as _, future};
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::oci::{Algorithm, Descriptor, Digest};

use super::{
    Error, Repository, UploadId,
    driver::{self, Durability},
    guard::Key,
    layout::PathSpec,
    linked_blob_store::blob_descriptor,
    upload_hash::UploadHash,
    upload_lease::UploadLease,
};

/// How much is gathered before it is written: enough that the hop to another thread and the system calls cost little.
/// It is also what a broken connection may lose, which the client is told by the offset and sends again.
const FLUSH_BYTES: usize = 1024 * 1024;

/// An upload that this value's owner writes to, and nobody else until it is dropped. Dropping it leaves the upload
/// resumable, with what was written so far.
#[derive(Debug)]
pub struct BlobUpload {
    repository: Repository,
    id: UploadId,
    /// How many bytes the file has.
    written: u64,
    /// What comes after them.
    gathered: BytesMut,
    /// The hash of the first bytes of the file, in most cases of all. It is not there while it is being updated, or
    /// when an update was abandoned; then it is made again from the file.
    hash: Option<UploadHash>,
    /// Shared with the write in progress.
    lease: Arc<UploadLease>,
    /// A write was begun, and has not been seen to end.
    is_abandoned: bool,
}

impl BlobUpload {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.written + self.gathered.len() as u64
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
    pub async fn append(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.refuse_if_abandoned()?;
        self.gathered.extend_from_slice(&chunk);
        if self.gathered.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    fn refuse_if_abandoned(&self) -> Result<(), Error> {
        if self.is_abandoned { Err(Error::UploadBusy { id: self.id.clone() }) } else { Ok(()) }
    }

    /// Writes what was gathered, and hashes it at the same time.
    async fn flush(&mut self) -> Result<(), Error> {
        self.refuse_if_abandoned()?;
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.is_abandoned = true;
        let chunk = mem::take(&mut self.gathered).freeze();
        let length = chunk.len() as u64;
        let hash = self.hash.take_if(|hash| hash.length() == self.written);
        let (written, hashed) = future::join(self.write(chunk.clone()), hashed(hash, chunk)).await;
        self.is_abandoned = false;
        if let Err(error) = written {
            return Err(self.not_in_the_way(error).await);
        }
        self.written += length;
        if let Some(hash) = hashed? {
            self.hash = Some(hash);
        }
        Ok(())
    }

    /// Writes to its end, with the lease, whether or not somebody waits: a write that lands late would cut off what a
    /// later one wrote.
    async fn write(&self, chunk: Bytes) -> Result<(), Error> {
        let store = &self.repository.store;
        let (driver, lease, offset) = (Arc::clone(&store.driver), Arc::clone(&self.lease), self.written);
        let path = PathSpec::UploadData(&self.repository.name, &self.id).path();
        let write = async move {
            let written = driver.append(&path, offset, chunk).await;
            drop(lease);
            written
        };
        store.changes.run(write).await.map_err(|source| Error::driver("write to an upload", source))
    }

    /// Leaves the upload for another request, also of another process; returns its offset.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn suspend(mut self) -> Result<u64, Error> {
        self.flush().await?;
        self.keep_hash().await?;
        Ok(self.written)
    }

    /// Writes the state of the hash beside the bytes. They are made durable before: after a power cut a file may be as
    /// long as it was and hold other bytes, and a hash state would vouch for what is not there.
    async fn keep_hash(&self) -> Result<(), Error> {
        let state = self.hash.as_ref().filter(|hash| hash.length() == self.written).and_then(UploadHash::to_state);
        let Some(state) = state.filter(|_| self.written > 0) else { return Ok(()) };
        let (store, name) = (&self.repository.store, &self.repository.name);
        let synced = store.driver.sync(&PathSpec::UploadData(name, &self.id).path()).await;
        synced.map_err(|source| Error::driver("sync an upload", source))?;
        let path = PathSpec::UploadHashState(name, &self.id, Algorithm::Sha256, self.written).path();
        let kept = store.driver.put(&path, state.into(), Durability::Visible).await;
        kept.map_err(|source| Error::driver("write the state of an upload", source))
    }

    /// Ends the upload: what arrived becomes a blob of the repository.
    ///
    /// # Guarantees
    /// - What is answered is durable, and has the digest.
    /// - Content of another digest, or an upload that fails on the way, leaves nothing that can be seen.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], which ends the upload as well, because its bytes cannot be taken back;
    /// [`Error::Frozen`], [`Error::NoLease`] and [`Error::Driver`], which leave it resumable.
    ///
    /// # Cancel safety
    /// Once the bytes are verified it runs to its end also when it is dropped.
    pub async fn commit(mut self, expected: &Digest) -> Result<Descriptor, Error> {
        self.flush().await?;
        let store = self.repository.store.clone();
        let path = PathSpec::UploadData(&self.repository.name, &self.id).path();
        let (synced, actual) = future::join(store.driver.sync(&path), self.digest(expected.algorithm())).await;
        synced.map_err(|source| Error::driver("sync an upload", source))?;
        let actual = actual?;
        if actual != *expected {
            self.cancel().await?;
            return Err(Error::DigestMismatch { expected: expected.clone(), actual });
        }
        store.changes.run(async move { self.publish(actual).await }).await
    }

    /// The digest of all bytes; from the hash so far if that is of the same algorithm, and otherwise from the start.
    async fn digest(&self, algorithm: Algorithm) -> Result<Digest, Error> {
        let so_far = self.hash.clone().filter(|hash| hash.algorithm() == algorithm && hash.length() <= self.written);
        let mut hash = Some(so_far.unwrap_or_else(|| UploadHash::new(algorithm)));
        let length = hash.as_ref().map(UploadHash::length).unwrap_or_default();
        if length < self.written {
            let path = PathSpec::UploadData(&self.repository.name, &self.id).path();
            let read = |source| Error::driver("read an upload", source);
            let driver = &self.repository.store.driver;
            let mut content = driver.read(&path, length..self.written).await.map_err(read)?;
            while let Some(chunk) = content.try_next().await.map_err(read)? {
                hash = hashed(hash, chunk).await?;
            }
        }
        hash.and_then(UploadHash::finish).ok_or_else(|| unhashed(io::Error::other("there is no hash")))
    }

    /// From the verified bytes to the end (PROTOCOL.md, *Promises*, blob commit).
    async fn publish(self, digest: Digest) -> Result<Descriptor, Error> {
        let (store, name) = (&self.repository.store, &self.repository.name);
        let keys = [Key::Blob(digest.clone()), Key::Revision(name.clone(), digest.clone())];
        let promise = store.enter(keys).await?;
        // Also where it exists: its age is what protects the blob until a manifest references it.
        store.put_link(PathSpec::LayerLink(name, &digest), &digest).await?;
        let staged = PathSpec::UploadData(name, &self.id).path();
        store.publish_blob(&staged, &digest, self.written).await?;
        promise.lease()?;
        // A link that another registry wrote may have named other content.
        store.drop_descriptors(name, &digest).await;
        if let Err(error) = self.remove_folder().await {
            warn!(upload_id = %self.id, error = &error as &dyn std::error::Error, "could not remove a finished upload");
        }
        Ok(blob_descriptor(digest, self.written))
    }

    /// Ends the upload without a trace.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn cancel(self) -> Result<(), Error> {
        self.remove_folder().await
    }

    /// An upload that filled the medium goes: its client begins anew once there is space, and until then what it left
    /// would keep everybody else from pushing and deleting.
    async fn not_in_the_way(&self, error: Error) -> Error {
        let is_full = matches!(error, Error::Driver { source: driver::Error::NoSpace { .. }, .. });
        if is_full && let Err(error) = self.remove_folder().await {
            warn!(upload_id = %self.id, error = &error as &dyn std::error::Error, "could not remove what an upload left");
        }
        error
    }

    async fn remove_folder(&self) -> Result<(), Error> {
        let folder = PathSpec::UploadFolder(&self.repository.name, &self.id).path();
        let removed = self.repository.store.driver.delete_directory(&folder).await;
        removed.map_err(|source| Error::driver("remove an upload", source))
    }
}

/// Hashes on a thread that may take its time.
async fn hashed(hash: Option<UploadHash>, chunk: Bytes) -> Result<Option<UploadHash>, Error> {
    let Some(mut hash) = hash else { return Ok(None) };
    let done = spawn_blocking(move || {
        hash.update(&chunk);
        hash
    });
    done.await.map(Some).map_err(io::Error::other).map_err(unhashed)
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
        let started_path = PathSpec::UploadStartedAt(&self.name, &id).path();
        let data_path = PathSpec::UploadData(&self.name, &id).path();
        let (started, data) = future::join(
            store.driver.put(&started_path, started_at.into(), Durability::Visible),
            store.driver.append(&data_path, 0, Bytes::new()),
        )
        .await;
        let hash = Some(UploadHash::new(Algorithm::Sha256));
        let upload = BlobUpload {
            repository: self.clone(),
            id,
            written: 0,
            gathered: BytesMut::new(),
            hash,
            lease: Arc::new(lease),
            is_abandoned: false,
        };
        match started.and(data) {
            Ok(()) => Ok(upload),
            Err(source) => Err(upload.not_in_the_way(Error::driver("begin an upload", source)).await),
        }
    }

    /// Goes on with an upload.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], [`Error::UploadBusy`], [`Error::Driver`].
    pub async fn resume_upload(&self, id: &UploadId) -> Result<BlobUpload, Error> {
        let lease = self.store.uploads.take(id, self.store.timing.upload_wait).await?;
        let written = self.upload_offset(id).await?;
        let hash =
            if written == 0 { Some(UploadHash::new(Algorithm::Sha256)) } else { self.kept_hash(id, written).await };
        Ok(BlobUpload {
            repository: self.clone(),
            id: id.clone(),
            written,
            gathered: BytesMut::new(),
            hash,
            lease: Arc::new(lease),
            is_abandoned: false,
        })
    }

    /// The hash so far, from the longest state that is not longer than the bytes. What cannot be read is hashed again.
    async fn kept_hash(&self, id: &UploadId, written: u64) -> Option<UploadHash> {
        let folder = PathSpec::UploadHashStates(&self.name, id, Algorithm::Sha256);
        let names = self.store.names(folder).await.ok()?;
        let offset = names.iter().filter_map(|name| name.parse::<u64>().ok()).filter(|at| *at <= written).max()?;
        let path = PathSpec::UploadHashState(&self.name, id, Algorithm::Sha256, offset).path();
        let state = self.store.driver.get(&path).await.ok()?;
        UploadHash::from_state(&state, offset)
    }

    /// How many bytes of an upload have arrived and were written.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], [`Error::Driver`].
    pub async fn upload_offset(&self, id: &UploadId) -> Result<u64, Error> {
        match self.store.driver.stat(&PathSpec::UploadData(&self.name, id).path()).await {
            Ok(metadata) => Ok(metadata.size),
            Err(driver::Error::NotFound { .. }) => {
                Err(Error::UploadUnknown { repository: self.name.clone(), id: id.clone() })
            }
            Err(source) => Err(Error::driver("look at an upload", source)),
        }
    }

    /// Ends an upload without a trace.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], [`Error::UploadBusy`], [`Error::Driver`].
    pub async fn cancel_upload(&self, id: &UploadId) -> Result<(), Error> {
        self.resume_upload(id).await?.cancel().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use futures::FutureExt as _;

    use crate::storage::{
        Audience, Catalog,
        driver::{FilesystemDriver, faulty::Fault},
        fixtures::{ManualClock, World, name, open, options, sha256},
    };

    use super::*;

    /// More than one flush, and not a multiple of anything.
    fn content() -> Bytes {
        static CONTENT: LazyLock<Bytes> = LazyLock::new(|| {
            (0..2_500_001_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect()
        });
        CONTENT.clone()
    }

    async fn upload(repository: &Repository, content: &Bytes) -> Result<Descriptor, Error> {
        let mut upload = repository.create_upload().await?;
        for chunk in content.chunks(100_000) {
            upload.append(content.slice_ref(chunk)).await?;
        }
        upload.commit(&sha256(content)).await
    }

    async fn download(repository: &Repository, digest: &Digest) -> Result<Vec<u8>, Error> {
        let blob = repository.open_blob(digest).await?;
        let chunks: Vec<Bytes> = blob.stream(0..blob.size()).await?.try_collect().await.unwrap();
        Ok(chunks.concat())
    }

    async fn is_unknown(repository: &Repository, digest: &Digest) -> bool {
        for audience in [Audience::Puller, Audience::Pusher] {
            if !matches!(repository.stat_blob(digest, audience).await, Err(Error::BlobUnknown { .. })) {
                return false;
            }
        }
        true
    }

    #[tokio::test]
    async fn a_committed_upload_is_a_blob_of_its_repository_only() {
        let world = World::new();
        let catalog = world.open().await;
        let (repository, other) = (catalog.repository(&name("a")), catalog.repository(&name("a/b")));
        let (content, digest) = (content(), sha256(&content()));
        assert!(is_unknown(&repository, &digest).await);
        let descriptor = upload(&repository, &content).await.unwrap();
        assert_eq!((descriptor.size, &descriptor.digest), (2_500_001, &digest));
        for audience in [Audience::Puller, Audience::Pusher] {
            assert_eq!(repository.stat_blob(&digest, audience).await.unwrap(), descriptor);
        }
        assert_eq!(download(&repository, &digest).await.unwrap(), content);
        assert!(is_unknown(&other, &digest).await);
        world.memory.crash();
        assert_eq!(download(&world.repository("a").await, &digest).await.unwrap(), content, "it was durable");
        let left = world.memory.paths().into_iter().filter(|path| path.as_str().contains("_uploads")).count();
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn an_upload_goes_on_in_another_process() {
        let world = World::new();
        let (content, digest) = (content(), sha256(&content()));
        let mut upload = world.repository("a").await.create_upload().await.unwrap();
        let id = upload.id().clone();
        upload.append(content.slice(..1_234_567)).await.unwrap();
        assert_eq!(upload.suspend().await.unwrap(), 1_234_567);
        let repository = world.repository("a").await;
        assert_eq!(repository.upload_offset(&id).await.unwrap(), 1_234_567);
        let mut upload = repository.resume_upload(&id).await.unwrap();
        assert_eq!(upload.hash.as_ref().map(UploadHash::length), Some(1_234_567), "nothing is hashed again");
        upload.append(content.slice(1_234_567..)).await.unwrap();
        upload.commit(&digest).await.unwrap();
        assert_eq!(download(&repository, &digest).await.unwrap(), content);
        assert!(matches!(repository.upload_offset(&id).await, Err(Error::UploadUnknown { .. })));
    }

    #[tokio::test]
    async fn a_dropped_upload_keeps_what_was_written() {
        let world = World::new();
        let repository = world.repository("a").await;
        let (content, digest) = (content(), sha256(&content()));
        let mut upload = repository.create_upload().await.unwrap();
        let id = upload.id().clone();
        upload.append(content.slice(..1_500_000)).await.unwrap();
        upload.append(content.slice(1_500_000..1_500_010)).await.unwrap();
        drop(upload);
        let mut upload = repository.resume_upload(&id).await.unwrap();
        assert_eq!(upload.offset(), 1_500_000);
        upload.append(content.slice(1_500_000..)).await.unwrap();
        upload.commit(&digest).await.unwrap();
        assert_eq!(download(&repository, &digest).await.unwrap(), content);
    }

    #[tokio::test]
    async fn an_append_that_was_abandoned_ends_before_the_upload_goes_on() {
        let world = World::new();
        let repository = world.repository("a").await;
        let (content, digest) = (content(), sha256(&content()));
        let mut upload = repository.create_upload().await.unwrap();
        let id = upload.id().clone();
        assert!(Box::pin(upload.append(content.slice(..1_200_000))).now_or_never().is_none());
        assert!(matches!(upload.append(Bytes::from("x")).await, Err(Error::UploadBusy { .. })));
        drop(upload);
        let mut upload = repository.resume_upload(&id).await.unwrap();
        let offset = usize::try_from(upload.offset()).unwrap();
        upload.append(content.slice(offset..)).await.unwrap();
        upload.commit(&digest).await.unwrap();
        assert_eq!(download(&repository, &digest).await.unwrap(), content);
    }

    #[tokio::test]
    async fn content_of_another_digest_is_refused_and_not_seen() {
        let world = World::new();
        let repository = world.repository("a").await;
        let (expected, actual) = (sha256(b"expected"), sha256(b"actual"));
        let mut upload = repository.create_upload().await.unwrap();
        let id = upload.id().clone();
        upload.append(Bytes::from("actual")).await.unwrap();
        let error = upload.commit(&expected).await.unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { actual: told, .. } if told == actual));
        assert!(is_unknown(&repository, &expected).await && is_unknown(&repository, &actual).await);
        assert!(matches!(repository.resume_upload(&id).await, Err(Error::UploadUnknown { .. })));
        assert_eq!(world.memory.paths(), []);
    }

    #[tokio::test]
    async fn both_algorithms_can_be_committed() {
        let world = World::new();
        let repository = world.repository("a").await;
        for content in [content(), Bytes::new()] {
            let digest = Digest::of(Algorithm::Sha512, &content);
            let mut upload = repository.create_upload().await.unwrap();
            upload.append(content.clone()).await.unwrap();
            upload.commit(&digest).await.unwrap();
            assert_eq!(download(&repository, &digest).await.unwrap(), content);
        }
    }

    #[tokio::test]
    async fn an_upload_has_one_writer_and_can_be_cancelled() {
        let world = World::new();
        let repository = world.repository("a").await;
        let upload = repository.create_upload().await.unwrap();
        let id = upload.id().clone();
        assert!(matches!(repository.resume_upload(&id).await, Err(Error::UploadBusy { .. })));
        assert!(matches!(repository.cancel_upload(&id).await, Err(Error::UploadBusy { .. })));
        drop(upload);
        assert!(matches!(
            world.open().await.repository(&name("b")).resume_upload(&id).await,
            Err(Error::UploadUnknown { .. })
        ));
        repository.cancel_upload(&id).await.unwrap();
        assert!(matches!(repository.cancel_upload(&id).await, Err(Error::UploadUnknown { .. })));
        assert_eq!(world.memory.paths(), []);
    }

    #[tokio::test]
    async fn a_damaged_blob_is_replaced_by_the_next_push() {
        let world = World::new();
        let repository = world.repository("a").await;
        let (content, digest) = (content(), sha256(&content()));
        for damaged in ["", "truncated"] {
            upload(&repository, &content).await.unwrap();
            let data = PathSpec::BlobData(&digest).path();
            world.memory.put_now(&data, damaged);
            upload(&repository, &content).await.unwrap();
            assert_eq!(download(&world.repository("a").await, &digest).await.unwrap(), content);
        }
    }

    #[tokio::test]
    async fn a_torn_link_is_the_digest_of_its_path() {
        let world = World::new();
        let repository = world.repository("a").await;
        let (content, digest) = (content(), sha256(&content()));
        upload(&repository, &content).await.unwrap();
        for torn in ["", "sha256:12", "\0\0\0"] {
            world.memory.put_now(&PathSpec::LayerLink(&name("a"), &digest).path(), torn);
            assert_eq!(download(&world.repository("a").await, &digest).await.unwrap(), content);
        }
    }

    #[tokio::test]
    async fn commits_of_the_same_content_do_not_disturb_each_other() {
        let world = World::new();
        let catalog = world.open().await;
        let (content, digest) = (content(), sha256(&content()));
        let pushes = (0..6).map(|number| {
            let (repository, content) = (catalog.repository(&name(["a", "b"][number % 2])), content.clone());
            async move { upload(&repository, &content).await }
        });
        for pushed in future::join_all(pushes).await {
            pushed.unwrap();
        }
        for repository in ["a", "b"] {
            assert_eq!(download(&catalog.repository(&name(repository)), &digest).await.unwrap(), content);
        }
    }

    /// Each write of a push fails in turn, with an effect or without, and everything after it too. Then nothing wrong
    /// can be seen, by this process or the next, and the same push succeeds.
    #[tokio::test]
    async fn a_push_that_fails_anywhere_can_be_repeated() {
        let (content, digest) = (content(), sha256(&content()));
        let writes = {
            let world = World::new();
            let repository = world.repository("a").await;
            let before = world.driver.writes();
            upload(&repository, &content).await.unwrap();
            world.driver.writes() - before
        };
        assert!(writes >= 6, "{writes} writes are less than a push takes");
        for (failing, fault) in (0..writes).flat_map(|n| [(n, Fault::Refused), (n, Fault::Ambiguous)]) {
            let world = World::new();
            let repository = world.repository("a").await;
            world.driver.crash(failing, fault);
            let pushed = upload(&repository, &content).await;
            // Only the removal of the finished upload may fail unnoticed.
            assert_eq!(pushed.is_ok(), failing == writes - 1, "write {failing}, {fault:?}");
            world.driver.heal();
            world.memory.crash();
            let repository = world.repository("a").await;
            if let Ok(seen) = download(&repository, &digest).await {
                assert_eq!(seen, content, "write {failing}, {fault:?}");
            } else {
                assert!(is_unknown(&repository, &digest).await);
                assert!(pushed.is_err(), "what was answered is gone after write {failing}, {fault:?}");
            }
            upload(&repository, &content).await.unwrap();
            assert_eq!(download(&repository, &digest).await.unwrap(), content);
        }
    }

    #[tokio::test]
    async fn an_upload_that_fills_the_medium_leaves_nothing_on_it() {
        let world = World::new();
        let repository = world.repository("a").await;
        let is_empty = || !world.memory.paths().iter().any(|path| path.as_str().contains("_uploads"));
        let mut upload = repository.create_upload().await.unwrap();
        let id = upload.id().clone();
        upload.append(content().slice(..1_100_000)).await.unwrap();
        world.driver.fail_once(0, Fault::Full);
        upload.append(content().slice(1_100_000..)).await.unwrap_err();
        assert!(is_empty(), "what nobody can finish keeps the medium full");
        drop(upload);
        assert!(matches!(repository.upload_offset(&id).await, Err(Error::UploadUnknown { .. })));
        for write in 0..2 {
            world.driver.fail_once(write, Fault::Full);
            repository.create_upload().await.unwrap_err();
            assert!(is_empty(), "write {write}");
        }
    }

    #[tokio::test]
    async fn an_upload_goes_on_after_a_write_that_failed() {
        let world = World::new();
        let repository = world.repository("a").await;
        let (content, digest) = (content(), sha256(&content()));
        for fault in [Fault::Refused, Fault::Ambiguous] {
            let mut upload = repository.create_upload().await.unwrap();
            upload.append(content.slice(..1_100_000)).await.unwrap();
            world.driver.fail_once(0, fault);
            upload.append(content.slice(1_100_000..)).await.unwrap_err();
            assert_eq!(upload.offset(), 1_100_000, "what was not written is dropped");
            upload.append(content.slice(1_100_000..)).await.unwrap();
            upload.commit(&digest).await.unwrap();
            assert_eq!(download(&repository, &digest).await.unwrap(), content);
        }
    }

    #[tokio::test]
    async fn a_push_works_on_a_folder_too() {
        let folder = tempfile::tempdir().unwrap();
        let (content, digest) = (content(), sha256(&content()));
        let catalog = async || -> Catalog {
            let driver = Arc::new(FilesystemDriver::open(folder.path()).await.unwrap());
            open(driver, options(), Arc::new(ManualClock::new())).await
        };
        let id = {
            let mut upload = catalog().await.repository(&name("a/b")).create_upload().await.unwrap();
            let id = upload.id().clone();
            upload.append(content.slice(..2_000_000)).await.unwrap();
            upload.suspend().await.unwrap();
            id
        };
        let repository = catalog().await.repository(&name("a/b"));
        let mut upload = repository.resume_upload(&id).await.unwrap();
        upload.append(content.slice(2_000_000..)).await.unwrap();
        upload.commit(&digest).await.unwrap();
        assert_eq!(download(&repository, &digest).await.unwrap(), content);
        assert!(!folder.path().join("docker/registry/v2/repositories/a/b/_uploads").exists());
    }
}
