//! Who relies on what, and who removes what (docs/protocol.md, *Being a replica*).
//!
//! An operation [enters](Guard::enter) all keys that it relies on; a delete or restore [freezes](Guard::freeze) those
//! that it changes, here and at every other replica. Operations share a key; what freezes it has it alone.
//!
//! # Guarantees
//! - A request gets all of its keys at once or none, so two requests cannot each hold what the other one needs.
//! - A freeze stands from the moment at which no other one does on its keys: what comes later waits for it, and it waits
//!   for what is in flight. That waits for nobody, so a restore may enter what its manifest references while it holds
//!   its own freeze.
//! - Who waits for the end of a freeze is served in the order in which they came. Nobody starves.
//! - A future that waits and is dropped, or an [`Entered`], gives up its keys at that moment. A freeze that was granted
//!   stands until it is [thawed](Guard::thaw), whatever becomes of who asked for it.
//!
//! # Assumptions
//! An operation asks once, with all its keys; a freeze is asked for in the same order of replicas by everybody.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use ulid::Ulid;

use crate::oci::{Digest, RepositoryName, Tag};

use crate::storage::{Clock, Error, Holder, clock::within};

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

/// The guard of one process. Clones are the same guard.
#[derive(Debug, Clone)]
pub(in crate::storage) struct Guard {
    state: Arc<Mutex<State>>,
    wait: Duration,
    clock: Arc<dyn Clock>,
}

/// Keys that an operation relies on, until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it leaves the keys"]
pub(in crate::storage) struct Entered(#[expect(dead_code, reason = "held for its drop")] Request);

impl Guard {
    /// A guard whose operations wait for at most `wait`.
    pub(in crate::storage) fn new(wait: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), wait, clock }
    }

    /// Relies on all of `keys` at once, as soon as none of them is frozen.
    ///
    /// # Errors
    /// [`Error::Frozen`] when it had to wait for too long.
    pub(in crate::storage) async fn enter(&self, keys: impl IntoIterator<Item = Key>) -> Result<Entered, Error> {
        self.request(Mode::Enter, keys.into_iter().collect(), self.wait).await.map(Entered)
    }

    /// As [`Self::enter`], but `None` instead of waiting.
    pub(in crate::storage) fn try_enter(&self, keys: impl IntoIterator<Item = Key>) -> Option<Entered> {
        let (request, waiting) = self.ask(Mode::Enter, keys.into_iter().collect());
        waiting.is_none().then_some(Entered(request))
    }

    /// Freezes all of `keys` at once: from now on an [`Self::enter`] waits, and this waits until what is in flight has
    /// left. It stands until [`Self::thaw`]. What `after` has frozen is not in the way.
    ///
    /// # Errors
    /// [`Error::Frozen`] when it had to wait for longer than `wait`; nothing is frozen then.
    pub(in crate::storage) async fn freeze(
        &self,
        holder: Holder,
        after: Option<Holder>,
        keys: impl IntoIterator<Item = Key>,
        wait: Duration,
    ) -> Result<(), Error> {
        let keys = keys.into_iter().collect();
        self.request(Mode::Freeze { holder, after }, keys, wait).await.map(Request::stand)
    }

    /// Freezes keys whatever is in the way: for a replica that joins, of which nobody relies on anything yet.
    pub(in crate::storage) fn freeze_now(&self, holder: Holder, keys: impl IntoIterator<Item = Key>) {
        lock(&self.state).freeze(holder, keys.into_iter().collect());
    }

    /// Freezes blobs but those that are in flight, or touched since an open epoch began; these.
    pub(in crate::storage) fn freeze_idle(
        &self,
        holder: Holder,
        digests: impl IntoIterator<Item = Digest>,
    ) -> Vec<Digest> {
        let mut state = lock(&self.state);
        let (kept, idle): (Vec<_>, Vec<_>) = digests.into_iter().partition(|digest| state.is_relied_on(digest));
        state.freeze(holder, idle.into_iter().map(Key::Blob).collect());
        kept
    }

    /// Ends what stands for `holder`.
    pub(in crate::storage) fn thaw(&self, holder: Holder) {
        let mut state = lock(&self.state);
        let ends = |mode: &Mode| matches!(mode, Mode::Freeze { holder: by, .. } if *by == holder);
        let standing = |ticket: &&Ticket| ends(&ticket.mode) && ticket.stands;
        let ids: Vec<u64> = state.requests.iter().filter(|(_, t)| standing(t)).map(|(id, _)| *id).collect();
        for id in ids {
            state.remove(id);
        }
    }

    /// For whom something is frozen.
    pub(in crate::storage) fn holders(&self) -> BTreeSet<Holder> {
        let state = lock(&self.state);
        let standing = state.requests.values().filter(|ticket| ticket.stands);
        standing.filter_map(|ticket| ticket.mode.holder()).collect()
    }

    /// Notes which digests are relied on from now on, beginning with those in flight. An epoch that has begun goes on.
    pub(in crate::storage) fn begin(&self, epoch: Ulid) {
        let mut state = lock(&self.state);
        let in_flight = state.keys.iter().filter(|(_, key)| !key.entered.is_empty());
        let digests = in_flight.filter_map(|(key, _)| key.digest().cloned()).collect();
        state.touched.entry(epoch).or_insert(digests);
    }

    /// What was relied on since each open epoch began.
    pub(in crate::storage) fn touched(&self) -> BTreeMap<Ulid, BTreeSet<Digest>> {
        lock(&self.state).touched.clone()
    }

    /// Forgets the epochs of `known` that are not among `open`.
    pub(in crate::storage) fn close_epochs(&self, known: &BTreeSet<Ulid>, open: &BTreeSet<Ulid>) {
        lock(&self.state).touched.retain(|epoch, _| open.contains(epoch) || !known.contains(epoch));
    }

    async fn request(&self, mode: Mode, keys: BTreeSet<Key>, wait: Duration) -> Result<Request, Error> {
        let (request, waiting) = self.ask(mode, keys);
        let Some(granted) = waiting else { return Ok(request) };
        match within(&*self.clock, wait, granted).await {
            Some(Ok(())) => Ok(request),
            Some(Err(_)) | None => Err(Error::Frozen { key: request.first_obstacle() }),
        }
    }

    /// Registers a request; where it is not granted at once, also what will say that it is.
    fn ask(&self, mode: Mode, keys: BTreeSet<Key>) -> (Request, Option<oneshot::Receiver<()>>) {
        let (wake, granted) = oneshot::channel();
        let mut state = lock(&self.state);
        let id = state.add(Ticket { mode, keys, wake: Some(wake), holds: false, stands: false });
        let is_granted = state.advance(id);
        (Request { state: Arc::clone(&self.state), id }, (!is_granted).then_some(granted))
    }
}

impl Key {
    /// The digest whose bytes it stands for.
    fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Blob(digest) => Some(digest),
            Self::Revision(..) | Self::Tag(..) => None,
        }
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

    /// Leaves it granted, until a thaw.
    fn stand(self) {
        if let Some(ticket) = lock(&self.state).requests.get_mut(&self.id) {
            ticket.stands = true;
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.requests.get(&self.id).is_some_and(|ticket| !ticket.stands) {
            state.remove(self.id);
        }
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
    requests: BTreeMap<u64, Ticket>,
    /// The keys that somebody holds or waits for.
    keys: HashMap<Key, KeyState>,
    /// By epoch, what was relied on since it began.
    touched: BTreeMap<Ulid, BTreeSet<Digest>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Enter,
    Freeze { holder: Holder, after: Option<Holder> },
}

impl Mode {
    fn holder(self) -> Option<Holder> {
        match self {
            Self::Enter => None,
            Self::Freeze { holder, .. } => Some(holder),
        }
    }
}

#[derive(Debug)]
struct Ticket {
    mode: Mode,
    keys: BTreeSet<Key>,
    /// There until it is granted: a freeze when nobody is in its keys any more.
    wake: Option<oneshot::Sender<()>>,
    /// It has its keys: it is in them, or has frozen them.
    holds: bool,
    /// It outlives who asked.
    stands: bool,
}

#[derive(Debug, Default)]
struct KeyState {
    entered: BTreeSet<u64>,
    frozen: BTreeSet<u64>,
    waiting: BTreeSet<u64>,
}

impl KeyState {
    fn is_idle(&self) -> bool {
        self.entered.is_empty() && self.frozen.is_empty() && self.waiting.is_empty()
    }
}

impl State {
    fn add(&mut self, ticket: Ticket) -> u64 {
        let id = self.next;
        self.next += 1;
        for key in &ticket.keys {
            self.keys.entry(key.clone()).or_default().waiting.insert(id);
        }
        self.requests.insert(id, ticket);
        id
    }

    /// A freeze that stands at once.
    fn freeze(&mut self, holder: Holder, keys: BTreeSet<Key>) {
        let mode = Mode::Freeze { holder, after: None };
        let id = self.add(Ticket { mode, keys, wake: None, holds: false, stands: true });
        self.take(id);
    }

    fn is_relied_on(&self, digest: &Digest) -> bool {
        let in_flight = self.keys.get(&Key::Blob(digest.clone())).is_some_and(|key| !key.entered.is_empty());
        in_flight || self.touched.values().any(|touched| touched.contains(digest))
    }

    /// The first key that keeps a request waiting.
    fn first_obstacle(&self, id: u64) -> Option<&Key> {
        let ticket = self.requests.get(&id)?;
        let is_in_the_way = |key: &KeyState| {
            let waits_for_others = matches!(ticket.mode, Mode::Freeze { .. }) && !key.entered.is_empty();
            waits_for_others || !ticket.holds && self.is_frozen_for(key, ticket.mode)
        };
        ticket.keys.iter().find(|key| self.keys.get(*key).is_some_and(is_in_the_way))
    }

    /// Whether somebody whom `mode` does not pass has frozen a key.
    fn is_frozen_for(&self, key: &KeyState, mode: Mode) -> bool {
        key.frozen.iter().filter_map(|id| self.requests.get(id)?.mode.holder()).any(|by| match mode {
            Mode::Enter => true,
            Mode::Freeze { holder, after } => by != holder && Some(by) != after,
        })
    }

    /// Takes a request as far as it comes; whether it is granted.
    fn advance(&mut self, id: u64) -> bool {
        let Some(ticket) = self.requests.get(&id) else { return false };
        let mode = ticket.mode;
        let is_free = |key: &Key| self.keys.get(key).is_none_or(|state| !self.is_frozen_for(state, mode));
        if !ticket.holds && ticket.keys.iter().all(is_free) {
            self.take(id);
        }
        let Some(ticket) = self.requests.get(&id) else { return false };
        let is_left = |key: &Key| self.keys.get(key).is_none_or(|state| state.entered.is_empty());
        if !ticket.holds || mode != Mode::Enter && !ticket.keys.iter().all(is_left) {
            return false;
        }
        // Nobody may be listening (a future that was dropped): its request is dropped with it, and removes itself.
        let wake = self.requests.get_mut(&id).and_then(|ticket| ticket.wake.take());
        wake.is_none_or(|wake| wake.send(()).is_ok())
    }

    /// Gives a request its keys.
    fn take(&mut self, id: u64) {
        let Some(ticket) = self.requests.get_mut(&id) else { return };
        ticket.holds = true;
        for key in &ticket.keys {
            let state = self.keys.entry(key.clone()).or_default();
            state.waiting.remove(&id);
            if ticket.mode == Mode::Enter {
                state.entered.insert(id)
            } else {
                state.frozen.insert(id)
            };
        }
        if ticket.mode == Mode::Enter {
            let digests: Vec<&Digest> = ticket.keys.iter().filter_map(Key::digest).collect();
            for touched in self.touched.values_mut() {
                touched.extend(digests.iter().map(|digest| (*digest).clone()));
            }
        }
    }

    /// Ends a request in whichever state it is, and goes on with what waited for it.
    fn remove(&mut self, id: u64) {
        let Some(ticket) = self.requests.remove(&id) else { return };
        let mut candidates = BTreeSet::new();
        for key in &ticket.keys {
            let Some(state) = self.keys.get_mut(key) else { continue };
            state.waiting.remove(&id);
            state.entered.remove(&id);
            state.frozen.remove(&id);
            candidates.extend(state.waiting.iter().chain(&state.frozen));
            if state.is_idle() {
                self.keys.remove(key);
            }
        }
        // In the order in which they came. Granting one opens the way for no other: it holds its keys now.
        for candidate in candidates {
            self.advance(candidate);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use futures::{FutureExt as _, future};

    use crate::{oci::Algorithm, storage::fixtures::ManualClock};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn key(number: u8) -> Key {
        Key::Blob(Digest::of(Algorithm::Sha256, &[number]))
    }

    fn guard() -> Guard {
        Guard::new(LONG, Arc::new(ManualClock::new()))
    }

    fn holder(number: u64) -> Holder {
        Holder::Pending(Ulid::from(u128::from(number)))
    }

    #[tokio::test]
    async fn operations_share_a_key_that_a_freeze_has_alone() {
        let guard = guard();
        let first = guard.enter([key(1)]).await.unwrap();
        let second = guard.enter([key(1), key(2)]).await.unwrap();
        let mut freeze = Box::pin(guard.freeze(holder(1), None, [key(1)], LONG));
        assert!(freeze.as_mut().now_or_never().is_none(), "both are in flight");
        drop(first);
        assert!(freeze.as_mut().now_or_never().is_none(), "one is in flight");
        drop(second);
        freeze.await.unwrap();
        assert!(guard.try_enter([key(1)]).is_none());
        assert!(guard.try_enter([key(2)]).is_some());
        guard.thaw(holder(1));
        assert!(guard.try_enter([key(1)]).is_some());
    }

    #[tokio::test]
    async fn a_freeze_that_waits_goes_before_an_operation_that_came_later() {
        let guard = guard();
        let entered = guard.enter([key(1)]).await.unwrap();
        let mut freeze = Box::pin(guard.freeze(holder(1), None, [key(1), key(2)], LONG));
        assert!(freeze.as_mut().now_or_never().is_none());
        let mut later = Box::pin(guard.enter([key(2), key(3)]));
        assert!(later.as_mut().now_or_never().is_none(), "the freeze came first");
        drop(entered);
        freeze.await.unwrap();
        assert!(later.as_mut().now_or_never().is_none(), "the freeze stands");
        guard.thaw(holder(1));
        let _entered = later.await.unwrap();
    }

    #[tokio::test]
    async fn a_dropped_wait_leaves_nothing_behind() {
        let guard = guard();
        let entered = guard.enter([key(1)]).await.unwrap();
        let mut freeze = Box::pin(guard.freeze(holder(1), None, [key(1), key(2)], LONG));
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
        guard.freeze(holder(1), None, [key(1)], LONG).await.unwrap();
        let mut waiting = Box::pin(guard.enter([key(1)]));
        assert!(waiting.as_mut().now_or_never().is_none());
        guard.thaw(holder(1));
        // Granted by now, but never polled again.
        drop(waiting);
        assert!(guard.freeze(holder(2), None, [key(1)], LONG).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_wait_that_takes_too_long_names_the_key() {
        let guard = Guard::new(Duration::from_millis(1), Arc::new(ManualClock::new()));
        guard.freeze(holder(1), None, [key(2)], LONG).await.unwrap();
        let error = guard.enter([key(1), key(2)]).await.unwrap_err();
        assert!(matches!(error, Error::Frozen { key: named } if named == key(2).to_string()));
        assert!(guard.freeze(holder(2), None, [key(1)], LONG).now_or_never().is_some(), "it holds nothing");
        let error = guard.freeze(holder(3), None, [key(1), key(3)], Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(error, Error::Frozen { key: named } if named == key(1).to_string()));
        assert!(guard.try_enter([key(3)]).is_some(), "a freeze that failed leaves nothing frozen");
    }

    #[tokio::test]
    async fn who_holds_a_freeze_enters_what_another_one_waits_to_freeze() {
        let guard = guard();
        let pushing = guard.enter([key(2)]).await.unwrap();
        guard.freeze(holder(1), None, [key(1)], LONG).await.unwrap();
        let mut push = Box::pin(guard.enter([key(1), key(2)]));
        assert!(push.as_mut().now_or_never().is_none());
        let mut delete = Box::pin(guard.freeze(holder(2), None, [key(2)], LONG));
        assert!(delete.as_mut().now_or_never().is_none());
        let mut restoring = Box::pin(guard.enter([key(2)]));
        assert!(restoring.as_mut().now_or_never().is_none());
        drop(pushing);
        delete.await.unwrap();
        guard.thaw(holder(2));
        drop(restoring.await.unwrap());
        guard.thaw(holder(1));
        drop(push.await.unwrap());
    }

    #[tokio::test]
    async fn a_freeze_asked_for_again_by_the_same_holder_is_granted() {
        let guard = guard();
        guard.freeze(holder(1), None, [key(1)], LONG).await.unwrap();
        guard.freeze(holder(1), None, [key(1), key(2)], LONG).await.unwrap();
        assert!(guard.try_enter([key(2)]).is_none());
        guard.thaw(holder(1));
        assert!(guard.holders().is_empty());
        assert!(guard.try_enter([key(1), key(2)]).is_some());
    }

    #[tokio::test]
    async fn only_who_takes_its_place_passes_the_freeze_of_another() {
        let guard = guard();
        guard.freeze_now(holder(1), [key(1)]);
        let mut stranger = Box::pin(guard.freeze(holder(2), None, [key(1)], LONG));
        assert!(stranger.as_mut().now_or_never().is_none());
        guard.freeze(holder(3), Some(holder(1)), [key(1)], LONG).await.unwrap();
        guard.thaw(holder(1));
        assert!(stranger.as_mut().now_or_never().is_none(), "its successor stands");
        guard.thaw(holder(3));
        stranger.await.unwrap();
    }

    #[tokio::test]
    async fn an_epoch_touches_what_is_in_flight_and_what_enters_later() {
        let guard = guard();
        let epoch = Ulid::from(7_u128);
        let digest = |number| key(number).digest().cloned().unwrap();
        drop(guard.enter([key(1)]).await.unwrap());
        let in_flight = guard.enter([key(2)]).await.unwrap();
        guard.begin(epoch);
        drop(in_flight);
        drop(guard.enter([key(3)]).await.unwrap());
        guard.begin(epoch);
        assert_eq!(guard.touched(), BTreeMap::from([(epoch, BTreeSet::from([digest(2), digest(3)]))]));
        let _later = guard.enter([key(4)]).await.unwrap();
        let sealed = Holder::Sealed { epoch, batch: 0 };
        let mut kept = guard.freeze_idle(sealed, (1..=4).map(digest));
        kept.sort_unstable();
        let mut touched: Vec<Digest> = (2..=4).map(digest).collect();
        touched.sort_unstable();
        assert_eq!(kept, touched);
        assert!(guard.try_enter([key(1)]).is_none());
        assert!(guard.try_enter([key(3)]).is_some());
        guard.close_epochs(&BTreeSet::from([epoch]), &BTreeSet::new());
        assert!(guard.touched().is_empty());
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
                        let holder = holder((number * 100 + round) as u64);
                        guard.freeze(holder, None, keys, LONG).await.unwrap();
                        for k in &chosen {
                            assert_eq!(holders[*k].swap(-1, Ordering::SeqCst), 0);
                        }
                        tokio::task::yield_now().await;
                        for k in &chosen {
                            holders[*k].store(0, Ordering::SeqCst);
                        }
                        guard.thaw(holder);
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
