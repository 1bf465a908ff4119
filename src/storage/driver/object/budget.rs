//! How much all uploads together hold in memory.
//!
//! # Guarantees
//! Nobody waits while holding anything that comes back only when somebody else has got more: an upload grows what it
//! holds only by what is free at once ([`Reservation::grow`]), and waits ([`Budget::wait`]) with nothing in its hands,
//! for as much as it can need. What is being sent comes back when it is sent, whoever waits. So there is no ring of
//! uploads that wait for each other; and those that wait are served in their order, the large ones too.
//!
//! A slow client could keep a full buffer for hours: an upload that others wait for gives up what it holds after
//! [`TURN`], and leaves its bytes with the store until it is its turn again.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// How long an upload may gather one part while others wait. At 1 MiB/s a part is full by then, and a client that is
/// slower costs one more write and read of a part in that time.
const TURN: Duration = Duration::from_secs(10);

/// What a reservation begins with: small blobs, such as configurations, take no more.
const LEAST: usize = 64 * 1024;

/// The bytes that all uploads share. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    free: Arc<Semaphore>,
    total: usize,
    waiting: Arc<AtomicUsize>,
    turn: Duration,
}

/// A part of the budget, until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
    /// Absent where a turn is over at once.
    turn: Option<Pin<Box<Sleep>>>,
}

/// Somebody who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Budget {
    pub(super) fn new(total: usize) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self { free: Arc::new(Semaphore::new(total)), total, waiting: Arc::default(), turn: TURN }
    }

    /// Takes a little without waiting; `None` where it is not free.
    pub(super) fn begin(&self) -> Option<Reservation> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.permits(LEAST)).ok()?;
        Some(self.reservation(permit))
    }

    /// Waits for `bytes`; for the whole budget, where it is less. The caller holds no other reservation.
    pub(super) async fn wait(&self, bytes: usize) -> Reservation {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        match Arc::clone(&self.free).acquire_many_owned(self.permits(bytes)).await {
            Ok(permit) => self.reservation(permit),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.total)).unwrap_or(u32::MAX)
    }

    fn reservation(&self, permit: OwnedSemaphorePermit) -> Reservation {
        let turn = (!self.turn.is_zero()).then(|| Box::pin(sleep(self.turn)));
        Reservation { budget: self.clone(), permit: Some(permit), turn }
    }

    /// The same, with turns of another length.
    #[cfg(test)]
    pub(super) fn with_turn(total: usize, turn: Duration) -> Self {
        Self { turn, ..Self::new(total) }
    }

    #[cfg(test)]
    pub(super) fn free_bytes(&self) -> usize {
        self.free.available_permits()
    }
}

impl Reservation {
    /// Makes room for `needed` bytes in all, of at most `most` that will ever be needed; whether that was free.
    pub(super) fn grow(&mut self, needed: usize, most: usize) -> bool {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if needed.min(self.budget.total) <= held {
            return true;
        }
        // Twice as much each time, so that a blob of any size asks a few times.
        let wanted = needed.next_power_of_two().clamp(LEAST.min(most), most.max(needed));
        let more = self.budget.permits(wanted).saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
        let Ok(more) = Arc::clone(&self.budget.free).try_acquire_many_owned(more) else { return false };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        true
    }

    /// Whether so many bytes may be held. More than the whole budget may by one that has all of it.
    pub(super) fn covers(&self, bytes: usize) -> bool {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) >= bytes.min(self.budget.total)
    }

    /// Whether others wait, and this was held for long.
    pub(super) fn is_over(&mut self) -> bool {
        self.budget.waiting.load(Ordering::Relaxed) > 0
            && self.turn.as_mut().is_none_or(|turn| turn.as_mut().now_or_never().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[tokio::test]
    async fn a_reservation_grows_only_by_what_is_free() {
        let budget = Budget::new(2 * MIB);
        let mut first = budget.begin().unwrap();
        assert!(first.grow(MIB, MIB));
        assert_eq!(budget.free_bytes(), MIB);
        let mut second = budget.begin().unwrap();
        assert!(!second.grow(MIB + 1, 2 * MIB));
        drop(first);
        assert!(second.grow(MIB + 1, 2 * MIB));
        drop(second);
        assert_eq!(budget.free_bytes(), 2 * MIB);
    }

    #[tokio::test]
    async fn those_that_wait_are_served_in_their_order() {
        let budget = Budget::new(MIB);
        let held = budget.begin().unwrap();
        let mut large = Box::pin(budget.wait(8 * MIB));
        assert!(large.as_mut().now_or_never().is_none(), "more than there is waits for all of it");
        assert!(budget.begin().is_none(), "nobody overtakes");
        drop(held);
        let large = large.await;
        assert_eq!(budget.free_bytes(), 0);
        drop(large);
        assert_eq!(budget.free_bytes(), MIB);
    }

    #[tokio::test]
    async fn a_turn_is_over_when_others_wait() {
        let budget = Budget::with_turn(MIB, Duration::ZERO);
        let mut held = budget.wait(MIB).await;
        assert!(!held.is_over(), "nobody waits");
        let mut other = Box::pin(budget.wait(MIB));
        assert!(other.as_mut().now_or_never().is_none());
        assert!(held.is_over());
        drop(other);
        assert!(!held.is_over(), "whoever went away does not wait");
        let budget = Budget::new(MIB);
        let mut held = budget.wait(MIB).await;
        let mut other = Box::pin(budget.wait(MIB));
        assert!(other.as_mut().now_or_never().is_none());
        assert!(!held.is_over(), "everybody has a turn");
    }
}
