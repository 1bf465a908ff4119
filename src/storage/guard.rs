//! Who relies on what, and who removes what (PROTOCOL.md, *Being a replica*).
//!
//! An operation [enters](Guard::enter) all keys that it relies on; a delete or restore [freezes](Guard::freeze) those
//! that it changes. Operations share a key, a freeze has it alone.
//!
//! # Guarantees
//! - A request gets all of its keys at once or none, so two requests cannot each hold what the other one needs.
//! - Requests for the same key are served in the order in which they came: a freeze waits for what is in flight, what
//!   comes later waits for the freeze. Nobody starves. Only who [joins](Guard::join) does not queue.
//! - Whatever is dropped (a future that waits, an [`Entered`], a [`Frozen`]) gives up its keys at that moment.
//!
//! # Assumptions
//! An operation asks once, with all its keys. One that waits while it holds may wait for somebody who waits for it;
//! [`Timing::guard_wait`](super::Timing) ends that, with an error. A restore does hold its freeze while it relies on the
//! blobs of its closure, so it [joins](Guard::join) them: it waits only for who holds their freeze, which is the delete
//! or restore of a blob, and that waits for nobody.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::timeout};

use crate::oci::{Digest, RepositoryName, Tag};

use super::Error;

/// What operations rely on and deletes freeze.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Key {
    /// The bytes of a blob, in whichever repository.
    Blob(Digest),
    /// The membership of a manifest, or of a blob, in a repository.
    Revision(RepositoryName, Digest),
    /// What a tag points to.
    Tag(RepositoryName, Tag),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(digest) => digest.fmt(f),
            Self::Revision(repository, digest) => write!(f, "{repository}@{digest}"),
            Self::Tag(repository, tag) => write!(f, "{repository}:{tag}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Enter,
    Join,
    Freeze,
}

/// The guard of one process. Clones are the same guard.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    state: Arc<Mutex<State>>,
    wait: Duration,
}

/// Keys that an operation relies on, until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it leaves the keys"]
pub(super) struct Entered(#[expect(dead_code, reason = "held for its drop")] Request);

/// Keys that a delete or restore changes, until this is dropped: the thaw.
#[derive(Debug)]
#[must_use = "dropping it thaws the keys"]
pub(super) struct Frozen(#[expect(dead_code, reason = "held for its drop")] Request);

impl Guard {
    /// A guard whose requests wait for at most `wait`.
    pub(super) fn new(wait: Duration) -> Self {
        Self { state: Arc::default(), wait }
    }

    /// Relies on all of `keys` at once, as soon as none of them is frozen.
    ///
    /// # Errors
    /// [`Error::Frozen`] when it had to wait for too long.
    pub(super) async fn enter(&self, keys: impl IntoIterator<Item = Key>) -> Result<Entered, Error> {
        self.request(Mode::Enter, keys.into_iter().collect()).await.map(Entered)
    }

    /// As [`Self::enter`], but `None` instead of waiting.
    pub(super) fn try_enter(&self, keys: impl IntoIterator<Item = Key>) -> Option<Entered> {
        let (request, waiting) = self.ask(Mode::Enter, keys.into_iter().collect());
        waiting.is_none().then_some(Entered(request))
    }

    /// As [`Self::enter`], for who holds a freeze already: it goes before a freeze that waits. That one may wait for an
    /// operation that waits for the caller.
    ///
    /// # Errors
    /// [`Error::Frozen`] when it had to wait for too long.
    pub(super) async fn join(&self, keys: impl IntoIterator<Item = Key>) -> Result<Entered, Error> {
        self.request(Mode::Join, keys.into_iter().collect()).await.map(Entered)
    }

    /// Freezes all of `keys` at once: from now on an [`Self::enter`] waits, and this waits until what is in flight has
    /// left.
    ///
    /// # Errors
    /// [`Error::Frozen`] when it had to wait for too long; nothing is frozen then.
    pub(super) async fn freeze(&self, keys: impl IntoIterator<Item = Key>) -> Result<Frozen, Error> {
        self.request(Mode::Freeze, keys.into_iter().collect()).await.map(Frozen)
    }

    async fn request(&self, mode: Mode, keys: BTreeSet<Key>) -> Result<Request, Error> {
        let (request, waiting) = self.ask(mode, keys);
        let Some(granted) = waiting else { return Ok(request) };
        match timeout(self.wait, granted).await {
            Ok(Ok(())) => Ok(request),
            Ok(Err(_)) | Err(_) => Err(Error::Frozen { key: request.first_obstacle() }),
        }
    }

    /// Registers a request; where it is not granted at once, also what will say that it is.
    fn ask(&self, mode: Mode, keys: BTreeSet<Key>) -> (Request, Option<oneshot::Receiver<()>>) {
        let mut state = lock(&self.state);
        let id = state.next;
        state.next += 1;
        for key in &keys {
            state.keys.entry(key.clone()).or_default().waiting.insert(id);
        }
        let (wake, granted) = oneshot::channel();
        state.requests.insert(id, Ticket { mode, keys, wake: Some(wake) });
        let is_granted = state.try_grant(id);
        (Request { state: Arc::clone(&self.state), id }, (!is_granted).then_some(granted))
    }
}

/// A request from the moment it was made: waiting, then granted. Dropping it withdraws or releases it.
#[derive(Debug)]
struct Request {
    state: Arc<Mutex<State>>,
    id: u64,
}

impl Request {
    fn first_obstacle(&self) -> String {
        lock(&self.state).first_obstacle(self.id).map(ToString::to_string).unwrap_or_default()
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        lock(&self.state).remove(self.id);
    }
}

/// A panic while the lock is held leaves counts as they were after the last whole step, so the lock is taken anyway.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct State {
    /// The id of the next request: ids tell who came first.
    next: u64,
    requests: HashMap<u64, Ticket>,
    /// The keys that somebody holds or waits for.
    keys: HashMap<Key, KeyState>,
}

#[derive(Debug)]
struct Ticket {
    mode: Mode,
    keys: BTreeSet<Key>,
    /// There until it is granted.
    wake: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct KeyState {
    entered: BTreeSet<u64>,
    frozen: Option<u64>,
    waiting: BTreeSet<u64>,
}

impl KeyState {
    fn is_idle(&self) -> bool {
        self.entered.is_empty() && self.frozen.is_none() && self.waiting.is_empty()
    }
}

impl State {
    /// The first key that keeps a request from being granted: held by somebody, or asked for earlier.
    fn first_obstacle(&self, id: u64) -> Option<&Key> {
        let ticket = self.requests.get(&id)?;
        ticket.keys.iter().find(|key| self.keys.get(*key).is_some_and(|state| self.is_obstacle(state, id, ticket.mode)))
    }

    fn is_obstacle(&self, key: &KeyState, id: u64, mode: Mode) -> bool {
        let mut earlier = key.waiting.range(..id);
        match mode {
            Mode::Freeze => key.frozen.is_some() || !key.entered.is_empty() || earlier.next().is_some(),
            Mode::Join => key.frozen.is_some(),
            Mode::Enter => {
                let freezes = |other: &u64| self.requests.get(other).is_some_and(|t| t.mode == Mode::Freeze);
                key.frozen.is_some() || earlier.any(freezes)
            }
        }
    }

    fn try_grant(&mut self, id: u64) -> bool {
        if self.first_obstacle(id).is_some() {
            return false;
        }
        let Some(ticket) = self.requests.get_mut(&id) else { return false };
        for key in &ticket.keys {
            let state = self.keys.entry(key.clone()).or_default();
            state.waiting.remove(&id);
            match ticket.mode {
                Mode::Enter | Mode::Join => drop(state.entered.insert(id)),
                Mode::Freeze => state.frozen = Some(id),
            }
        }
        // Nobody may be listening (a future that was dropped): its request is dropped with it, and removes itself.
        ticket.wake.take().is_some_and(|wake| wake.send(()).is_ok())
    }

    /// Ends a request in whichever state it is, and grants what waited for it alone.
    fn remove(&mut self, id: u64) {
        let Some(ticket) = self.requests.remove(&id) else { return };
        let mut candidates = BTreeSet::new();
        for key in &ticket.keys {
            let Some(state) = self.keys.get_mut(key) else { continue };
            state.waiting.remove(&id);
            state.entered.remove(&id);
            state.frozen = state.frozen.filter(|holder| *holder != id);
            candidates.extend(&state.waiting);
            if state.is_idle() {
                self.keys.remove(key);
            }
        }
        // In the order in which they came. Granting one opens the way for no other: it holds its keys now.
        for candidate in candidates {
            self.try_grant(candidate);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use futures::{FutureExt as _, future};

    use crate::oci::Algorithm;

    use super::*;

    fn key(number: u8) -> Key {
        Key::Blob(Digest::of(Algorithm::Sha256, &[number]))
    }

    fn guard() -> Guard {
        Guard::new(Duration::from_secs(60))
    }

    #[tokio::test]
    async fn operations_share_a_key_that_a_freeze_has_alone() {
        let guard = guard();
        let first = guard.enter([key(1)]).await.unwrap();
        let second = guard.enter([key(1), key(2)]).await.unwrap();
        let mut freeze = Box::pin(guard.freeze([key(1)]));
        assert!(freeze.as_mut().now_or_never().is_none(), "both are in flight");
        drop(first);
        assert!(freeze.as_mut().now_or_never().is_none(), "one is in flight");
        drop(second);
        let frozen = freeze.await.unwrap();
        assert!(guard.try_enter([key(1)]).is_none());
        assert!(guard.try_enter([key(2)]).is_some());
        drop(frozen);
        assert!(guard.try_enter([key(1)]).is_some());
    }

    #[tokio::test]
    async fn a_freeze_that_waits_goes_before_an_operation_that_came_later() {
        let guard = guard();
        let entered = guard.enter([key(1)]).await.unwrap();
        let mut freeze = Box::pin(guard.freeze([key(1), key(2)]));
        assert!(freeze.as_mut().now_or_never().is_none());
        let mut later = Box::pin(guard.enter([key(2), key(3)]));
        assert!(later.as_mut().now_or_never().is_none(), "the freeze came first");
        drop(entered);
        let frozen = freeze.await.unwrap();
        assert!(later.as_mut().now_or_never().is_none(), "the freeze stands");
        drop(frozen);
        let _entered = later.await.unwrap();
    }

    #[tokio::test]
    async fn a_dropped_wait_leaves_nothing_behind() {
        let guard = guard();
        let entered = guard.enter([key(1)]).await.unwrap();
        let mut freeze = Box::pin(guard.freeze([key(1), key(2)]));
        assert!(freeze.as_mut().now_or_never().is_none());
        let mut later = Box::pin(guard.enter([key(1), key(2)]));
        assert!(later.as_mut().now_or_never().is_none());
        drop(freeze);
        let later = later.await.unwrap();
        drop(later);
        drop(entered);
        assert!(lock(&guard.state).keys.is_empty());
        assert!(lock(&guard.state).requests.is_empty());
    }

    #[tokio::test]
    async fn a_grant_that_nobody_took_is_given_back() {
        let guard = guard();
        let frozen = guard.freeze([key(1)]).await.unwrap();
        let mut waiting = Box::pin(guard.enter([key(1)]));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(frozen);
        // Granted by now, but never polled again.
        drop(waiting);
        assert!(guard.freeze([key(1)]).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_wait_that_takes_too_long_names_the_key() {
        let guard = Guard::new(Duration::from_millis(1));
        let _frozen = guard.freeze([key(2)]).await.unwrap();
        let error = guard.enter([key(1), key(2)]).await.unwrap_err();
        assert!(matches!(error, Error::Frozen { key: named } if named == key(2).to_string()));
        assert!(guard.freeze([key(1)]).now_or_never().is_some(), "the wait that failed holds nothing");
    }

    /// Many tasks over overlapping sets of keys: a deadlock would exceed the guard's wait, and a hole would let a
    /// freeze see somebody else.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_overlapping_requests_neither_deadlock_nor_overlap() {
        const KEYS: usize = 6;
        let guard = guard();
        let holders: Arc<[AtomicI64; KEYS]> = Arc::default();
        let tasks = (0_usize..100).map(|number| {
            let (guard, holders) = (guard.clone(), Arc::clone(&holders));
            tokio::spawn(async move {
                for round in 0..20 {
                    let chosen: Vec<usize> = (0..KEYS).filter(|k| (number * 31 + round * 7 + k * 13) % 5 < 2).collect();
                    let keys = chosen.iter().map(|k| key(u8::try_from(*k).unwrap()));
                    if (number + round) % 4 == 0 {
                        let _frozen = guard.freeze(keys).await.unwrap();
                        for k in &chosen {
                            assert_eq!(holders[*k].swap(-1, Ordering::SeqCst), 0);
                        }
                        tokio::task::yield_now().await;
                        for k in &chosen {
                            holders[*k].store(0, Ordering::SeqCst);
                        }
                    } else {
                        let _entered = guard.enter(keys).await.unwrap();
                        for k in &chosen {
                            assert!(holders[*k].fetch_add(1, Ordering::SeqCst) >= 0);
                        }
                        tokio::task::yield_now().await;
                        for k in &chosen {
                            holders[*k].fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                }
            })
        });
        for result in future::join_all(tasks).await {
            result.unwrap();
        }
        assert!(lock(&guard.state).keys.is_empty());
    }
}
