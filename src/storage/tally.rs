//! Counting while others look.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that grows, until it begins anew.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// How much it is by now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
