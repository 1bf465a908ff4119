//! Names that sort by the time they were given.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use ulid::Ulid;

use super::entropy;

/// Makes ULIDs. Each is greater than those before it, also when the clock stands still or goes back, so that "newest"
/// means "given last".
#[derive(Debug, Default)]
pub(super) struct IdSource {
    last: Mutex<Option<Ulid>>,
}

impl IdSource {
    /// A new name, given at `now`.
    pub(super) fn next(&self, now: Timestamp) -> Ulid {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let fresh = Ulid::from_parts(milliseconds, entropy::bits());
        let next = last.map_or(fresh, |last| fresh.max(Ulid(last.0.saturating_add(1))));
        *last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_grow_while_the_clock_stands_or_goes_back() {
        let ids = IdSource::default();
        let moments = [5_000, 5_000, 5_000, 4_000, 6_000].map(|ms| Timestamp::from_millisecond(ms).unwrap());
        let names = moments.map(|now| ids.next(now));
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert_eq!(names[4].timestamp_ms(), 6_000);
    }
}
