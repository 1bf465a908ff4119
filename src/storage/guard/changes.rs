//! Changes of membership that run in this process.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    panic,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, info, warn};
use ulid::Ulid;

use crate::oci::{RepositoryName, Tag};

use super::pending::Pending;
use crate::storage::{Error, Holder, store::Store};

/// How many names a change tries whose `pending` record was written, or not: nobody knows.
const MAX_NAMES: u32 = 3;

/// The changes of membership that run in this process, and those that got stuck.
#[derive(Debug, Default)]
pub(in crate::storage) struct Changes {
    tasks: TaskTracker,
    hidden: Mutex<HashSet<(RepositoryName, Tag)>>,
    running: Mutex<HashSet<Ulid>>,
    /// Changes that nobody runs and whose replica is not known to be gone: since when that was seen.
    strays: Mutex<HashMap<Ulid, Duration>>,
    stuck: Mutex<VecDeque<Stuck>>,
}

/// A change that has begun: its `pending` record stands, and what it changes is frozen for as long as that does.
#[derive(Debug)]
pub(in crate::storage) struct Change {
    /// The name of its `pending` record, and of a delete's tombstone.
    pub(in crate::storage) id: Ulid,
    /// What it is.
    pub(in crate::storage) pending: Pending,
}

/// A change that could not be ended, and the store by which it is tried again.
#[derive(Debug)]
struct Stuck {
    store: Arc<Store>,
    change: Change,
}

/// What became of a change that was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Settled {
    /// Its tombstone stood, so the rest of the delete was done.
    Finished,
    /// Nothing was deleted.
    Dropped,
}

impl Changes {
    /// Runs a change to its end, whether or not the caller waits for it: a write that was given to the medium lands also
    /// when nobody listens any more, and it must not land after the guard was left.
    pub(in crate::storage) async fn run<T: Send + 'static>(
        &self,
        change: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.tasks.spawn(change.in_current_span()).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            // The runtime is being taken down, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        }
    }

    /// As [`Self::run`], for whom nobody waits but [`Self::drain`].
    pub(in crate::storage) fn begin_to_end(&self, change: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(change);
    }

    /// Waits until every change that runs is over.
    pub(in crate::storage) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// Hides tags from lists while their delete unlinks them.
    pub(in crate::storage) fn hide(&self, pending: &Pending) {
        let Some((name, _)) = pending.deleted() else { return };
        lock(&self.hidden).extend(pending.tags.iter().map(|tag| (name.clone(), tag.clone())));
    }

    fn unhide(&self, pending: &Pending) {
        let Some((name, _)) = pending.deleted() else { return };
        let mut hidden = lock(&self.hidden);
        for tag in &pending.tags {
            hidden.remove(&(name.clone(), tag.clone()));
        }
    }

    /// Whether a delete of this process is unlinking the tag.
    pub(in crate::storage) fn hides(&self, name: &RepositoryName, tag: &Tag) -> bool {
        let hidden = lock(&self.hidden);
        !hidden.is_empty() && hidden.contains(&(name.clone(), tag.clone()))
    }

    /// Whether this process is at a change, or will be again.
    pub(in crate::storage) fn is_running(&self, id: Ulid) -> bool {
        lock(&self.running).contains(&id)
    }

    /// Since when a change was seen that nobody runs.
    pub(in crate::storage) fn stray_since(&self, id: Ulid, now: Duration) -> Duration {
        *lock(&self.strays).entry(id).or_insert(now)
    }

    /// Notes that this process is at a collection, until [`Self::ended`].
    pub(in crate::storage) fn began(&self, id: Ulid) {
        lock(&self.running).insert(id);
    }

    /// Notes that this process is at a collection no more.
    pub(in crate::storage) fn ended(&self, id: Ulid) {
        lock(&self.running).remove(&id);
    }

    /// Forgets since when something was seen that nobody runs.
    pub(in crate::storage) fn forget_stray(&self, id: Ulid) {
        lock(&self.strays).remove(&id);
    }

    fn is_over(&self, change: &Change) {
        self.unhide(&change.pending);
        lock(&self.running).remove(&change.id);
        lock(&self.strays).remove(&change.id);
    }
}

impl Store {
    /// Writes down that a change begins, then freezes what it changes, everywhere.
    ///
    /// # Errors
    /// [`Error::Frozen`] where somebody was in the way for too long, [`Error::NoLease`], [`Error::Driver`].
    pub(in crate::storage) async fn begin(&self, id: Ulid, pending: Pending) -> Result<Change, Error> {
        let mut change = Change { id, pending: Pending { replica: self.own_id(), ..pending } };
        let mut noted = self.note(&change).await;
        for _ in 1..MAX_NAMES {
            if noted.is_ok() || self.fence.is_none() || matches!(noted, Err(Error::NoLease)) {
                break;
            }
            // It may be there, or come to be, and must not be taken for what begins now: of that name nothing is buried.
            self.forget_note(&change).await;
            change.id = self.ids.next(self.clock.now());
            noted = self.note(&change).await;
        }
        let after = change.pending.resumes.map(Holder::Pending);
        let frozen = match noted {
            Ok(()) => self.freeze_everywhere(Holder::Pending(change.id), after, change.pending.keys()).await,
            Err(error) => Err(error),
        };
        match frozen {
            Ok(()) => Ok(change),
            Err(error) => {
                self.undo(change).await;
                Err(error)
            }
        }
    }

    async fn note(&self, change: &Change) -> Result<(), Error> {
        lock(&self.changes.running).insert(change.id);
        self.put_pending(change.id, &change.pending).await
    }

    async fn forget_note(&self, change: &Change) {
        if let Err(error) = self.remove_pending(change.id).await {
            let id = change.id;
            warn!(%id, error = &error as &dyn std::error::Error, "could not undo a pending change");
        }
        self.changes.is_over(change);
    }

    /// Undoes a change before anything but its `pending` record was written. Where even that cannot be removed it stays,
    /// and is dropped later: without a tombstone it means nothing.
    pub(in crate::storage) async fn undo(&self, change: Change) {
        self.forget_note(&change).await;
        self.thaw_everywhere(Holder::Pending(change.id)).await;
    }

    /// Ends a change whose last step failed. Where that fails too, its keys stay frozen until it is tried again, or the
    /// next start settles it: what is half deleted must not be pushed over.
    pub(in crate::storage) async fn settle_or_park(self: &Arc<Self>, change: Change) -> Option<Settled> {
        match self.settle(&change).await {
            Ok(settled) => {
                self.complete(change).await;
                Some(settled)
            }
            Err(error) => {
                self.park(change, &error);
                None
            }
        }
    }

    /// Without a lease it is for another replica to end it: that sees the `pending` record.
    fn park(self: &Arc<Self>, change: Change, error: &Error) {
        let id = change.id;
        warn!(%id, error = error as &dyn std::error::Error, "a change is stuck");
        if matches!(error, Error::NoLease) {
            self.changes.is_over(&change);
        } else {
            lock(&self.changes.stuck).push_back(Stuck { store: Arc::clone(self), change });
        }
    }

    /// Tries again to end what got stuck, where no replica's life does.
    pub(in crate::storage) async fn settle_parked(&self) {
        if self.replicas.is_none() {
            self.settle_stuck().await;
        }
    }

    /// Tries again to end what got stuck. Whoever waits for it may go, as a replica's life does when its lease lapses: what
    /// is tried then comes to an end by itself, and the rest stays.
    pub(in crate::storage) async fn settle_stuck(&self) {
        let count = lock(&self.changes.stuck).len();
        for _ in 0..count {
            let first = lock(&self.changes.stuck).pop_front();
            let Some(Stuck { store, change }) = first else { break };
            self.changes.run(async move { store.settle_or_park(change).await }).await;
        }
    }

    /// Ends a change that was interrupted, but for its `pending` record: with its tombstone a delete is finished, without
    /// checking again; anything else is dropped.
    async fn settle(&self, change: &Change) -> Result<Settled, Error> {
        let id = change.pending.resumes.unwrap_or(change.id);
        if !self.is_buried(id, &change.pending).await? {
            // While its tombstone may still land, so that it would be finished, it has to be found.
            if !self.fence.as_ref().is_some_and(|fence| fence.is_uncertain()) {
                self.unlist_dropped(id, &change.pending).await;
            }
            return Ok(Settled::Dropped);
        }
        self.unlink(&change.pending).await?;
        if let Some(resumed) = change.pending.resumes {
            self.remove_pending(resumed).await?;
            self.thaw_everywhere(Holder::Pending(resumed)).await;
        }
        Ok(Settled::Finished)
    }

    /// Whether a change is a delete that has written its tombstone.
    pub(in crate::storage) async fn is_buried(&self, id: Ulid, pending: &Pending) -> Result<bool, Error> {
        match pending.deleted() {
            Some((name, subject)) => self.has_tombstone(name, &subject.digest, id).await,
            None => Ok(false),
        }
    }

    /// Ends what the last process left half-done. Nobody is served before this is over.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn recover(&self) -> Result<(), Error> {
        for (id, pending) in self.pendings().await? {
            let change = Change { id, pending };
            let settled = self.settle(&change).await?;
            self.remove_pending(id).await?;
            let Pending { operation, repository, subject, .. } = change.pending;
            let repository = repository.map(|name| name.to_string()).unwrap_or_default();
            let digest = subject.map(|subject| subject.digest.to_string()).unwrap_or_default();
            info!(%id, ?operation, repository, digest, ?settled, "ended an interrupted change");
        }
        Ok(())
    }

    /// Ends a change whose every write is done. Where one may still land that was not answered, or where its `pending`
    /// record stays, so does its freeze, until neither is so.
    pub(in crate::storage) async fn complete(self: &Arc<Self>, change: Change) {
        if self.fence.as_ref().is_some_and(|fence| fence.is_uncertain()) {
            lock(&self.changes.stuck).push_back(Stuck { store: Arc::clone(self), change });
            return;
        }
        if let Err(error) = self.remove_pending(change.id).await {
            return self.park(change, &error);
        }
        self.changes.is_over(&change);
        self.thaw_everywhere(Holder::Pending(change.id)).await;
    }

    fn own_id(&self) -> Option<Ulid> {
        self.fence.as_ref().map(|fence| fence.term().id())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
