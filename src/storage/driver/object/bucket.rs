//! One client of one bucket.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload,
    list::PaginatedListStore,
    multipart::{MultipartStore, PartId},
    path::Path,
    signer::Signer,
};
use tokio::time::{sleep, timeout};

use crate::storage::driver::{ByteStream, Error, Metadata, Seen, StoragePath};

use super::{
    fault::{broken, fault, timed_out},
    part_copies::{Part, PartCopies},
};

/// How long to wait before a write is tried again that met another one. The library tries again what the store says of
/// itself, and takes this for an answer.
const CONFLICT_PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];

/// How long the answer to a small read may take, with what the client tries again by itself. Stores need milliseconds;
/// a connection that a firewall forgot says nothing for ever.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a small read is made that nobody answers: half a minute in all, so that clients hear of it before they, or a
/// proxy, give up.
const READ_ATTEMPTS: u32 = 3;

/// A store that has the requests of a multipart upload.
pub(super) trait Objects: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Objects for T {}

/// A bucket as a client sees it, with [`StoragePath`]s for keys. Clones are the same client.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) objects: Arc<dyn Objects>,
    /// Lists a page at a time, where the store can.
    pub(super) pages: Option<Arc<dyn PaginatedListStore>>,
    pub(super) signer: Option<Arc<dyn Signer>>,
    /// Copies within the store into the parts of an upload, where the store can.
    copies: Option<Arc<PartCopies>>,
    prefix: Option<StoragePath>,
    /// How long a call may take; no limit but the client's own where it is not given.
    limit: Option<Duration>,
    /// How long the answer to a small read may take.
    patience: Duration,
    /// Whether a delete of what is absent is answered as if it had been there.
    pub(super) forgets_absence: bool,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The store's own name, which is its bucket's: its configuration holds credentials.
        write!(f, "Bucket({}, prefix {:?})", self.objects, self.prefix)
    }
}

impl Bucket {
    pub(super) fn new(
        objects: Arc<dyn Objects>,
        pages: Option<Arc<dyn PaginatedListStore>>,
        signer: Option<Arc<dyn Signer>>,
        prefix: Option<StoragePath>,
        limit: Option<Duration>,
    ) -> Self {
        Self { objects, pages, signer, copies: None, prefix, limit, patience: READ_TIMEOUT, forgets_absence: false }
    }

    /// The same, of a store that answers a delete of what is absent as if it had been there.
    pub(super) fn forgetting_absence(self) -> Self {
        Self { forgets_absence: true, ..self }
    }

    /// The same, of a store that copies into parts.
    pub(super) fn copying_parts(self, copies: PartCopies) -> Self {
        Self { copies: Some(Arc::new(copies)), ..self }
    }

    /// Whether the store copies into parts.
    pub(super) fn copies_parts(&self) -> bool {
        self.copies.is_some()
    }

    /// The key of a path. A folder's has no slash at its end.
    pub(super) fn key(&self, path: &StoragePath) -> Result<Path, Error> {
        let key = match &self.prefix {
            Some(prefix) if path.is_root() => prefix.to_string(),
            Some(prefix) => format!("{prefix}/{path}"),
            None => path.to_string(),
        };
        Path::parse(key).map_err(|error| broken("name", path, error.to_string()))
    }

    /// Makes a request, within the time that a call may take.
    pub(super) async fn ask<T>(
        &self,
        action: &'static str,
        path: &StoragePath,
        request: impl Future<Output = object_store::Result<T>> + Send,
    ) -> Result<T, Error> {
        let answer = match self.limit {
            Some(limit) => timeout(limit, request).await.map_err(|_| timed_out(action, path))?,
            None => request.await,
        };
        answer.map_err(|error| fault(action, path, error))
    }

    /// Makes a request for little, or for the beginning of much. One that is not answered is made again, over another
    /// connection.
    pub(super) async fn look<T, F>(
        &self,
        action: &'static str,
        path: &StoragePath,
        request: impl Fn() -> F + Send + Sync,
    ) -> Result<T, Error>
    where
        F: Future<Output = object_store::Result<T>> + Send,
    {
        if self.limit.is_some() {
            return self.ask(action, path, request()).await;
        }
        for _ in 0..READ_ATTEMPTS {
            if let Ok(answer) = timeout(self.patience, request()).await {
                return answer.map_err(|error| fault(action, path, error));
            }
        }
        Err(timed_out(action, path))
    }

    pub(super) async fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
        let key = self.key(path)?;
        self.look("read", path, || async { self.objects.get(&key).await?.bytes().await }).await
    }

    /// An object, where it is no longer than this.
    pub(super) async fn get_up_to(&self, path: &StoragePath, max_size: u64) -> Result<Seen, Error> {
        let key = self.key(path)?;
        let read = || async {
            let found = self.objects.get(&key).await?;
            if found.meta.size > max_size {
                return Ok(Seen::TooLong(found.meta.size));
            }
            found.bytes().await.map(Seen::Content)
        };
        self.look("read", path, read).await
    }

    /// A part of an object. A connection that breaks on the way is made again by the client, where it left off.
    pub(super) async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, Error> {
        let key = self.key(path)?;
        if range.is_empty() {
            let size = self.head(path).await?.size;
            if range.end <= size && range.start <= range.end {
                return Ok(futures::stream::empty().boxed());
            }
            return Err(broken("read", path, "the range is not within the file"));
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let found = self.look("read", path, || self.objects.get_opts(&key, options.clone())).await?;
        if found.range != range {
            return Err(broken("read", path, "the range is not within the file"));
        }
        let path = path.clone();
        Ok(found.into_stream().map_err(move |error| fault("read", &path, error)).boxed())
    }

    /// The first bytes of an object that is not empty.
    pub(super) async fn beginning(&self, path: &StoragePath, length: u64) -> Result<Bytes, Error> {
        let key = self.key(path)?;
        let options = GetOptions { range: Some(GetRange::Bounded(0..length)), ..GetOptions::default() };
        let read = || async { self.objects.get_opts(&key, options.clone()).await?.bytes().await };
        self.look("read", path, read).await
    }

    pub(super) async fn head(&self, path: &StoragePath) -> Result<Metadata, Error> {
        let key = self.key(path)?;
        let found = self.look("look at", path, || self.objects.head(&key)).await?;
        metadata(path, &found)
    }

    /// Writes an object. A store that is about something else at this place says 409, and has written nothing: it is
    /// asked again, unless this is a client without retries.
    pub(super) async fn put(&self, path: &StoragePath, content: impl Into<PutPayload>) -> Result<(), Error> {
        let (key, payload) = (self.key(path)?, content.into());
        for pause in CONFLICT_PAUSES.iter().filter(|_| self.limit.is_none()) {
            match self.objects.put(&key, payload.clone()).await {
                Err(object_store::Error::AlreadyExists { .. }) => sleep(*pause).await,
                written => return written.map(drop).map_err(|error| fault("write", path, error)),
            }
        }
        self.ask("write", path, self.objects.put(&key, payload)).await.map(drop)
    }

    /// Removes an object; absent, [`Error::NotFound`] where the store says so.
    pub(super) async fn delete(&self, path: &StoragePath) -> Result<(), Error> {
        let key = self.key(path)?;
        self.ask("delete", path, self.objects.delete(&key)).await
    }

    /// Copies within the store, at most 5 GiB.
    pub(super) async fn copy(&self, from: &StoragePath, to: &StoragePath) -> Result<(), Error> {
        let (from_key, to_key) = (self.key(from)?, self.key(to)?);
        self.ask("copy", from, self.objects.copy(&from_key, &to_key)).await
    }

    pub(super) async fn begin_parts(&self, path: &StoragePath) -> Result<String, Error> {
        let key = self.key(path)?;
        self.ask("begin the parts of", path, self.objects.create_multipart(&key)).await
    }

    /// Sends the part with this number, counted from 0; what names it later.
    pub(super) async fn put_part(
        &self,
        path: &StoragePath,
        id: &String,
        number: usize,
        content: PutPayload,
    ) -> Result<String, Error> {
        let key = self.key(path)?;
        let part = self.ask("send a part of", path, self.objects.put_part(&key, id, number, content)).await?;
        Ok(part.content_id)
    }

    /// Copies a part of an object, within the store, into the part with this number; what names it later. `None` where
    /// the store cannot.
    pub(super) async fn copy_part(
        &self,
        (from, range): (&StoragePath, Range<u64>),
        to: &StoragePath,
        id: &str,
        number: usize,
    ) -> Result<Option<String>, Error> {
        let (from_key, to_key) = (self.key(from)?, self.key(to)?);
        let Some(copies) = &self.copies else { return Ok(None) };
        let copied = copies.copy(&Part { from: &from_key, range, to: &to_key, id, number }).await;
        copied.map(Some).map_err(|error| error.at("copy a part of", from))
    }

    pub(super) async fn join_parts(&self, path: &StoragePath, id: &String, parts: &[String]) -> Result<(), Error> {
        let key = self.key(path)?;
        let parts = parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
        self.ask("join the parts of", path, self.objects.complete_multipart(&key, id, parts)).await.map(drop)
    }

    pub(super) async fn drop_parts(&self, path: &StoragePath, id: &String) -> Result<(), Error> {
        let key = self.key(path)?;
        self.ask("drop the parts of", path, self.objects.abort_multipart(&key, id)).await
    }
}

/// What is known of an object.
fn metadata(path: &StoragePath, found: &ObjectMeta) -> Result<Metadata, Error> {
    let modified = modified(found).ok_or_else(|| broken("look at", path, "its age is no time"))?;
    Ok(Metadata { size: found.size, modified })
}

/// When an object was written; `None` where what the store says is no time.
pub(super) fn modified(found: &ObjectMeta) -> Option<Timestamp> {
    let nanoseconds = i32::try_from(found.last_modified.timestamp_subsec_nanos()).ok()?;
    Timestamp::new(found.last_modified.timestamp(), nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn a_small_read_that_nobody_answers_is_made_again_and_then_given_up() {
        let (path, asked) = (StoragePath::from_layout("a/b".to_owned()), AtomicU32::new(0));
        let bucket = Bucket::new(Arc::new(InMemory::new()), None, None, None, None);
        let bucket = Bucket { patience: Duration::from_millis(20), ..bucket };
        let silent = || {
            asked.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<object_store::Result<()>>()
        };
        let error = bucket.look("read", &path, silent).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert_eq!(asked.load(Ordering::Relaxed), READ_ATTEMPTS);
        let silent_once = || async {
            if asked.fetch_add(1, Ordering::Relaxed) == READ_ATTEMPTS { std::future::pending().await } else { Ok(()) }
        };
        bucket.look("read", &path, silent_once).await.unwrap();
    }
}
