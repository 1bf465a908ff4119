//! Whether the process lives that is at a scrub, as this one has seen it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ulid::Ulid;

/// The last signs of other processes' scrubs, judged with this process's clock alone.
#[derive(Debug)]
pub(super) struct Sightings {
    /// How long a sign must not have changed.
    gone_after: Duration,
    seen: Mutex<HashMap<Ulid, (u64, Duration)>>,
}

impl Sightings {
    pub(super) fn new(gone_after: Duration) -> Self {
        Self { gone_after, seen: Mutex::default() }
    }

    /// Takes in a sign; whether its process has given no other for so long that it is gone.
    pub(super) fn is_gone(&self, id: Ulid, beat: u64, now: Duration) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.entry(id).or_insert((beat, now));
        if known.0 != beat {
            *known = (beat, now);
        }
        now.saturating_sub(known.1) >= self.gone_after
    }

    /// Forgets all scrubs but these.
    pub(super) fn retain(&self, ids: &[Ulid]) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| ids.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_no_other_sign_for_long_is_gone() {
        let at = Duration::from_secs;
        let sightings = Sightings::new(at(15));
        let id = Ulid::from_parts(1, 1);
        assert!(!sightings.is_gone(id, 7, at(100)), "whatever was before, it is seen for the first time");
        assert!(!sightings.is_gone(id, 7, at(114)));
        assert!(sightings.is_gone(id, 7, at(115)));
        assert!(!sightings.is_gone(id, 8, at(116)));
        assert!(!sightings.is_gone(id, 8, at(130)));
        assert!(sightings.is_gone(id, 8, at(131)));
    }
}
