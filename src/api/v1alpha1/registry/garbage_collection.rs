//! When and how the bytes go that nothing needs any more.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::rules::rules_of_duration;
use crate::api::{Duration, FieldError};
use crate::retention::{Schedule, ScheduleError};

/// A schedule has no zone of its own here: garbage knows no wall clock.
const ZONE: &str = "Etc/UTC";

/// The shortest grace period, in seconds: ten minutes, which a push may well take.
const MIN_GRACE_SECONDS: u64 = 600;

/// The grace period where none is given, in seconds: a day, which is twice the longest push that is planned for.
const DEFAULT_GRACE_SECONDS: u32 = 24 * 60 * 60;

/// When and how the bytes go that nothing needs any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GarbageCollectionSpec {
    /// Online: on the schedule, while the registry serves. Disabled: nothing is ever collected, and storage only grows.
    pub mode: GarbageCollectionMode,
    /// When to collect, as cron writes it, in UTC: minute, hour, day of the month, month, day of the week.
    #[schemars(length(min = 1, max = 128))]
    pub schedule: String,
    /// How old a blob must be before it can be garbage: what is younger may belong to a push that is still going on. At
    /// least 10m, at least twice as long as the longest push, and at most as long as deletion.restoreWindow. Where it is
    /// not given: 24h, or the restore window where that is shorter.
    #[schemars(extend("x-kubernetes-validations" = rules_of_duration(&[(
        "duration(self) >= duration('10m')",
        "gracePeriod must be at least 10m: a push may take that long, and what it has uploaded must not go meanwhile"
    )])))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Duration>,
}

impl Default for GarbageCollectionSpec {
    fn default() -> Self {
        Self { mode: GarbageCollectionMode::default(), schedule: default_collection_schedule(), grace_period: None }
    }
}

/// Daily at four, an hour after policies run by default, so that what they purge is looked at soon.
#[must_use]
pub fn default_collection_schedule() -> String {
    "0 4 * * *".to_owned()
}

/// Whether garbage is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum GarbageCollectionMode {
    /// While the registry serves.
    #[default]
    Online,
    /// Never.
    Disabled,
}

impl GarbageCollectionSpec {
    /// When to collect.
    ///
    /// # Errors
    /// [`FieldError`] of `schedule`.
    pub fn compile_schedule(&self) -> Result<Schedule, FieldError> {
        compile_collection_schedule(&self.schedule)
    }
}

/// When to collect.
///
/// # Errors
/// [`FieldError`] of `schedule`, without what it lies below.
pub fn compile_collection_schedule(cron: &str) -> Result<Schedule, FieldError> {
    Schedule::parse(cron, ZONE).map_err(|error: ScheduleError| FieldError::new("schedule", error))
}

/// The grace period that counts.
///
/// # Errors
/// [`FieldError`] of `gracePeriod`, without what it lies below.
pub fn grace_period(given: Option<&Duration>, restore_window: &Duration) -> Result<Duration, FieldError> {
    let wrong = |reason: String| Err(FieldError::new("gracePeriod", reason));
    let Some(given) = given else {
        let default = Duration::from_seconds(DEFAULT_GRACE_SECONDS);
        let is_shorter = restore_window.as_seconds() < default.as_seconds();
        return Ok(if is_shorter { restore_window.clone() } else { default });
    };
    if given.as_seconds() < MIN_GRACE_SECONDS {
        return wrong(format!("{given} is too short: at least 10m, for a push may take that long"));
    }
    if given.as_seconds() > restore_window.as_seconds() {
        return wrong(format!("{given} is longer than deletion.restoreWindow, {restore_window}: make it shorter"));
    }
    Ok(given.clone())
}

/// The collection that runs, or the last one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GarbageCollectionStatus {
    /// Its name, as the registry's report has it.
    #[schemars(length(max = 64))]
    pub report: String,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How many blobs it removed.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_blobs: Option<i64>,
    /// How many bytes it freed.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reclaimed_bytes: Option<i64>,
    /// How it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<GarbageCollectionResult>,
    /// What stopped it before it removed anything, for result Halted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brake: Option<CollectionBrake>,
    /// What there is to say about that, and what to do.
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a collection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GarbageCollectionResult {
    /// It removed what nothing needs.
    Completed,
    /// A brake stopped it before it removed anything.
    Halted,
    /// Something could not be read, so it is not known what is needed.
    Failed,
    /// The process that was at it stopped, or another replica went away.
    Interrupted,
}

/// What stopped a collection before it removed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CollectionBrake {
    /// More than a fifth of the repositories are gone since the last one. It goes on when confirmed.
    RepositoriesVanished,
    /// More than 30 % of the blobs would go. It goes on when confirmed.
    TooMuch,
    /// Another registry wrote this store before; somebody has to confirm that it does not any more.
    NotConfirmed,
    /// Another registry wrote to this store after it was first served here. It goes on when confirmed.
    ForeignWriter,
    /// The store has been served for less than the grace period, or the node was started since.
    TooYoung,
    /// The clocks of the store and of the registry are more than five minutes apart.
    ClockSkew,
    /// What is written to the store is not always seen.
    UnfitStore,
}

impl CollectionBrake {
    /// Whether it is released by somebody who says so; the others are when their cause goes.
    #[must_use]
    pub fn is_confirmable(self) -> bool {
        match self {
            Self::RepositoriesVanished | Self::TooMuch | Self::NotConfirmed | Self::ForeignWriter => true,
            Self::TooYoung | Self::ClockSkew | Self::UnfitStore => false,
        }
    }

    /// Whether somebody has to do something. A store that is young grows older by itself.
    #[must_use]
    pub fn needs_somebody(self) -> bool {
        self != Self::TooYoung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Duration {
        text.parse().unwrap()
    }

    #[test]
    fn grace_period_is_a_day_or_a_shorter_restore_window() {
        assert_eq!(grace_period(None, &duration("168h")).unwrap(), duration("24h"));
        assert_eq!(grace_period(None, &duration("1h")).unwrap(), duration("1h"));
        assert_eq!(grace_period(Some(&duration("10m")), &duration("10m")).unwrap(), duration("10m"));
    }

    #[test]
    fn grace_period_out_of_bounds_says_what_would_be_right() {
        for (given, window, words) in [
            ("0s", "168h", "at least 10m"),
            ("599s", "168h", "at least 10m"),
            ("169h", "168h", "longer than deletion.restoreWindow, 168h"),
        ] {
            let error = grace_period(Some(&duration(given)), &duration(window)).unwrap_err();
            assert_eq!(error.path, "gracePeriod");
            assert!(error.message.contains(words), "{error}");
        }
        // Less than nothing is not even written so.
        assert!("-10m".parse::<Duration>().is_err());
    }

    #[test]
    fn schedule_that_is_none_names_its_field() {
        for cron in ["nightly", "0 4 30 2 *", "* * *", "0 0 4 * * *"] {
            let spec = GarbageCollectionSpec { schedule: cron.to_owned(), ..GarbageCollectionSpec::default() };
            assert_eq!(spec.compile_schedule().unwrap_err().path, "schedule", "{cron}");
        }
        assert!(GarbageCollectionSpec::default().compile_schedule().is_ok());
    }
}
