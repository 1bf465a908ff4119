//! When holds were looked at that no run looks after.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

/// Holds that no run looks after are looked at this often: as often as a policy is looked at without a cause.
const LOOK_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// When this process last looked at the holds of policies that have no run before them, by the policy's UID.
///
/// It is not in a status, for the status of a policy that rests is not written; who leads next looks at once.
#[derive(Debug, Default)]
pub struct HoldLooks {
    at: Mutex<HashMap<String, Timestamp>>,
}

impl HoldLooks {
    /// Whether the holds of a policy are to be looked at.
    pub(super) fn are_due(&self, uid: &str, now: Timestamp) -> bool {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.get(uid).is_none_or(|at| is_past(*at, now))
    }

    /// They were looked at.
    pub(super) fn note(&self, uid: &str, now: Timestamp) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        // What is due anyway need not be remembered: so nothing stays of policies that are gone.
        at.retain(|_, at| !is_past(*at, now));
        at.insert(uid.to_owned(), now);
    }
}

fn is_past(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) >= LOOK_EVERY
}
