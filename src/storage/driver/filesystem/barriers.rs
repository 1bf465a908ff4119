//! What can be seen already, and is not durable yet.
//!
//! Existence is not durability (docs/protocol.md, *Promises*): a request that finds what another one is still writing
//! must not promise it before that other request's syncs are done. A write opens a barrier before its file appears, and
//! closes it when the file is durable; a reader that found the file waits for the barrier to close.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::storage::driver::StoragePath;

/// The files that are being made durable.
#[derive(Debug, Default)]
pub(super) struct OpenBarriers(Mutex<HashMap<StoragePath, Waiters>>);

#[derive(Debug)]
struct Waiters {
    /// How many writes hold it open.
    writers: usize,
    /// Dropped when it closes, which every receiver notices.
    closed: watch::Sender<()>,
}

/// An open barrier, until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it closes the barrier"]
pub(super) struct Barrier<'a> {
    barriers: &'a OpenBarriers,
    path: StoragePath,
}

impl OpenBarriers {
    /// Opens a barrier, to be called before the file can be seen.
    pub(super) fn open(&self, path: &StoragePath) -> Barrier<'_> {
        let mut open = self.lock();
        let waiters =
            open.entry(path.clone()).or_insert_with(|| Waiters { writers: 0, closed: watch::Sender::default() });
        waiters.writers += 1;
        Barrier { barriers: self, path: path.clone() }
    }

    /// Waits until no barrier of the file is open, to be called after it was seen.
    pub(super) async fn closed(&self, path: &StoragePath) {
        let waiter = self.lock().get(path).map(|waiters| waiters.closed.subscribe());
        if let Some(mut closed) = waiter {
            // An error is the sender's end, which is what is waited for.
            let _ = closed.changed().await;
        }
    }

    /// What ends when the barriers of the files are closed that are open now.
    pub(super) fn open_of<'a>(&self, paths: impl Iterator<Item = &'a StoragePath>) -> Vec<watch::Receiver<()>> {
        let open = self.lock();
        if open.is_empty() {
            return Vec::new();
        }
        paths.filter_map(|path| open.get(path)).map(|waiters| waiters.closed.subscribe()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StoragePath, Waiters>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Barrier<'_> {
    fn drop(&mut self) {
        let mut open = self.barriers.lock();
        if let Some(waiters) = open.get_mut(&self.path) {
            waiters.writers -= 1;
            if waiters.writers == 0 {
                open.remove(&self.path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_reader_waits_until_the_last_writer_is_done() {
        let barriers = OpenBarriers::default();
        let path: StoragePath = "a/b".parse().unwrap();
        let (first, second) = (barriers.open(&path), barriers.open(&path));
        let mut reader = Box::pin(barriers.closed(&path));
        assert!(reader.as_mut().now_or_never().is_none());
        assert!(barriers.closed(&"a/c".parse().unwrap()).now_or_never().is_some(), "another file");
        drop(first);
        assert!(reader.as_mut().now_or_never().is_none());
        drop(second);
        reader.await;
        assert!(barriers.closed(&path).now_or_never().is_some());
    }
}
