//! A store in memory that counts, and fails when a test says so.

use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    memory::InMemory,
    multipart::{MultipartStore, PartId},
    path::Path,
};

/// How a write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has no effect.
    Refused,
    /// It takes effect, and yet reports an error.
    Ambiguous,
}

/// Like some stores it keeps of two parts with the same number the last, and does not notice when they are joined.
#[derive(Debug, Default)]
pub(super) struct Watched {
    inner: InMemory,
    begun: AtomicUsize,
    ended: AtomicUsize,
    writes: AtomicUsize,
    /// How many more writes succeed; negative: all do.
    left: Mutex<Option<(AtomicI64, Fault)>>,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store in memory")
    }
}

impl Watched {
    /// All keys.
    pub(super) async fn paths(&self) -> Vec<String> {
        let objects: Vec<_> = self.inner.list(None).try_collect().await.unwrap();
        objects.into_iter().map(|object| object.location.to_string()).collect()
    }

    /// Uploads in parts that were neither joined nor dropped.
    pub(super) fn open_uploads(&self) -> usize {
        self.begun.load(Ordering::SeqCst) - self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// Lets the write after the next `after` ones fail, and all later ones, until [`Self::heal`].
    pub(super) fn crash(&self, after: usize, fault: Fault) {
        *self.left.lock().unwrap() = Some((AtomicI64::new(after.try_into().unwrap()), fault));
    }

    pub(super) fn heal(&self) {
        *self.left.lock().unwrap() = None;
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let fault = match &*self.left.lock().unwrap() {
            Some((left, fault)) => match left.fetch_sub(1, Ordering::SeqCst) {
                0 => Some(*fault),
                1.. => None,
                _ => Some(Fault::Refused),
            },
            None => None,
        };
        match fault {
            None => return write.await,
            Some(Fault::Refused) => {}
            Some(Fault::Ambiguous) => drop(write.await),
        }
        Err(Error::Generic { store: "watched", source: "injected fault".into() })
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.write(self.inner.put_opts(path, payload, options)).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let refused = match &*self.left.lock().unwrap() {
            Some((left, _)) => left.fetch_sub(1, Ordering::SeqCst) <= 0,
            None => false,
        };
        if refused {
            let error = Error::Generic { store: "watched", source: "injected fault".into() };
            return futures::stream::iter([Err(error)]).boxed();
        }
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.write(self.inner.copy_opts(from, to, options)).await
    }
}

#[async_trait]
impl MultipartStore for Watched {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        let id = self.write(self.inner.create_multipart(path)).await?;
        self.begun.fetch_add(1, Ordering::SeqCst);
        Ok(id)
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, number: usize, payload: PutPayload) -> Result<PartId> {
        self.write(self.inner.put_part(path, id, number, payload)).await
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        let completed = async {
            let joined = self.inner.complete_multipart(path, id, parts).await?;
            self.ended.fetch_add(1, Ordering::SeqCst);
            Ok(joined)
        };
        self.write(completed).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let dropped = async {
            self.inner.abort_multipart(path, id).await?;
            self.ended.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        self.write(dropped).await
    }
}
