//! How long things may take.

use std::time::Duration;

/// Every wait of the protocol as one value, so that a test scales them together (docs/protocol.md, *Assumptions*).
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
    /// How long a replica may promise anything after its last sign of life was sent, L. 20 s: three beats may be lost.
    pub lease: Duration,
    /// How often a replica writes that sign, and looks at the others and at what is pending. 5 s: cheap at any store, and
    /// what nobody said is seen soon.
    pub beat: Duration,
    /// How much longer than [`Self::lease`] others wait for a sign before they treat a replica as gone. 10 s: clocks that
    /// differ by a tenth are 4 s apart by then.
    pub gone_margin: Duration,
    /// Within which time a removal, and any write of a delete or restore, has landed or never will, Q. 10 min: its client
    /// gives up after 10 s, and no proxy on the way keeps a request this long.
    pub removal_bound: Duration,
    /// How old a manifest's checks may be when its links are written. 10 min: far less than P, which is what an intent
    /// protects for.
    pub publication_limit: Duration,
    /// How long another replica may take to answer a call, on top of what the call waits for. 5 s: it is in the same
    /// cluster and reads nothing for an answer.
    pub call_wait: Duration,
    /// How long after its expiry an entry of the trash still protects what it names. 10 min: a restore that began just
    /// before it is over by then.
    pub expiry_margin: Duration,
    /// By how much the clocks of the store and of this process may differ for a collection to begin. 5 min: far less
    /// than the grace period, and more than any clock that is kept at all is off.
    pub clock_skew: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            guard_wait: Duration::from_secs(15),
            upload_wait: Duration::from_secs(5),
            grace: Duration::from_secs(24 * 60 * 60),
            lease: Duration::from_secs(20),
            beat: Duration::from_secs(5),
            gone_margin: Duration::from_secs(10),
            removal_bound: Duration::from_secs(10 * 60),
            publication_limit: Duration::from_secs(10 * 60),
            call_wait: Duration::from_secs(5),
            expiry_margin: Duration::from_secs(10 * 60),
            clock_skew: Duration::from_secs(5 * 60),
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
            lease: self.lease / divisor,
            beat: self.beat / divisor,
            gone_margin: self.gone_margin / divisor,
            removal_bound: self.removal_bound / divisor,
            publication_limit: self.publication_limit / divisor,
            call_wait: self.call_wait / divisor,
            expiry_margin: self.expiry_margin / divisor,
            clock_skew: self.clock_skew / divisor,
        }
    }

    /// How long a replica has to be seen unchanged, or evicted, to be gone.
    pub(super) fn gone_after(&self) -> Duration {
        self.lease + self.gone_margin
    }
}
