//! How hard a world is.

use std::time::Duration;

use jiff::SignedDuration;

use crate::storage::Timing;

use super::chance::Chance;

/// What a seed decides before anything happens.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    /// Several processes on a shared store; otherwise one on a folder.
    pub(super) is_shared: bool,
    /// How long most requests and answers are on their way.
    pub(super) latency: Duration,
    /// How many of a thousand take far longer.
    pub(super) slow: u64,
    /// How many of a thousand requests to the store go wrong.
    pub(super) errors: u64,
    /// How many of a thousand calls between replicas get lost.
    pub(super) lost_calls: u64,
    /// The time between two of the troubles that befall a process; none: there are none.
    pub(super) trouble: Option<Duration>,
    /// By how much clocks may count faster or slower, in thousandths.
    pub(super) drift: u32,
    /// How wrong wall clocks are, each in its own way. Up to [`Timing::clock_skew`] is what docs/protocol.md assumes;
    /// beyond it I2 is not promised.
    pub(super) skew: SignedDuration,
    /// How many of a thousand pushes take their time between the blobs and the manifest.
    pub(super) dawdles: u64,
    /// How many of a thousand questions a client does not wait for to be answered.
    pub(super) hangs_up: u64,
    /// How many of a thousand blobs are mounted from elsewhere, where they can be.
    pub(super) mounts: u64,
    /// How many of a thousand uploads come in two parts.
    pub(super) in_two: u64,
    /// The time between two collections; none: there are none.
    pub(super) collects: Option<Duration>,
    pub(super) clients: u64,
    /// The longest pause between what a client does.
    pub(super) pause: Duration,
    /// For how long clients go on.
    pub(super) lasts: Duration,
}

impl Profile {
    /// Nothing goes wrong.
    pub(super) fn quiet(is_shared: bool) -> Self {
        Self {
            is_shared,
            latency: Duration::from_millis(2),
            slow: 0,
            errors: 0,
            lost_calls: 0,
            trouble: None,
            drift: 0,
            skew: SignedDuration::ZERO,
            dawdles: 0,
            hangs_up: 0,
            mounts: 0,
            in_two: 1_000,
            collects: None,
            clients: 0,
            pause: Duration::ZERO,
            lasts: Duration::ZERO,
        }
    }

    /// Whether a promise holds for as long as it should: no clock is further off than is assumed.
    pub(super) fn keeps_time(&self) -> bool {
        self.skew.unsigned_abs() <= timing().clock_skew
    }

    pub(super) fn of(chance: &Chance) -> Self {
        let seconds = Duration::from_secs;
        let is_shared = chance.below(4) > 0;
        let trouble = [None, Some(seconds(60)), Some(seconds(25)), Some(seconds(10))];
        let skews = [0, 700, 2_000, 20_000].map(SignedDuration::from_millis);
        Self {
            is_shared,
            latency: Duration::from_millis(*chance.pick(&[2, 30, 30, 300, 1_500])),
            slow: *chance.pick(&[0, 0, 3, 15]),
            errors: *chance.pick(&[0, 0, 5, 30]),
            lost_calls: *chance.pick(&[0, 0, 20, 100]),
            trouble: *chance.pick(&trouble),
            drift: *chance.pick(&[0, 45]),
            skew: *chance.pick(&skews),
            dawdles: 100,
            hangs_up: 20,
            mounts: 300,
            in_two: 300,
            collects: *chance.pick(&[None, Some(seconds(5)), Some(seconds(5)), Some(seconds(30))]),
            clients: 3 + chance.below(4),
            pause: seconds(*chance.pick(&[2, 8, 20])),
            lasts: seconds(*chance.pick(&[40, 100, 240])),
        }
    }
}

/// The protocol's times in other proportions: P is short enough to pass, and still longer than everything that it has to
/// be longer than.
pub(super) fn timing() -> Timing {
    let seconds = Duration::from_secs;
    Timing {
        guard_wait: seconds(10),
        grace: seconds(60),
        removal_bound: seconds(30),
        publication_limit: seconds(20),
        expiry_margin: seconds(15),
        clock_skew: seconds(2),
        ..Timing::default()
    }
}
