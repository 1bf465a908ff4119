//! How long things may take.

use std::time::Duration;

/// Every wait of the protocol as one value, so that a test scales them together (PROTOCOL.md, *Assumptions*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long an operation waits for a frozen key, and a delete for what is in flight. 15 s: longer than any manifest
    /// PUT should take, and shorter than clients wait for an answer.
    pub guard_wait: Duration,
    /// The grace period, P: a link that is younger protects what it names from collection, whether or not a manifest
    /// references it yet. 24 h: twice the longest push that is planned for.
    pub grace: Duration,
    /// How long a request waits for an upload that another one is writing to. 5 s: a client whose connection broke is
    /// back before the server has noticed, which takes it a moment.
    pub upload_wait: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            guard_wait: Duration::from_secs(15),
            upload_wait: Duration::from_secs(5),
            grace: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Timing {
    /// The same proportions, `divisor` times as fast; 0 is taken as 1.
    #[must_use]
    pub fn faster(self, divisor: u32) -> Self {
        let divisor = divisor.max(1);
        Self {
            guard_wait: self.guard_wait / divisor,
            upload_wait: self.upload_wait / divisor,
            grace: self.grace / divisor,
        }
    }
}
