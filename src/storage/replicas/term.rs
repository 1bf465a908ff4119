//! One registration of this process among the replicas.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ulid::Ulid;

use crate::storage::Clock;

/// A registration: its id, and its lease. A process whose lease lapsed registers anew, with another term; what began in
/// the old one ends with it.
#[derive(Debug)]
pub(in crate::storage) struct Term {
    id: Ulid,
    clock: Arc<dyn Clock>,
    lease: Mutex<Lease>,
}

#[derive(Debug)]
struct Lease {
    /// By [`Clock::boot_time`]; `None` before the first beat.
    until: Option<Duration>,
    /// What was frozen before it registered is frozen here too.
    has_joined: bool,
    is_over: bool,
}

impl Term {
    pub(in crate::storage) fn new(id: Ulid, clock: Arc<dyn Clock>) -> Self {
        Self { id, clock, lease: Mutex::new(Lease { until: None, has_joined: false, is_over: false }) }
    }

    /// The replica's name.
    pub(in crate::storage) fn id(&self) -> Ulid {
        self.id
    }

    /// Counts the lease from a beat that was sent at `sent` and is answered now; whether it stands. An answer that comes
    /// when the lease has already lapsed renews nothing, and the term is over.
    pub(in crate::storage) fn renew(&self, sent: Duration, lease: Duration) -> bool {
        let now = self.clock.boot_time();
        let mut state = self.lock();
        let runs = state.until.is_none_or(|until| now < until) && now < sent + lease;
        if runs && !state.is_over {
            state.until = Some(state.until.unwrap_or_default().max(sent + lease));
            return true;
        }
        state.is_over = true;
        false
    }

    /// From now on it promises.
    pub(in crate::storage) fn join(&self) {
        self.lock().has_joined = true;
    }

    /// It never promises anything again.
    pub(in crate::storage) fn end(&self) {
        self.lock().is_over = true;
    }

    /// Whether the lease stands, also before the replica has joined.
    pub(in crate::storage) fn is_alive(&self) -> bool {
        let now = self.clock.boot_time();
        let mut state = self.lock();
        // Once seen to have lapsed it is over, whatever answers come later.
        state.is_over |= state.until.is_some_and(|until| now >= until);
        state.until.is_some() && !state.is_over
    }

    /// Whether it may promise, remove, and answer from memory.
    pub(in crate::storage) fn is_valid(&self) -> bool {
        self.is_alive() && self.lock().has_joined
    }

    /// For how long its lease has not stood: nothing while it does, and at most since it ran out by itself.
    pub(in crate::storage) fn lapsed_for(&self) -> Duration {
        let now = self.clock.boot_time();
        self.lock().until.map_or(Duration::ZERO, |until| now.saturating_sub(until))
    }

    fn lock(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::storage::fixtures::ManualClock;

    use super::*;

    const LEASE: Duration = Duration::from_secs(20);

    fn term() -> (Arc<ManualClock>, Term) {
        let clock = Arc::new(ManualClock::new());
        (clock.clone(), Term::new(Ulid::from(1_u128), clock))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_runs_from_when_the_beat_was_sent() {
        let (clock, term) = term();
        let sent = clock.boot_time();
        assert!(!term.is_valid(), "it has not begun");
        clock.advance(seconds(3));
        assert!(term.renew(sent, LEASE));
        assert!(term.is_alive() && !term.is_valid(), "it has not joined");
        term.join();
        clock.advance(seconds(16));
        assert!(term.is_valid());
        clock.advance(seconds(1));
        assert!(!term.is_valid());
    }

    #[test]
    fn an_answer_that_comes_when_the_lease_has_lapsed_renews_nothing() {
        let (clock, term) = term();
        term.join();
        assert!(term.renew(clock.boot_time(), LEASE));
        clock.advance(seconds(19));
        let sent = clock.boot_time();
        clock.advance(seconds(1));
        assert!(!term.renew(sent, LEASE), "although that beat is young");
        assert!(!term.is_valid());
        assert!(!term.renew(clock.boot_time(), LEASE), "nor does any later one");
        clock.advance(seconds(5));
        assert_eq!(term.lapsed_for(), seconds(5), "it ran out after 20 s");
    }

    #[test]
    fn a_first_answer_that_takes_longer_than_a_lease_begins_none() {
        let (clock, term) = term();
        let sent = clock.boot_time();
        clock.advance(LEASE);
        assert!(!term.renew(sent, LEASE));
    }

    #[test]
    fn an_older_beat_does_not_shorten_a_lease() {
        let (clock, term) = term();
        term.join();
        let older = clock.boot_time();
        clock.advance(seconds(5));
        assert!(term.renew(clock.boot_time(), LEASE));
        assert!(term.renew(older, LEASE));
        clock.advance(seconds(19));
        assert!(term.is_valid());
        term.end();
        assert!(!term.is_valid());
    }
}
