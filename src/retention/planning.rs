//! What planning needs to know beside a repository.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::oci::{RepositoryName, Tag};

use super::{ImmutableTags, Policy, PolicyId, Reason};

/// The policies, the one that runs, the restore window and the time.
#[derive(Debug, Clone, Copy)]
pub struct Planning<'a> {
    policies: &'a [Policy],
    running: &'a Policy,
    restore_window: Duration,
    now: Timestamp,
    immutable: Option<&'a ImmutableTags>,
}

impl<'a> Planning<'a> {
    /// `policies` are all of the Registry, the one that runs among them; `None` if it is not.
    #[must_use]
    pub fn new(policies: &'a [Policy], running: &PolicyId, restore_window: Duration, now: Timestamp) -> Option<Self> {
        let running = policies.iter().find(|policy| policy.id == *running)?;
        Some(Self { policies, running, restore_window, now, immutable: None })
    }

    /// The same, where these tags are immutable.
    #[must_use]
    pub fn with_immutable(self, immutable: &'a ImmutableTags) -> Self {
        Self { immutable: Some(immutable), ..self }
    }

    /// The same, as if there was no other policy.
    pub(super) fn alone(self) -> Self {
        Self { policies: std::slice::from_ref(self.running), ..self }
    }

    /// Whether a tag is immutable.
    pub(super) fn is_immutable(&self, repository: &RepositoryName, tag: &Tag) -> bool {
        self.immutable.is_some_and(|immutable| immutable.contains(repository, tag))
    }

    /// All policies of the Registry.
    #[must_use]
    pub fn policies(&self) -> &'a [Policy] {
        self.policies
    }

    /// The policy that runs.
    #[must_use]
    pub fn running(&self) -> &'a Policy {
        self.running
    }

    /// The time that ages count to.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The reason to keep what was restored at `at`, if it is one.
    pub(super) fn restored(&self, at: Timestamp) -> Option<Reason> {
        let window = self.restore_window;
        is_younger(at, window, self.now).then_some(Reason::Restored { at, window })
    }
}

/// Whether less than `age` has passed since `since`. What lies in the future is young, and an age that no clock
/// can count is never reached.
pub(super) fn is_younger(since: Timestamp, age: Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(age).map_or(true, |age| now.duration_since(since) < age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_reached_exactly_at_its_end() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let hour = Duration::from_secs(3600);
        assert!(is_younger(at(0), hour, at(3599)));
        assert!(!is_younger(at(0), hour, at(3600)));
        assert!(is_younger(at(10), Duration::from_secs(1), at(0)), "the future is young");
        assert!(!is_younger(at(0), Duration::ZERO, at(0)));
        assert!(is_younger(at(0), Duration::MAX, at(1 << 30)));
    }
}
