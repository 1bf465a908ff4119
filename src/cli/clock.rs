//! The one place that reads the clocks.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::storage::Clock;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "everything else is handed the time, and it comes from here")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boot_time(&self) -> Duration {
        let since_boot = clock_gettime(ClockId::Boottime);
        // Neither is ever negative.
        let seconds = u64::try_from(since_boot.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(since_boot.tv_nsec).unwrap_or_default())
    }
}
