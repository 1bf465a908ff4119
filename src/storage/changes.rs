//! Changes of membership that run in this process.

use std::{
    collections::HashSet,
    future::Future,
    panic,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use ulid::Ulid;

use crate::oci::{RepositoryName, Tag};

use super::{
    Error,
    guard::{Frozen, Key},
    pending::{Operation, Pending},
    store::Store,
};

/// The changes of membership that run in this process, and those that got stuck.
#[derive(Debug, Default)]
pub(super) struct Changes {
    tasks: TaskTracker,
    hidden: Mutex<HashSet<(RepositoryName, Tag)>>,
    parked: Mutex<Vec<Change>>,
}

/// A change that has begun: its `pending` record and its freeze stand.
#[derive(Debug)]
pub(super) struct Change {
    /// The name of its `pending` record, and of a delete's tombstone.
    pub(super) id: Ulid,
    /// What it is.
    pub(super) pending: Pending,
    /// What it changes. It ends with the `pending` record, never before it.
    pub(super) frozen: Frozen,
}

/// What became of a change that was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// Its tombstone stood, so the rest of the delete was done.
    Finished,
    /// Nothing was deleted.
    Dropped,
}

impl Changes {
    /// Runs a change to its end, whether or not the caller waits for it: a write that was given to the medium lands also
    /// when nobody listens any more, and it must not land after the guard was left.
    pub(super) async fn run<T: Send + 'static>(&self, change: impl Future<Output = T> + Send + 'static) -> T {
        match self.tasks.spawn(change).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            // The runtime is being taken down, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until every change that runs is over.
    pub(super) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// Hides tags from lists while their delete unlinks them.
    pub(super) fn hide(&self, pending: &Pending) {
        lock(&self.hidden).extend(pending.tags.iter().map(|tag| (pending.repository.clone(), tag.clone())));
    }

    fn unhide(&self, pending: &Pending) {
        let mut hidden = lock(&self.hidden);
        for tag in &pending.tags {
            hidden.remove(&(pending.repository.clone(), tag.clone()));
        }
    }

    /// Whether a delete is unlinking the tag.
    pub(super) fn hides(&self, name: &RepositoryName, tag: &Tag) -> bool {
        let hidden = lock(&self.hidden);
        !hidden.is_empty() && hidden.contains(&(name.clone(), tag.clone()))
    }
}

impl Store {
    /// Writes down that a change begins, then freezes what it changes.
    ///
    /// # Errors
    /// [`Error::Frozen`] where somebody was in the way for too long, [`Error::Driver`].
    pub(super) async fn begin(&self, id: Ulid, pending: Pending, keys: Vec<Key>) -> Result<Change, Error> {
        let frozen = match self.put_pending(id, &pending).await {
            Ok(()) => self.guard.freeze(keys).await,
            Err(error) => Err(error),
        };
        match frozen {
            Ok(frozen) => Ok(Change { id, pending, frozen }),
            Err(error) => {
                self.drop_pending(id).await;
                Err(error)
            }
        }
    }

    /// Undoes a change before anything but its `pending` record was written. Where even that cannot be removed it stays,
    /// and is dropped at the next start: without a tombstone it means nothing.
    pub(super) async fn undo(&self, change: Change) {
        self.drop_pending(change.id).await;
        drop(change.frozen);
    }

    async fn drop_pending(&self, id: Ulid) {
        if let Err(error) = self.remove_pending(id).await {
            warn!(%id, error = &error as &dyn std::error::Error, "could not undo a pending change");
        }
    }

    /// Ends a change whose last step failed. Where that fails too, its keys stay frozen until a later change, or the next
    /// start, settles it: what is half deleted must not be pushed over.
    pub(super) async fn settle_or_park(&self, change: Change) -> Option<Settled> {
        match self.settle(change.id, &change.pending).await {
            Ok(settled) => {
                self.changes.unhide(&change.pending);
                Some(settled)
            }
            Err(error) => {
                warn!(id = %change.id, error = &error as &dyn std::error::Error, "a change is stuck");
                lock(&self.changes.parked).push(change);
                None
            }
        }
    }

    /// Tries again to end what got stuck.
    pub(super) async fn settle_parked(&self) {
        let parked = std::mem::take(&mut *lock(&self.changes.parked));
        for change in parked {
            self.settle_or_park(change).await;
        }
    }

    /// Ends a change that was interrupted: with its tombstone a delete is finished, without checking again; anything else
    /// is dropped.
    pub(super) async fn settle(&self, id: Ulid, pending: &Pending) -> Result<Settled, Error> {
        let is_buried = pending.operation == Operation::Delete
            && self.has_tombstone(&pending.repository, &pending.digest, id).await?;
        if is_buried {
            self.unlink(pending).await?;
        }
        self.remove_pending(id).await?;
        Ok(if is_buried { Settled::Finished } else { Settled::Dropped })
    }

    /// Ends what the last process left half-done. Nobody is served before this is over.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(super) async fn recover(&self) -> Result<(), Error> {
        for (id, pending) in self.pendings().await? {
            let settled = self.settle(id, &pending).await?;
            info!(%id, repository = %pending.repository, digest = %pending.digest, ?settled, "ended an interrupted change");
        }
        Ok(())
    }

    /// Ends a change that went well. Where its `pending` record stays, so does its freeze, until it can be removed.
    pub(super) async fn complete(&self, change: Change) {
        if let Err(error) = self.remove_pending(change.id).await {
            warn!(id = %change.id, error = &error as &dyn std::error::Error, "could not end a pending change");
            lock(&self.changes.parked).push(change);
            return;
        }
        self.changes.unhide(&change.pending);
        drop(change.frozen);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
