//! Certificates of the operator's own: an authority for each Registry, and what it signs.
//!
//! Pure, but for randomness: the time is handed in, and nothing is stored here.

mod authority;
mod leaf;
mod pem;

pub use authority::{Authority, AuthorityKeys};
pub use leaf::{Leaf, LeafUse, leaf_problem};
pub use pem::{Validity, validity};

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be made.
    #[error("could not make a certificate")]
    Make(#[from] rcgen::Error),
    /// It could not be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// A Secret lacks a key.
    #[error("the key {key} is missing or is no text")]
    KeyMissing {
        /// The key in the Secret's data.
        key: &'static str,
    },
}

/// The hours of a day.
const DAY_HOURS: i64 = 24;

/// Certificates are valid from a little before they are made: clocks of clients are late by minutes at times.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Sets from when to when a certificate is valid. Times before 1970 cannot be expressed, and do not occur.
fn set_validity(params: &mut rcgen::CertificateParams, now: Timestamp, valid_for: SignedDuration) {
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + (now + valid_for.unsigned_abs());
}
