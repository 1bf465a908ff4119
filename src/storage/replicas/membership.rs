//! A replica's life: it registers, joins, beats, looks around, and leaves.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::{self, Either};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use ulid::Ulid;

use crate::storage::{Error, Timing, clock::within, store::Store};

use super::{
    Holder, ReplicaCalls, Term,
    observer::{Observer, Sight},
    registration::Registration,
    run_claim::HeldClaims,
};

/// What a process needs to be one of several on a store.
#[derive(Debug, Clone)]
pub struct ReplicaSetup {
    /// Where the other ones find its control listener: host and port.
    pub address: String,
    /// The way to them.
    pub calls: Arc<dyn ReplicaCalls>,
}

/// A replica that is evicted within so many times the time after which it is gone is one that still cannot be reached:
/// ten minutes, twice as long as it stays away at most.
const FOLLOWING: u32 = 20;

/// A replica that is evicted again and again stays away for at most so many times the time after which it is gone: five
/// minutes. Each time that it is back, a delete waits for a minute until it is gone again.
const LONGEST_AWAY: u32 = 10;

/// How a term came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Others could not reach it.
    Evicted,
    /// It was too late with its sign of life, or could not give it.
    Lapsed,
    /// The process leaves.
    Stopped,
}

/// What came of a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beat {
    /// The lease is renewed.
    Stands,
    /// The term is over.
    Ends(Ended),
}

/// How long to wait before registering anew, after so many evictions that followed each other. The first may have been an
/// accident.
fn away_after(timing: &Timing, evictions: u32) -> Duration {
    if evictions < 2 {
        return timing.beat / 5;
    }
    let away = timing.gone_after() * 2_u32.saturating_pow(evictions - 2).min(LONGEST_AWAY);
    let seconds = away.as_secs();
    warn!(evictions, seconds, "others cannot reach this replica: it stays away, so that they need not wait");
    away
}

/// A process among others on the same store.
#[derive(Debug)]
pub(in crate::storage) struct Membership {
    setup: ReplicaSetup,
    term: watch::Sender<Option<Arc<Term>>>,
    observer: Mutex<Observer>,
    held_claims: HeldClaims,
    stop: CancellationToken,
    life: Mutex<Option<JoinHandle<()>>>,
}

impl Membership {
    pub(in crate::storage) fn new(setup: ReplicaSetup, timing: &Timing) -> Self {
        Self {
            setup,
            term: watch::Sender::new(None),
            observer: Mutex::new(Observer::new(timing.gone_after())),
            held_claims: HeldClaims::default(),
            stop: CancellationToken::new(),
            life: Mutex::default(),
        }
    }

    pub(super) fn setup(&self) -> &ReplicaSetup {
        &self.setup
    }

    /// The present term, whether or not its lease stands.
    pub(in crate::storage) fn term(&self) -> Option<Arc<Term>> {
        self.term.borrow().clone()
    }

    pub(super) fn observer(&self) -> MutexGuard<'_, Observer> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn held_claims(&self) -> &HeldClaims {
        &self.held_claims
    }

    fn life(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to live, as a task that [`Self::leave`] ends.
    pub(in crate::storage) fn begin(self: &Arc<Self>, store: &Arc<Store>) {
        let (this, store) = (Arc::clone(self), Arc::clone(store));
        let life = tokio::spawn(async move { this.live(&store).await });
        *self.life() = Some(life);
    }

    /// Waits until the replica has joined.
    pub(in crate::storage) async fn joined(&self) {
        // The sender lives as long as this.
        let _ = self.term.subscribe().wait_for(|term| term.as_ref().is_some_and(|term| term.is_valid())).await;
    }

    /// Leaves in order: what is in flight must have ended. It promises nothing any more, tells what it has touched, and
    /// removes its key.
    pub(in crate::storage) async fn leave(&self, store: &Store) {
        self.stop.cancel();
        let life = self.life().take();
        if let Some(life) = life
            && let Err(error) = life.await
        {
            warn!(error = &error as &dyn std::error::Error, "a replica's life ended in a panic");
        }
        let Some(term) = self.term.send_replace(None) else { return };
        let was_valid = term.is_valid();
        term.end();
        if !was_valid {
            return;
        }
        let goodbye = async {
            store.put_left_keys(term.id()).await?;
            store.remove_registration(term.id()).await
        };
        match within(&*store.clock, store.timing.lease, goodbye).await {
            Some(Ok(())) => info!(replica = %term.id(), "left"),
            Some(Err(error)) => warn!(error = &error as &dyn std::error::Error, "could not leave in order"),
            None => warn!("could not leave in order in time"),
        }
    }

    /// Ends at once, as a process that dies.
    #[cfg(test)]
    pub(in crate::storage) fn kill(&self) {
        if let Some(life) = self.life().take() {
            life.abort();
        }
        if let Some(term) = self.term.send_replace(None) {
            term.end();
        }
    }

    async fn live(&self, store: &Arc<Store>) {
        let mut evictions = 0;
        while !self.stop.is_cancelled() {
            let began = store.clock.boot_time();
            let ended = match self.register(store).await {
                Ok(term) => Some(self.serve(store, &term).await),
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "could not register");
                    None
                }
            };
            let mut away = store.timing.beat / 5;
            if ended == Some(Ended::Evicted) {
                let lasted = store.clock.boot_time().saturating_sub(began);
                evictions = if lasted < store.timing.gone_after() * FOLLOWING { evictions + 1 } else { 1 };
                away = away_after(&store.timing, evictions);
            }
            let stopped = self.stop.cancelled();
            futures::pin_mut!(stopped);
            future::select(stopped, store.clock.sleep(away)).await;
        }
    }

    async fn register(&self, store: &Store) -> Result<Arc<Term>, Error> {
        let term = Arc::new(Term::new(store.ids.next(store.clock.now()), Arc::clone(&store.clock)));
        if self.beat(store, &term, 0).await? != Beat::Stands {
            return Err(Error::NoLease);
        }
        info!(replica = %term.id(), address = self.setup.address, "registered");
        self.term.send_replace(Some(Arc::clone(&term)));
        Ok(term)
    }

    /// Until the lease has lapsed, or the process stops.
    async fn serve(&self, store: &Arc<Store>, term: &Arc<Term>) -> Ended {
        let beats = self.keep_beating(store, term);
        let looks = self.keep_looking(store, term);
        let stopped = self.stop.cancelled();
        futures::pin_mut!(beats, looks, stopped);
        let ended = match future::select(stopped, future::select(beats, looks)).await {
            Either::Left(_) => return Ended::Stopped,
            Either::Right((Either::Left((ended, _)) | Either::Right((ended, _)), _)) => ended,
        };
        term.end();
        store.options.metrics.replicas.lease(false);
        warn!(replica = %term.id(), ?ended, "lost the lease; registering anew");
        ended
    }

    async fn keep_beating(&self, store: &Store, term: &Term) -> Ended {
        let mut number = 0;
        loop {
            store.clock.sleep(store.timing.beat).await;
            number += 1;
            match self.beat(store, term, number).await {
                Ok(Beat::Stands) => {}
                Ok(Beat::Ends(ended)) => return ended,
                Err(_) if !term.is_alive() => return Ended::Lapsed,
                Err(error) => warn!(error = &error as &dyn std::error::Error, "a sign of life was not written"),
            }
        }
    }

    /// Writes the key, then looks for the eviction; whether the lease stands. An attempt that takes longer than a beat
    /// makes room for the next one.
    async fn beat(&self, store: &Store, term: &Term, number: u64) -> Result<Beat, Error> {
        let sent = store.clock.boot_time();
        let (address, sent_at) = (self.setup.address.clone(), Some(store.clock.now()));
        let registration = Registration { address, beat: number, sent_at };
        let attempt = async {
            store.put_registration(term.id(), &registration).await?;
            store.is_evicted(term.id()).await
        };
        match within(&*store.clock, store.timing.beat, attempt).await {
            Some(Ok(true)) => Ok(Beat::Ends(Ended::Evicted)),
            Some(Ok(false)) if term.renew(sent, store.timing.lease) => Ok(Beat::Stands),
            Some(Ok(false)) => Ok(Beat::Ends(Ended::Lapsed)),
            Some(Err(error)) => Err(error),
            None => Err(Error::NoLease),
        }
    }

    /// Joins, then looks every beat at who is there and what is over.
    async fn keep_looking(&self, store: &Arc<Store>, term: &Arc<Term>) -> Ended {
        while let Err(error) = store.join(term).await {
            warn!(error = &error as &dyn std::error::Error, "could not join; trying again");
            store.clock.sleep(store.timing.beat / 5).await;
        }
        term.join();
        // Who waits for this looks again.
        self.term.send_modify(|_| {});
        store.options.metrics.replicas.lease(true);
        info!(replica = %term.id(), "joined");
        loop {
            store.clock.sleep(store.timing.beat).await;
            if let Err(error) = self.look(store).await {
                warn!(error = &error as &dyn std::error::Error, "could not look at the other replicas");
            }
        }
    }

    async fn look(&self, store: &Arc<Store>) -> Result<(), Error> {
        let standing = store.guard.holders();
        let known: BTreeSet<Ulid> = store.guard.touched().into_keys().collect();
        let pendings = store.pendings().await?;
        // Listed after what stands was noted: a key that is not there by now is gone, not yet to come.
        let names: BTreeSet<Ulid> = store.pending_ids().await?;
        let epochs = store.open_epochs().await?;
        for holder in standing {
            let stands = match holder {
                Holder::Pending(id) => names.contains(&id),
                Holder::Sealed { epoch, batch } => {
                    epochs.has_sealed(epoch, batch) && !self.is_long_gone(store, epochs.collector(epoch))
                }
            };
            if !stands {
                store.guard.thaw(holder);
            }
        }
        store.guard.close_epochs(&known, &epochs.ids());
        let owners = pendings.iter().filter_map(|(_, pending)| pending.replica);
        let others = owners.chain(epochs.collectors()).collect();
        self.observe_everyone(store, others, epochs.is_empty()).await?;
        store.settle_the_dead(pendings).await;
        store.end_collections_of_the_dead(&epochs).await;
        Ok(())
    }

    /// Whether none of a collector's removals can land any more.
    fn is_long_gone(&self, store: &Store, collector: Option<Ulid>) -> bool {
        let since = collector.and_then(|collector| self.observer().gone_since(collector));
        since.is_some_and(|since| store.clock.boot_time() >= since + store.timing.removal_bound)
    }

    /// Looks at every replica that has a key, and at `others`, of which something is left.
    async fn observe_everyone(&self, store: &Store, others: BTreeSet<Ulid>, may_clean: bool) -> Result<(), Error> {
        let own = self.term().map(|term| term.id());
        let keys = store.replica_ids().await?;
        store.options.metrics.replicas.seen(keys.len());
        let mut ids: BTreeSet<Ulid> = keys.iter().copied().chain(others).collect();
        let evicted = store.evicted_ids().await?;
        ids.extend(&evicted);
        ids.retain(|id| Some(*id) != own);
        for id in &ids {
            let is_gone = self.observe(store, *id).await?.1.is_some();
            if is_gone && may_clean && (keys.contains(id) || evicted.contains(id)) {
                store.remove_registration(*id).await?;
            }
        }
        let long_ago = store.timing.removal_bound * 4;
        if let Some(moment) = store.clock.boot_time().checked_sub(long_ago) {
            self.observer().forget(moment, &ids.into_iter().collect::<Vec<_>>());
        }
        Ok(())
    }

    /// Looks at one replica: its registration, where it has one, and since when it is gone.
    pub(super) async fn observe(
        &self,
        store: &Store,
        id: Ulid,
    ) -> Result<(Option<Registration>, Option<Duration>), Error> {
        use crate::storage::records::record::Lenient;
        let began = store.clock.boot_time();
        let read = store.registration(id).await?;
        let is_evicted = store.is_evicted(id).await?;
        let ended = store.clock.boot_time();
        let (registration, beat) = match read {
            Lenient::Read(registration) => {
                let beat = registration.beat;
                (Some(registration), Some(beat))
            }
            // Whoever wrote that beats or does not: another number than any that is written.
            Lenient::Unreadable => (None, Some(u64::MAX)),
            Lenient::Absent => (None, None),
        };
        let gone = self.observer().observe(id, Sight { began, ended, beat, is_evicted });
        Ok((registration, gone))
    }
}
