//! When a policy is due, where there is no operator to say so.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::wire::PolicySource;
use crate::retention::{Due, Schedule, ScheduleError};

/// A policy's schedule, and the runs that it has had.
#[derive(Debug)]
pub struct PolicyClock {
    schedule: Schedule,
    deadline: Duration,
    handled: Timestamp,
}

impl PolicyClock {
    /// A clock that counts from `since`: what was due before is not made up for.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub fn new(policy: &PolicySource, since: Timestamp) -> Result<Self, ScheduleError> {
        let schedule = Schedule::parse(&policy.spec.schedule, &policy.spec.time_zone)?;
        Ok(Self { schedule, deadline: policy.spec.starting_deadline.as_std(), handled: since })
    }

    /// What is to be done now.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Due {
        self.schedule.due(self.handled, now, self.deadline)
    }

    /// The run of that time has started.
    pub fn handle(&mut self, scheduled: Timestamp) {
        self.handled = self.handled.max(scheduled);
    }
}
