//! The one place that reads the wall clock.

use jiff::Timestamp;

use crate::storage::Clock;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "everything else is handed the time, and it comes from here")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
