//! A decorator whose writes fail when a test says so.

use std::{
    fmt, io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    ByteStream, Durability, Entry, Error, Metadata, Purge, StagedFile, Staging, StorageDriver, StoragePath,
    appended_file::{AppendedFile, Appending},
    memory::MemoryDriver,
};

/// How a write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Fault {
    /// It has no effect.
    Refused,
    /// As refused, because the medium is full.
    Full,
    /// It takes effect, and yet reports an error, as a request whose answer was lost.
    Ambiguous,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    /// How many more writes succeed.
    after: u64,
    fault: Fault,
    /// Whether the writes after the failing one fail too, as in a process that died.
    and_all_later: bool,
}

#[derive(Debug, Default)]
struct Progress {
    writes: u64,
    lists: u64,
    listed: u64,
    bytes_got: u64,
    /// How many more reads and lists succeed before one fails.
    reads_left: Option<u64>,
    plan: Option<Plan>,
}

/// The faults to come, shared by a driver and its staged files.
#[derive(Debug, Default)]
struct Faults {
    progress: Mutex<Progress>,
    hold: Mutex<Option<Hold>>,
    /// What cannot be read until it is written anew.
    unreadable: Mutex<Option<StoragePath>>,
}

/// A write that waits: `reached` says that it does, and it goes on when `go` is sent or dropped.
pub(in crate::storage) struct HeldWrite {
    pub(in crate::storage) reached: oneshot::Receiver<()>,
    pub(in crate::storage) go: oneshot::Sender<()>,
}

struct Hold {
    /// Says of a write whether it is the one.
    chosen: Box<dyn FnMut(&StoragePath) -> bool + Send>,
    reached: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

/// Passes everything on to `inner`, except the writes that are to fail.
#[derive(Debug, Clone)]
pub(in crate::storage) struct FaultyDriver {
    inner: Arc<MemoryDriver>,
    faults: Arc<Faults>,
}

impl FaultyDriver {
    pub(in crate::storage) fn new(inner: Arc<MemoryDriver>) -> Self {
        Self { inner, faults: Arc::default() }
    }

    /// Lets the first write that is `chosen` wait.
    pub(in crate::storage) fn hold(&self, chosen: impl FnMut(&StoragePath) -> bool + Send + 'static) -> HeldWrite {
        let ((reached, is_reached), (go, goes)) = (oneshot::channel(), oneshot::channel());
        *lock(&self.faults.hold) = Some(Hold { chosen: Box::new(chosen), reached, go: goes });
        HeldWrite { reached: is_reached, go }
    }

    /// Lets the write after the next `after` ones fail, and no other.
    pub(in crate::storage) fn fail_once(&self, after: u64, fault: Fault) {
        self.set(Some(Plan { after, fault, and_all_later: false }));
    }

    /// Lets the write after the next `after` ones fail, and none succeed after it, until [`Self::heal`].
    pub(in crate::storage) fn crash(&self, after: u64, fault: Fault) {
        self.set(Some(Plan { after, fault, and_all_later: true }));
    }

    /// Lets the read, look or list after the next `after` ones fail, and no other. Whether it has is told by
    /// [`Self::has_failed_to_read`].
    pub(in crate::storage) fn fail_one_read(&self, after: u64) {
        self.faults.lock().reads_left = Some(after);
    }

    pub(in crate::storage) fn has_failed_to_read(&self) -> bool {
        self.faults.lock().reads_left.is_none()
    }

    /// Lets a file be there and not be readable, until another one is in its place.
    pub(in crate::storage) fn lock_up(&self, path: StoragePath) {
        *lock(&self.faults.unreadable) = Some(path);
    }

    /// Lets all writes succeed again.
    pub(in crate::storage) fn heal(&self) {
        self.set(None);
    }

    /// How many writes there were, failed ones included.
    pub(in crate::storage) fn writes(&self) -> u64 {
        self.faults.lock().writes
    }

    /// How many folders were listed.
    pub(in crate::storage) fn lists(&self) -> u64 {
        self.faults.lock().lists
    }

    /// How many names the lists had, in all.
    pub(in crate::storage) fn listed(&self) -> u64 {
        self.faults.lock().listed
    }

    /// How many bytes were read from files that were read whole.
    pub(in crate::storage) fn bytes_got(&self) -> u64 {
        self.faults.lock().bytes_got
    }

    fn set(&self, plan: Option<Plan>) {
        self.faults.lock().plan = plan;
    }
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }

    /// Counts a read; whether it succeeds.
    fn read(&self, path: &StoragePath) -> Result<(), Error> {
        let mut progress = self.lock();
        match progress.reads_left {
            None => Ok(()),
            Some(0) => {
                progress.reads_left = None;
                let source = io::Error::other("injected fault");
                Err(Error::Io { action: "read", path: path.clone(), source })
            }
            Some(left) => {
                progress.reads_left = Some(left - 1);
                Ok(())
            }
        }
    }

    /// Takes the hold, where it is meant for this write.
    fn held(&self, path: &StoragePath) -> Option<Hold> {
        lock(&self.hold).take_if(|hold| (hold.chosen)(path))
    }

    /// Counts a write; how it is to fail.
    fn next(&self) -> Option<Fault> {
        let mut progress = self.lock();
        progress.writes += 1;
        let plan = progress.plan.as_mut()?;
        if plan.after > 0 {
            plan.after -= 1;
            return None;
        }
        let fault = plan.fault;
        if plan.and_all_later {
            // What is full stays full.
            plan.fault = if fault == Fault::Full { fault } else { Fault::Refused };
        } else {
            progress.plan = None;
        }
        Some(fault)
    }

    async fn write<T: Send>(
        &self,
        path: &StoragePath,
        write: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        if let Some(hold) = self.held(path) {
            let _ = hold.reached.send(());
            let _ = hold.go.await;
        }
        let fault = self.next();
        match fault {
            None => return write.await,
            Some(Fault::Full) => return Err(Error::NoSpace { path: path.clone() }),
            Some(Fault::Refused) => {}
            Some(Fault::Ambiguous) => drop(write.await),
        }
        Err(Error::Io { action: "write", path: path.clone(), source: io::Error::other("injected fault") })
    }
}

#[async_trait]
impl StorageDriver for FaultyDriver {
    async fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
        self.faults.read(path)?;
        let content = self.inner.get(path).await?;
        self.faults.lock().bytes_got += content.len() as u64;
        Ok(content)
    }

    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, Error> {
        if lock(&self.faults.unreadable).as_ref() == Some(path) {
            let source = io::ErrorKind::PermissionDenied.into();
            return Err(Error::Io { action: "open", path: path.clone(), source });
        }
        self.inner.read(path, range).await
    }

    async fn stat(&self, path: &StoragePath) -> Result<Metadata, Error> {
        self.faults.read(path)?;
        self.inner.stat(path).await
    }

    async fn list(&self, directory: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
        self.faults.read(directory)?;
        self.faults.lock().lists += 1;
        let entries = self.inner.list(directory, after, limit).await?;
        self.faults.lock().listed += entries.len() as u64;
        Ok(entries)
    }

    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), Error> {
        self.faults.write(path, self.inner.put(path, content, durability)).await
    }

    async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, Error> {
        Ok(Box::new(AppendedFile::stage(self.clone(), at, started_at).await?))
    }

    async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, Error> {
        Ok(Box::new(AppendedFile::resume(self.clone(), at).await?))
    }

    async fn last_use(&self, at: &Staging) -> Result<Timestamp, Error> {
        self.inner.last_use(at).await
    }

    async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<Purge, Error> {
        self.faults.write(&at.folder, self.inner.purge(at, unused_since)).await
    }

    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error> {
        self.faults.write(path, self.inner.touch(path, modified)).await
    }

    async fn delete(&self, path: &StoragePath) -> Result<(), Error> {
        self.faults.write(path, self.inner.delete(path)).await
    }

    async fn delete_directory(&self, path: &StoragePath) -> Result<(), Error> {
        self.faults.write(path, self.inner.delete_directory(path)).await
    }

    async fn signed_url(&self, path: &StoragePath, expires: Duration) -> Result<Option<String>, Error> {
        self.inner.signed_url(path, expires).await
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
        self
    }
}

#[async_trait]
impl Appending for FaultyDriver {
    async fn append(&self, path: &StoragePath, offset: u64, chunk: Bytes) -> Result<(), Error> {
        self.faults.write(path, self.inner.append(path, offset, chunk)).await
    }

    async fn sync(&self, path: &StoragePath) -> Result<(), Error> {
        self.faults.write(path, self.inner.sync(path)).await
    }

    async fn rename(&self, from: &StoragePath, target: &StoragePath) -> Result<(), Error> {
        lock(&self.faults.unreadable).take_if(|path| path == target);
        self.faults.write(target, self.inner.rename(from, target)).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
