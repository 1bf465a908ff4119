//! How fast a process of a test lives: every time of the protocol scaled down as a whole (docs/protocol.md,
//! *Assumptions*).

use std::time::Duration;

use crate::storage::{Options, Timing};

use super::exit::InvalidUsage;
use super::secret_file::variable;

/// By what the times are divided. For tests only: every process of a store must have the same one, and a push that takes
/// longer than half of what is left of the grace period is not safe.
const VARIABLE: &str = "LAGAN_TEST_TIMING_DIVISOR";

/// The largest one. With 100 a replica writes its sign of life 20 times a second, and loses its lease when a busy machine
/// lets it wait for a fifth.
const MAX_DIVISOR: u32 = 100;

/// By what times are divided: 1 where nobody tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace(u32);

impl Pace {
    /// What the environment says, with a warning where it says something.
    ///
    /// # Errors
    /// Where that is no number from 1 to [`MAX_DIVISOR`].
    pub(super) fn of_environment() -> Result<Self, InvalidUsage> {
        let Some(text) = variable(VARIABLE) else { return Ok(Self(1)) };
        let pace = Self::parse(&text)?;
        tracing::warn!(
            divisor = pace.0,
            "{VARIABLE} is set: for tests only, content is collected sooner than it is safe"
        );
        Ok(pace)
    }

    fn parse(text: &str) -> Result<Self, InvalidUsage> {
        let divisor = text.parse().ok().filter(|divisor| (1..=MAX_DIVISOR).contains(divisor));
        divisor
            .map(Self)
            .ok_or_else(|| InvalidUsage(format!("{VARIABLE} is {text:?}: give a number from 1 to {MAX_DIVISOR}")))
    }

    /// All waits of the protocol, the grace period too.
    pub(super) fn timing(self, timing: Timing) -> Timing {
        timing.faster(self.0)
    }

    /// The restore window.
    pub(super) fn options(self, options: Options) -> Options {
        Options { restore_window: self.duration(options.restore_window), ..options }
    }

    fn duration(self, duration: Duration) -> Duration {
        duration / self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisor_scales_all_times_and_nothing_else_is_one() {
        let pace = Pace::parse("10").unwrap();
        assert_eq!(pace.timing(Timing::default()).lease, Duration::from_secs(2));
        assert_eq!(pace.duration(Duration::from_secs(600)), Duration::from_secs(60));
        assert_eq!(Pace::parse("1").unwrap().timing(Timing::default()), Timing::default());
        for text in ["0", "101", "-1", "ten", "1.5"] {
            assert!(Pace::parse(text).is_err(), "{text}");
        }
    }
}
