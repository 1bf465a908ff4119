//! Who is gone, as this process has seen it.

use std::{collections::HashMap, time::Duration};

use ulid::Ulid;

/// What was read of a replica's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// When the read began, and when it was answered, by this process's clock.
    pub(super) began: Duration,
    pub(super) ended: Duration,
    /// The number in its key; `None`: there is no key.
    pub(super) beat: Option<u64>,
    pub(super) is_evicted: bool,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    beat: u64,
    /// Since when the key is known not to have changed.
    since: Duration,
    evicted_since: Option<Duration>,
}

/// Judges by what one process sees, with its own clock alone.
///
/// # Guarantees
/// Who is gone has no lease any more: the beat that was seen had been sent before it was seen, its lease is shorter than
/// what was waited since then, and an answer to a later beat came too late to renew it. It was not evicted later than it
/// was seen to be, and looks for that after each beat. An id is never given twice, so who is gone stays gone.
#[derive(Debug)]
pub(super) struct Observer {
    /// How long a key must not have changed.
    gone_after: Duration,
    seen: HashMap<Ulid, Seen>,
    gone: HashMap<Ulid, Duration>,
}

impl Observer {
    pub(super) fn new(gone_after: Duration) -> Self {
        Self { gone_after, seen: HashMap::new(), gone: HashMap::new() }
    }

    /// Since when a replica is gone, as far as was seen.
    pub(super) fn gone_since(&self, id: Ulid) -> Option<Duration> {
        self.gone.get(&id).copied()
    }

    /// Takes in what was read; since when the replica is gone.
    pub(super) fn observe(&mut self, id: Ulid, sight: Sight) -> Option<Duration> {
        if let Some(gone) = self.gone_since(id) {
            return Some(gone);
        }
        let Some(beat) = sight.beat else {
            // It left in order, or somebody saw that it was gone and removed its key.
            self.seen.remove(&id);
            return Some(*self.gone.entry(id).or_insert(sight.ended));
        };
        let first = Seen { beat, since: sight.ended, evicted_since: None };
        let seen = self.seen.entry(id).or_insert(first);
        if seen.beat != beat {
            (seen.beat, seen.since) = (beat, sight.ended);
        }
        seen.evicted_since = sight.is_evicted.then(|| seen.evicted_since.unwrap_or(sight.ended));
        let unchanged_since = [Some(seen.since), seen.evicted_since].into_iter().flatten().min()?;
        if sight.began < unchanged_since + self.gone_after {
            return None;
        }
        self.seen.remove(&id);
        self.gone.insert(id, sight.began);
        Some(sight.began)
    }

    /// Forgets who has been gone since before `moment`, but for those of `needed`.
    pub(super) fn forget(&mut self, moment: Duration, needed: &[Ulid]) {
        self.gone.retain(|id, since| *since >= moment || needed.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE_AFTER: Duration = Duration::from_secs(30);

    fn id() -> Ulid {
        Ulid::from(1_u128)
    }

    fn sight(began: u64, ended: u64, beat: Option<u64>, is_evicted: bool) -> Sight {
        Sight { began: Duration::from_secs(began), ended: Duration::from_secs(ended), beat, is_evicted }
    }

    fn gone(sights: &[Sight]) -> Vec<Option<u64>> {
        let mut observer = Observer::new(GONE_AFTER);
        sights.iter().map(|sight| observer.observe(id(), *sight).map(|at| at.as_secs())).collect()
    }

    #[test]
    fn a_key_that_does_not_change_is_a_replica_that_is_gone() {
        let sights = [(100, 101), (110, 111), (130, 135), (131, 132), (200, 201)];
        let sights = sights.map(|(began, ended)| sight(began, ended, Some(4), false));
        assert_eq!(gone(&sights), [None, None, None, Some(131), Some(131)], "30 s between an answer and a question");
    }

    #[test]
    fn a_beat_begins_the_wait_anew() {
        let sights = [(100, 4), (120, 5), (140, 5), (150, 5)].map(|(at, beat)| sight(at, at, Some(beat), false));
        assert_eq!(gone(&sights), [None, None, None, Some(150)]);
    }

    #[test]
    fn an_evicted_replica_is_gone_though_it_beats() {
        let sights = [(100, 4, false), (110, 5, true), (130, 6, true), (140, 7, true)];
        let sights = sights.map(|(at, beat, is_evicted)| sight(at, at, Some(beat), is_evicted));
        assert_eq!(gone(&sights), [None, None, None, Some(140)]);
    }

    #[test]
    fn a_key_that_is_not_there_is_a_replica_that_is_gone_since_it_was_seen_to_be() {
        assert_eq!(gone(&[sight(100, 101, None, false), sight(150, 151, Some(1), false)]), [Some(101), Some(101)]);
    }

    #[test]
    fn who_is_needed_is_not_forgotten() {
        let mut observer = Observer::new(GONE_AFTER);
        let other = Ulid::from(2_u128);
        for id in [id(), other] {
            observer.observe(id, sight(100, 100, None, false));
        }
        observer.forget(Duration::from_secs(101), &[other]);
        assert_eq!((observer.gone_since(id()), observer.gone_since(other).is_some()), (None, true));
    }
}
