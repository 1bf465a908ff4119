//! Whether the store still takes writes.

use std::{
    io,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::io::Errno;
use tracing::error;

use crate::storage::driver::{Error, StoragePath};

/// The state of a store, from its opening to its end.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// A sync failed. What the medium holds is uncertain, and asking again would be answered with success although the
    /// data is lost (the kernel reports a failed write-back once), so this never goes away.
    poisoned: AtomicBool,
    /// Held shared by each write; whether the store was closed.
    closed: RwLock<bool>,
}

/// A write that has begun. The store is not closed before it is dropped.
#[derive(Debug)]
#[must_use = "a write lasts as long as this"]
pub(super) struct Writing<'a>(#[expect(dead_code, reason = "held for its drop")] RwLockReadGuard<'a, bool>);

impl Health {
    /// Begins a write.
    pub(super) fn begin(&self, path: &StoragePath) -> Result<Writing<'_>, Error> {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if self.is_poisoned() {
            return Err(Error::Poisoned);
        }
        if *closed {
            let source = io::Error::other("the store is closed");
            return Err(Error::Io { action: "write", path: path.clone(), source });
        }
        Ok(Writing(closed))
    }

    /// Whether a sync failed.
    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }

    /// What a sync that was made for `path` came to: if it failed, nothing is written any more.
    pub(super) fn after_sync(&self, path: &StoragePath, synced: Result<(), Errno>) -> Result<(), Error> {
        synced.map_err(|errno| {
            self.poisoned.store(true, Ordering::SeqCst);
            error!(%path, error = &io::Error::from(errno) as &dyn std::error::Error, "a sync failed: no more writes");
            Error::Poisoned
        })
    }

    /// Waits for the writes that have begun, refuses those to come, and then calls `last` if every write is durable.
    pub(super) fn close<T>(&self, last: impl FnOnce() -> io::Result<T>) -> io::Result<Option<T>> {
        let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
        let is_clean = !*closed && !self.is_poisoned();
        *closed = true;
        is_clean.then(last).transpose()
    }
}
