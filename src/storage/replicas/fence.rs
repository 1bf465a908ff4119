//! The medium, as a delete or restore writes to it.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{self, BoxFuture};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::storage::{
    Clock, Error, Timing,
    driver::{
        self, ByteStream, Durability, Entry, Look, Metadata, Seen, StagedFile, Staging, StorageDriver, StoragePath,
    },
    layout::PathSpec,
    store::Store,
};

use super::Term;

/// How often a write is tried whose outcome is not known. Each attempt asks for the lease anew.
const MAX_ATTEMPTS: u32 = 3;

/// How often a write is tried that the medium says it has not begun with: with pauses that double from half a second, 8 s
/// in all. Stores that ask for fewer requests want that for a few seconds.
const MAX_REFUSALS: u32 = 5;

/// What a write may do that was repeated, when its first attempt lands after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// It undoes what others did since: nobody may rely on the keys until it cannot land any more.
    Harms,
    /// It is a file of a name that is given once. One operation writes it, and that knows what became of the repetition.
    IsTheSame,
    /// A `pending` record that comes back when its change is over would be taken for a change that died. So it is not
    /// repeated: the change takes another name.
    Misleads,
    /// It removes what nobody writes again, or is a marker of a collection.
    Nothing,
}

impl Late {
    fn put(path: &StoragePath) -> Self {
        if PathSpec::is_pending(path) {
            Self::Misleads
        } else if PathSpec::is_collection_marker(path) {
            Self::Nothing
        } else if PathSpec::is_named_once(path) {
            Self::IsTheSame
        } else {
            Self::Harms
        }
    }

    fn removal(path: &StoragePath) -> Self {
        let is_harmless = PathSpec::is_named_once(path) || PathSpec::is_collection_marker(path);
        if is_harmless { Self::Nothing } else { Self::Harms }
    }
}

/// What the writes of one delete or restore need, and what is not known of them.
#[derive(Debug)]
pub(in crate::storage) struct Fence {
    term: Arc<Term>,
    clock: Arc<dyn Clock>,
    timing: Timing,
    /// Until when a write whose answer did not come may still land.
    uncertain_until: Mutex<Option<Duration>>,
}

impl Fence {
    /// The term in which the change began.
    pub(in crate::storage) fn term(&self) -> &Arc<Term> {
        &self.term
    }

    /// Whether a write may still land whose answer did not come. While it may, nobody may rely on the keys.
    pub(in crate::storage) fn is_uncertain(&self) -> bool {
        let until = *self.uncertain_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| self.clock.boot_time() < until)
    }

    /// Waits until [`Self::is_uncertain`] is over; whether it is. `stop` ends the wait, and so does the end of the lease,
    /// after which nothing can be said any more.
    pub(in crate::storage) async fn certainty(&self, stop: &CancellationToken) -> bool {
        while self.is_uncertain() {
            if stop.is_cancelled() || !self.term.is_valid() {
                return false;
            }
            let stopped = stop.cancelled();
            futures::pin_mut!(stopped);
            future::select(stopped, self.clock.sleep(self.timing.beat)).await;
        }
        true
    }

    fn check(&self, path: &StoragePath) -> Result<(), driver::Error> {
        if self.term.is_valid() { Ok(()) } else { Err(driver::Error::Fenced { path: path.clone() }) }
    }

    fn note_uncertain(&self) {
        let until = self.clock.boot_time() + self.timing.removal_bound;
        *self.uncertain_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

impl Store {
    /// The same store for a delete or restore that begins now: every write asks for the lease of the present term, and
    /// goes through the client that does not try again by itself. Where there is nobody to ask, the store as it is.
    ///
    /// # Errors
    /// [`Error::NoLease`].
    pub(in crate::storage) fn for_change(self: &Arc<Self>) -> Result<Arc<Self>, Error> {
        let (Some(term), None) = (self.term()?, &self.fence) else { return Ok(Arc::clone(self)) };
        Ok(self.fenced_by(term).0)
    }

    /// The same for what ends with the lease of this term, and what is not known of its writes.
    pub(super) fn fenced_by(self: &Arc<Self>, term: Arc<Term>) -> (Arc<Self>, Arc<Fence>) {
        let (clock, timing) = (Arc::clone(&self.clock), self.timing);
        let fence = Arc::new(Fence { term, clock, timing, uncertain_until: Mutex::default() });
        let driver = FencedDriver {
            reads: Arc::clone(&self.driver),
            writes: Arc::clone(&self.fenced),
            fence: Arc::clone(&fence),
        };
        let store = Self { driver: Arc::new(driver), fence: Some(Arc::clone(&fence)), ..(**self).clone() };
        (Arc::new(store), fence)
    }
}

impl Store {
    /// Writes a file of a push that others may write or remove afterwards. A client that tries again by itself would be
    /// answered, and its first attempt might land after all that came later; so one whose outcome is not known is the
    /// last one, and its push is not answered (the model's `late` configurations).
    ///
    /// # Errors
    /// [`Error::Uncertain`]; [`Error::Driver`] where nothing was written, and will not be.
    pub(in crate::storage) async fn put_once(&self, path: &StoragePath, content: Bytes) -> Result<(), Error> {
        let mut refusals = 0;
        loop {
            let error = match self.fenced.put(path, content.clone(), Durability::Durable).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !has_no_effect(&error) {
                return Err(Error::Uncertain { source: error });
            }
            let waited = wait_after_refusal(&*self.clock, &self.timing, &mut refusals, path, error).await;
            waited.map_err(|error| Error::driver("write a link", error))?;
        }
    }
}

/// Reads as anybody does; before each write the lease is asked for.
#[derive(Debug)]
struct FencedDriver {
    reads: Arc<dyn StorageDriver>,
    writes: Arc<dyn StorageDriver>,
    fence: Arc<Fence>,
}

impl FencedDriver {
    /// All writes here can be repeated: they put the same, or remove.
    async fn write<'a, T>(
        &'a self,
        path: &'a StoragePath,
        late: Late,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, driver::Error>> + Send + Sync,
    ) -> Result<T, driver::Error> {
        let (mut attempts, mut refusals) = (0, 0);
        loop {
            self.fence.check(path)?;
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) if has_no_effect(&error) => {
                    wait_after_refusal(&*self.fence.clock, &self.fence.timing, &mut refusals, path, error).await?;
                    continue;
                }
                Err(error) => error,
            };
            attempts += 1;
            let is_last = attempts == MAX_ATTEMPTS || late == Late::Misleads;
            if late == Late::Harms || late == Late::IsTheSame && is_last {
                self.fence.note_uncertain();
            }
            if is_last {
                return Err(error);
            }
            self.fence.clock.sleep(pause(&self.fence.timing)).await;
        }
    }

    /// One file at a time: a removal of many in one call would not ask for the lease between them.
    fn remove_files<'a>(&'a self, folder: &'a StoragePath) -> BoxFuture<'a, Result<(), driver::Error>> {
        Box::pin(async move {
            let entries = match self.reads.list(folder, None, usize::MAX).await {
                Ok(entries) => entries,
                Err(driver::Error::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            for entry in entries {
                let Ok(name) = entry.name.parse() else { continue };
                let path = folder.child(&name);
                if entry.is_directory {
                    self.remove_files(&path).await?;
                } else {
                    match self.delete(&path).await {
                        Ok(()) | Err(driver::Error::NotFound { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(())
        })
    }
}

/// Waits before a write is tried again that the medium has not begun with; its error, where that is of no use, or was
/// tried often enough.
async fn wait_after_refusal(
    clock: &dyn Clock,
    timing: &Timing,
    refusals: &mut u32,
    path: &StoragePath,
    error: driver::Error,
) -> Result<(), driver::Error> {
    if !matches!(error, driver::Error::Busy { .. }) || *refusals + 1 >= MAX_REFUSALS {
        return Err(error);
    }
    debug!(%path, error = &error as &dyn std::error::Error, "the store asks to wait");
    clock.sleep(pause(timing) * 2_u32.pow(*refusals)).await;
    *refusals += 1;
    Ok(())
}

/// The first wait before a write is tried again.
fn pause(timing: &Timing) -> Duration {
    timing.beat / 10
}

/// Whether a write that failed this way has not landed, and will not.
fn has_no_effect(error: &driver::Error) -> bool {
    use driver::Error as E;
    match error {
        E::NotFound { .. }
        | E::NoSpace { .. }
        | E::ReadOnly { .. }
        | E::Busy { .. }
        | E::Rejected { .. }
        | E::Denied { .. }
        | E::Poisoned
        | E::Fenced { .. } => true,
        E::Unavailable { .. } | E::Io { .. } => false,
    }
}

#[async_trait]
impl StorageDriver for FencedDriver {
    async fn get(&self, path: &StoragePath) -> Result<Bytes, driver::Error> {
        self.reads.get(path).await
    }

    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, driver::Error> {
        self.reads.read(path, range).await
    }

    async fn stat(&self, path: &StoragePath) -> Result<Metadata, driver::Error> {
        self.reads.stat(path).await
    }

    async fn list(&self, folder: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, driver::Error> {
        self.reads.list(folder, after, limit).await
    }

    async fn look(&self, looks: &[Look]) -> Result<Vec<Seen>, driver::Error> {
        self.reads.look(looks).await
    }

    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), driver::Error> {
        self.write(path, Late::put(path), || Box::pin(self.writes.put(path, content.clone(), durability))).await
    }

    async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, driver::Error> {
        self.reads.stage(at, started_at).await
    }

    async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, driver::Error> {
        self.reads.resume(at).await
    }

    async fn last_use(&self, at: &Staging) -> Result<Timestamp, driver::Error> {
        self.reads.last_use(at).await
    }

    async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<driver::Purge, driver::Error> {
        self.reads.purge(at, unused_since).await
    }

    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), driver::Error> {
        self.write(path, Late::Harms, || Box::pin(self.writes.touch(path, modified))).await
    }

    async fn delete(&self, path: &StoragePath) -> Result<(), driver::Error> {
        self.write(path, Late::removal(path), || Box::pin(self.writes.delete(path))).await
    }

    async fn delete_directory(&self, path: &StoragePath) -> Result<(), driver::Error> {
        self.remove_files(path).await
    }
    async fn signed_url(&self, path: &StoragePath, expires: Duration) -> Result<Option<String>, driver::Error> {
        self.reads.signed_url(path, expires).await
    }

    fn is_shared(&self) -> bool {
        self.reads.is_shared()
    }

    fn fenced(self: Arc<Self>) -> Arc<dyn StorageDriver> {
        self
    }
}
