//! What no two runs have in common: random bits, and threads that take their time.
//!
//! A simulation has one seed for all of it, and one thread; otherwise a run could not be repeated.

use tokio::task::{JoinError, spawn_blocking};

/// Random bits, which nobody can guess.
pub(crate) fn bits() -> u128 {
    #[cfg(test)]
    if let Some(bits) = seeded::next() {
        return bits;
    }
    rand::random()
}

/// Does what takes a processor its time on a thread where nobody waits for it.
///
/// # Errors
/// Where the work panicked, or the runtime is being taken down.
pub(crate) async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(test)]
    if seeded::is_on() {
        return Ok(work());
    }
    spawn_blocking(work).await
}

/// A run that can be repeated.
#[cfg(test)]
pub(crate) mod seeded {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// From now on everything on this thread follows from a seed; `None`: from nothing again.
    pub(crate) fn set(seed: Option<u64>) {
        STATE.set(seed);
    }

    pub(super) fn is_on() -> bool {
        STATE.get().is_some()
    }

    pub(super) fn next() -> Option<u128> {
        let mut state = STATE.get()?;
        let bits = (u128::from(step(&mut state)) << 64) | u128::from(step(&mut state));
        STATE.set(Some(state));
        Some(bits)
    }

    /// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    pub(crate) fn step(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
