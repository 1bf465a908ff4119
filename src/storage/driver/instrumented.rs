//! A decorator that counts and times every call, and gives it a span.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use tracing::{Instrument as _, Span, debug_span, field::Empty};

use crate::storage::metrics::DriverMetrics;

use super::{
    ByteStream, Durability, Entry, Error, KeptState, Look, Metadata, Purge, Sealed, Seen, StagedFile, Staging,
    StorageDriver, StoragePath,
};

/// Passes everything on to `inner`.
#[derive(Debug)]
pub(in crate::storage) struct InstrumentedDriver {
    inner: Arc<dyn StorageDriver>,
    metrics: DriverMetrics,
}

impl InstrumentedDriver {
    pub(in crate::storage) fn new(inner: Arc<dyn StorageDriver>, metrics: DriverMetrics) -> Self {
        Self { inner, metrics }
    }

    fn file(&self, inner: Box<dyn StagedFile>, at: &Staging) -> Box<dyn StagedFile> {
        Box::new(InstrumentedFile { inner, folder: at.folder.clone(), metrics: self.metrics.clone() })
    }
}

/// A call that has begun. It is counted when it ends, also when it is dropped before it has an answer.
struct Call<'a> {
    metrics: &'a DriverMetrics,
    operation: &'static str,
    span: Span,
    outcome: &'static str,
    began: Instant,
}

impl<'a> Call<'a> {
    fn begin(metrics: &'a DriverMetrics, operation: &'static str, path: &StoragePath) -> Self {
        let span = debug_span!("storage", operation, path = %path, outcome = Empty);
        Self { metrics, operation, span, outcome: "cancelled", began: Instant::now() }
    }

    async fn of<T>(mut self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let answer = call.instrument(self.span.clone()).await;
        self.outcome = outcome(answer.as_ref().err());
        if let Err(Error::Poisoned) = &answer {
            self.metrics.poisoned();
        }
        answer
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.span.record("outcome", self.outcome);
        self.metrics.ended(self.operation, self.outcome, self.began.elapsed());
    }
}

/// The label for how a call ended.
fn outcome(error: Option<&Error>) -> &'static str {
    match error {
        None => "ok",
        Some(Error::NotFound { .. }) => "not_found",
        Some(Error::NoSpace { .. }) => "no_space",
        Some(Error::ReadOnly { .. }) => "read_only",
        Some(Error::Unavailable { .. }) => "unavailable",
        Some(Error::Busy { .. }) => "busy",
        Some(Error::Rejected { .. }) => "rejected",
        Some(Error::Denied { .. }) => "denied",
        Some(Error::Poisoned) => "poisoned",
        Some(Error::Fenced { .. }) => "fenced",
        Some(Error::Io { .. }) => "io",
    }
}

fn counted(stream: ByteStream, metrics: &DriverMetrics) -> ByteStream {
    let metrics = metrics.clone();
    stream.inspect_ok(move |chunk| metrics.read(chunk.len())).boxed()
}

#[async_trait]
impl StorageDriver for InstrumentedDriver {
    async fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
        let content = Call::begin(&self.metrics, "get", path).of(self.inner.get(path)).await?;
        self.metrics.read(content.len());
        Ok(content)
    }

    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, Error> {
        let stream = Call::begin(&self.metrics, "read", path).of(self.inner.read(path, range)).await?;
        Ok(counted(stream, &self.metrics))
    }

    async fn stat(&self, path: &StoragePath) -> Result<Metadata, Error> {
        Call::begin(&self.metrics, "stat", path).of(self.inner.stat(path)).await
    }

    async fn list(&self, directory: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
        Call::begin(&self.metrics, "list", directory).of(self.inner.list(directory, after, limit)).await
    }

    async fn look(&self, looks: &[Look]) -> Result<Vec<Seen>, Error> {
        let Some(first) = looks.first() else { return Ok(Vec::new()) };
        let seen = Call::begin(&self.metrics, "look", first.path()).of(self.inner.look(looks)).await?;
        let lengths = seen.iter().map(|seen| if let Seen::Content(content) = seen { content.len() } else { 0 });
        self.metrics.read(lengths.sum());
        Ok(seen)
    }

    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), Error> {
        let length = content.len();
        Call::begin(&self.metrics, "put", path).of(self.inner.put(path, content, durability)).await?;
        self.metrics.written(length);
        Ok(())
    }

    async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, Error> {
        let file = Call::begin(&self.metrics, "stage", &at.folder).of(self.inner.stage(at, started_at)).await?;
        Ok(self.file(file, at))
    }

    async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, Error> {
        let file = Call::begin(&self.metrics, "resume", &at.folder).of(self.inner.resume(at)).await?;
        Ok(self.file(file, at))
    }

    async fn last_use(&self, at: &Staging) -> Result<Timestamp, Error> {
        Call::begin(&self.metrics, "last_use", &at.folder).of(self.inner.last_use(at)).await
    }

    async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<Purge, Error> {
        Call::begin(&self.metrics, "purge", &at.folder).of(self.inner.purge(at, unused_since)).await
    }

    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error> {
        Call::begin(&self.metrics, "touch", path).of(self.inner.touch(path, modified)).await
    }

    async fn delete(&self, path: &StoragePath) -> Result<(), Error> {
        Call::begin(&self.metrics, "delete", path).of(self.inner.delete(path)).await
    }

    async fn delete_directory(&self, path: &StoragePath) -> Result<(), Error> {
        Call::begin(&self.metrics, "delete_directory", path).of(self.inner.delete_directory(path)).await
    }

    async fn signed_url(&self, path: &StoragePath, expires: Duration) -> Result<Option<String>, Error> {
        Call::begin(&self.metrics, "signed_url", path).of(self.inner.signed_url(path, expires)).await
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn ages_lost_at(&self) -> Option<Timestamp> {
        self.inner.ages_lost_at()
    }

    fn was_interrupted(&self) -> bool {
        self.inner.was_interrupted()
    }

    fn fenced(self: Arc<Self>) -> Arc<dyn StorageDriver> {
        Arc::new(Self { inner: Arc::clone(&self.inner).fenced(), metrics: self.metrics.clone() })
    }
}

/// Passes everything on to `inner`.
#[derive(Debug)]
struct InstrumentedFile {
    inner: Box<dyn StagedFile>,
    folder: StoragePath,
    metrics: DriverMetrics,
}

#[async_trait]
impl StagedFile for InstrumentedFile {
    fn length(&self) -> u64 {
        self.inner.length()
    }

    async fn kept_state(&self) -> Option<KeptState> {
        let state = async { Ok(self.inner.kept_state().await) };
        Call::begin(&self.metrics, "kept_state", &self.folder).of(state).await.ok().flatten()
    }

    async fn append(&mut self, chunk: Bytes) -> Result<(), Error> {
        let length = chunk.len();
        Call::begin(&self.metrics, "append", &self.folder).of(self.inner.append(chunk)).await?;
        self.metrics.written(length);
        Ok(())
    }

    async fn suspend(&mut self, state: Option<Bytes>) -> Result<(), Error> {
        Call::begin(&self.metrics, "suspend", &self.folder).of(self.inner.suspend(state)).await
    }

    async fn seal(&mut self) -> Result<Sealed, Error> {
        Call::begin(&self.metrics, "seal", &self.folder).of(self.inner.seal()).await
    }

    async fn read(&self, range: Range<u64>) -> Result<ByteStream, Error> {
        let stream = Call::begin(&self.metrics, "read_staged", &self.folder).of(self.inner.read(range)).await?;
        Ok(counted(stream, &self.metrics))
    }

    async fn publish(&mut self, target: &StoragePath) -> Result<(), Error> {
        Call::begin(&self.metrics, "publish", target).of(self.inner.publish(target)).await
    }

    async fn discard(&mut self) -> Result<(), Error> {
        Call::begin(&self.metrics, "discard", &self.folder).of(self.inner.discard()).await
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use crate::storage::{
        StorageMetrics,
        driver::{
            faulty::{Fault, FaultyDriver},
            memory::MemoryDriver,
            suite,
        },
        fixtures::ManualClock,
    };

    use super::*;

    fn instrumented(metrics: &StorageMetrics) -> (Arc<FaultyDriver>, Arc<InstrumentedDriver>) {
        let memory = Arc::new(MemoryDriver::new(Arc::new(ManualClock::new())));
        let faulty = Arc::new(FaultyDriver::new(memory));
        (faulty.clone(), Arc::new(InstrumentedDriver::new(faulty, metrics.driver.clone())))
    }

    fn page(metrics: &StorageMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        page
    }

    #[tokio::test]
    async fn the_suite_passes() {
        let metrics = StorageMetrics::new();
        suite::run(suite::Subject::alone(instrumented(&metrics).1)).await;
        let page = page(&metrics);
        for operation in ["get", "read", "stat", "list", "put", "stage", "resume", "append", "publish", "discard"] {
            let counted = format!("storage_operations_total{{operation=\"{operation}\",outcome=\"ok\"}}");
            assert!(page.contains(&counted), "{operation} in {page}");
        }
    }

    #[tokio::test]
    async fn failed_sync_shows_from_then_on() {
        let metrics = StorageMetrics::new();
        let (path, call): (StoragePath, _) = ("a/b".parse().unwrap(), |path| Call::begin(&metrics.driver, "put", path));
        assert!(call(&path).of(async { Ok(()) }).await.is_ok());
        assert!(!metrics.is_poisoned() && page(&metrics).contains("storage_poisoned 0"));
        assert!(call(&path).of(async { Err::<(), _>(Error::Poisoned) }).await.is_err());
        assert!(call(&path).of(async { Ok(()) }).await.is_ok());
        assert!(metrics.is_poisoned() && page(&metrics).contains("storage_poisoned 1"));
    }

    #[tokio::test]
    async fn calls_are_counted_by_how_they_ended() {
        let metrics = StorageMetrics::new();
        let (faulty, driver) = instrumented(&metrics);
        let path: StoragePath = "a/b".parse().unwrap();
        assert!(driver.get(&path).await.is_err());
        driver.put(&path, Bytes::from("flotsam"), Durability::Durable).await.unwrap();
        faulty.fail_once(0, Fault::Full);
        assert!(driver.put(&path, Bytes::from("jetsam"), Durability::Durable).await.is_err());
        let held = faulty.hold(|_| true);
        let mut touch = driver.touch(&path, Timestamp::UNIX_EPOCH);
        assert!(futures::poll!(&mut touch).is_pending(), "it is held");
        drop((touch, held));
        let page = page(&metrics);
        for line in [
            "storage_operations_total{operation=\"get\",outcome=\"not_found\"} 1",
            "storage_operations_total{operation=\"put\",outcome=\"ok\"} 1",
            "storage_operations_total{operation=\"put\",outcome=\"no_space\"} 1",
            "storage_operations_total{operation=\"touch\",outcome=\"cancelled\"} 1",
            "storage_operation_duration_seconds_count{operation=\"put\"} 2",
            "storage_written_bytes_total 7",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }
}
