//! Whether processes live that give signs of life, as this one has seen it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ulid::Ulid;

/// The last signs of other processes, or of what they are at, judged with this process's clock alone.
#[derive(Debug)]
pub struct Sightings<S> {
    /// How long a sign must not have changed.
    gone_after: Duration,
    seen: Mutex<HashMap<Ulid, (S, Duration)>>,
}

impl<S: PartialEq> Sightings<S> {
    /// Of whom nothing was seen; who gives the same sign for `gone_after` is gone.
    #[must_use]
    pub fn new(gone_after: Duration) -> Self {
        Self { gone_after, seen: Mutex::default() }
    }

    /// Takes in a sign; whether its process has given no other for so long that it is gone.
    pub fn is_gone(&self, id: Ulid, sign: S, now: Duration) -> bool {
        let mut seen = self.lock();
        let since = match seen.remove(&id) {
            Some((known, since)) if known == sign => since,
            _ => now,
        };
        seen.insert(id, (sign, since));
        now.saturating_sub(since) >= self.gone_after
    }

    /// Forgets all but these.
    pub fn retain(&self, is_kept: impl Fn(&Ulid) -> bool) {
        self.lock().retain(|id, _| is_kept(id));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ulid, (S, Duration)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
