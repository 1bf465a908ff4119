//! The memory for bodies that are held whole.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::Error;

/// How much all large bodies take together, in bytes: eight manifests of the usual limit, or one administrative request.
/// What is parsed of them takes about as much again.
const TOTAL: u64 = 32 << 20;

/// How long a body waits for its share: shorter than clients wait for an answer.
const WAIT: Duration = Duration::from_secs(10);

/// Bytes are counted in units of this size, because a semaphore counts up to 32 bits at a time.
const UNIT: u64 = 1 << 10;

/// A bound on the sum of the bodies that are held whole, so that many large manifests at once take turns.
#[derive(Debug)]
pub(super) struct BodyBudget {
    units: Arc<Semaphore>,
    total: u64,
    wait: Duration,
}

/// A part of the budget, until it is dropped.
#[derive(Debug)]
pub(super) struct Share(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl BodyBudget {
    /// Bodies of at most so many bytes are free: nearly every manifest is shorter, and who sends a large one slowly is in
    /// nobody's way.
    pub(super) const FREE: u64 = 64 << 10;

    /// A budget from which at least one body of `largest` bytes can be paid.
    pub(super) fn new(largest: u64) -> Self {
        let total = TOTAL.max(largest).div_ceil(UNIT).min(u64::from(u32::MAX));
        let units = usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units)), total, wait: WAIT }
    }

    /// A share for a body of `bytes`, as soon as there is one.
    ///
    /// # Errors
    /// [`Error::TooManyBodies`] where it had to wait for too long.
    pub(super) async fn reserve(&self, bytes: u64) -> Result<Share, Error> {
        let units = u32::try_from(bytes.div_ceil(UNIT).min(self.total)).unwrap_or(u32::MAX);
        let share = timeout(self.wait, Arc::clone(&self.units).acquire_many_owned(units)).await;
        share.ok().and_then(Result::ok).map(Share).ok_or(Error::TooManyBodies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_beyond_the_budget_wait_and_then_are_refused() {
        let budget = BodyBudget { wait: Duration::from_millis(20), ..BodyBudget::new(4 << 20) };
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(budget.reserve(4 << 20).await.unwrap());
        }
        assert!(matches!(budget.reserve(4 << 20).await, Err(Error::TooManyBodies)));
        held.pop();
        budget.reserve(4 << 20).await.unwrap();
    }

    #[tokio::test]
    async fn the_largest_body_that_is_allowed_fits() {
        let budget = BodyBudget::new(100 << 20);
        drop(budget.reserve(100 << 20).await.unwrap());
        budget.reserve(u64::MAX).await.unwrap();
    }
}
