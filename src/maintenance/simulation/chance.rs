//! What is different from seed to seed.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::storage::seeded;

/// The one source of everything that happens by chance in a world.
#[derive(Debug)]
pub(super) struct Chance(Mutex<u64>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// A number below `bound`.
    pub(super) fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seeded::step(&mut state) % bound.max(1)
    }

    /// Whether something happens that does so many times of a thousand.
    pub(super) fn hits(&self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// Up to and including `longest`, in milliseconds.
    pub(super) fn up_to(&self, longest: Duration) -> Duration {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.below(longest.saturating_add(1)))
    }

    /// One of several.
    pub(super) fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(of.len() as u64)).unwrap();
        &of[at]
    }
}
