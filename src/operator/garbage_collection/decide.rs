//! Whether a collection is to begin now. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::v1alpha1::{
    AccessMode, CollectionBrake, GarbageCollectionMode, GarbageCollectionResult, GarbageCollectionStatus,
    ManagementState, Registry,
};
use crate::retention::{Due, Schedule};

/// The annotation that lets a collection go on that a brake stopped: its value is the name of the report.
pub const CONFIRM: &str = "lagan.dev/confirm-collection";

/// A collection that is later than this is left out: the next one is due soon.
const STARTING_DEADLINE: Duration = Duration::from_secs(12 * 60 * 60);

/// For so long the schedule leaves a report alone that waits to be confirmed: a week, so that whoever was away can
/// still read what would have gone, and confirm just that.
const WAITS_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// An interrupted collection is begun anew after this: by then the replica that went is replaced.
const AFTER_INTERRUPTION: SignedDuration = SignedDuration::from_mins(15);

/// What is to be done about a Registry's garbage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until then.
    Wait {
        /// When the schedule says so next, if ever.
        until: Option<Timestamp>,
    },
    /// A collection begins.
    Begin {
        /// The report that somebody has confirmed.
        confirm: Option<String>,
    },
}

/// Whether a Registry collects garbage at all, as it is now.
#[must_use]
pub fn collects(registry: &Registry) -> bool {
    let spec = &registry.spec;
    let answers = registry.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0) > 0;
    registry.metadata.deletion_timestamp.is_none()
        && spec.management_state == ManagementState::Managed
        && spec.garbage_collection.mode == GarbageCollectionMode::Online
        && spec.access_mode == AccessMode::ReadWrite
        && answers
}

/// What is to be done at `now`, when none runs and `last` is the last one.
#[must_use]
pub fn decide(
    registry: &Registry,
    schedule: &Schedule,
    last: Option<&GarbageCollectionStatus>,
    now: Timestamp,
) -> Step {
    if let Some(report) = last.and_then(|last| confirmed(registry, last)) {
        return Step::Begin { confirm: Some(report) };
    }
    let began = last.and_then(|last| last.start_time.as_ref()).map(|time| time.0);
    let age = began.map(|began| now.duration_since(began));
    let is_interrupted = last.is_some_and(|last| last.result == Some(GarbageCollectionResult::Interrupted));
    if is_interrupted && age.is_some_and(|age| age >= AFTER_INTERRUPTION) {
        return Step::Begin { confirm: None };
    }
    let waits = last.is_some_and(waits_for_somebody) && age.is_some_and(|age| age < WAITS_FOR);
    if waits {
        return Step::Wait { until: None };
    }
    let since = began.or_else(|| registry.creation_timestamp().map(|time| time.0)).unwrap_or(now);
    match schedule.due(since, now, STARTING_DEADLINE) {
        Due::Now(_) => Step::Begin { confirm: None },
        Due::At(next) => Step::Wait { until: Some(next) },
        Due::Never => Step::Wait { until: None },
    }
}

/// The report of the last collection, if a brake stopped it and the annotation names it. What goes on then has a report of
/// its own, so each confirmation works once.
fn confirmed(registry: &Registry, last: &GarbageCollectionStatus) -> Option<String> {
    let named = registry.annotations().get(CONFIRM)?;
    (waits_for_somebody(last) && *named == last.report).then(|| last.report.clone())
}

fn waits_for_somebody(last: &GarbageCollectionStatus) -> bool {
    last.result == Some(GarbageCollectionResult::Halted) && last.brake.is_some_and(CollectionBrake::is_confirmable)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const REPORT: &str = "01J00000000000000000000000";

    fn registry(annotation: Option<&str>) -> Registry {
        let mut registry = Registry::new("main", serde_json::from_value(json!({})).unwrap());
        registry.metadata.creation_timestamp = Some(serde_json::from_value(json!("2026-07-01T01:00:00Z")).unwrap());
        registry.metadata.annotations = annotation.map(|value| [(CONFIRM.to_owned(), value.to_owned())].into());
        registry
    }

    fn decided(annotation: Option<&str>, last: impl Into<Option<Value>>, now: &str) -> Step {
        let registry = registry(annotation);
        let last: Option<GarbageCollectionStatus> = last.into().map(|last| serde_json::from_value(last).unwrap());
        let schedule = registry.spec.garbage_collection.compile_schedule().unwrap();
        decide(&registry, &schedule, last.as_ref(), now.parse().unwrap())
    }

    fn ended(result: &str, brake: Option<&str>, start: &str) -> Value {
        let mut last = json!({"report": REPORT, "startTime": start, "completionTime": start, "result": result});
        if let Some(brake) = brake {
            last["brake"] = json!(brake);
        }
        last
    }

    fn until(time: &str) -> Step {
        Step::Wait { until: Some(time.parse().unwrap()) }
    }

    #[test]
    fn schedule_begins_one_each_time_and_makes_up_for_the_last_one_only() {
        let begin = Step::Begin { confirm: None };
        assert_eq!(decided(None, None, "2026-07-01T02:00:00Z"), until("2026-07-01T04:00:00Z"));
        assert_eq!(decided(None, None, "2026-07-01T04:00:00Z"), begin);
        assert_eq!(decided(None, None, "2026-07-01T15:00:00Z"), begin);
        assert_eq!(decided(None, None, "2026-07-01T17:00:00Z"), until("2026-07-02T04:00:00Z"));
        let done = ended("Completed", None, "2026-07-01T04:00:05Z");
        assert_eq!(decided(None, done.clone(), "2026-07-01T05:00:00Z"), until("2026-07-02T04:00:00Z"));
        assert_eq!(decided(None, done, "2026-07-02T04:00:00Z"), begin);
    }

    #[test]
    fn report_that_waits_goes_on_when_it_is_named_and_is_left_alone_for_a_week() {
        let halted = || ended("Halted", Some("TooMuch"), "2026-07-01T04:00:05Z");
        let confirmed = Step::Begin { confirm: Some(REPORT.to_owned()) };
        assert_eq!(decided(Some(REPORT), halted(), "2026-07-01T05:00:00Z"), confirmed);
        for annotation in [None, Some("01J00000000000000000000001"), Some("")] {
            assert_eq!(decided(annotation, halted(), "2026-07-04T04:00:00Z"), Step::Wait { until: None });
        }
        assert_eq!(decided(None, halted(), "2026-07-09T04:00:00Z"), Step::Begin { confirm: None });
        // What it let go on has another report.
        let after = ended("Completed", None, "2026-07-01T05:00:00Z");
        assert_eq!(decided(Some(REPORT), after, "2026-07-01T06:00:00Z"), until("2026-07-02T04:00:00Z"));
    }

    #[test]
    fn brake_that_nobody_can_release_is_tried_again_on_the_schedule() {
        let young = || ended("Halted", Some("TooYoung"), "2026-07-01T04:00:05Z");
        assert_eq!(decided(Some(REPORT), young(), "2026-07-01T05:00:00Z"), until("2026-07-02T04:00:00Z"));
        assert_eq!(decided(None, young(), "2026-07-02T04:00:00Z"), Step::Begin { confirm: None });
    }

    #[test]
    fn interrupted_one_is_begun_anew_before_its_time() {
        let interrupted = || ended("Interrupted", None, "2026-07-01T04:00:00Z");
        assert_eq!(decided(None, interrupted(), "2026-07-01T04:10:00Z"), until("2026-07-02T04:00:00Z"));
        assert_eq!(decided(None, interrupted(), "2026-07-01T04:15:00Z"), Step::Begin { confirm: None });
    }

    #[test]
    fn registry_that_does_not_answer_or_takes_no_writes_collects_nothing() {
        let mut answering = registry(None);
        answering.status = Some(serde_json::from_value(json!({"readyReplicas": 1})).unwrap());
        assert!(collects(&answering));
        assert!(!collects(&registry(None)));
        for spec in [
            json!({"accessMode": "ReadOnly"}),
            json!({"garbageCollection": {"mode": "Disabled"}}),
            json!({"managementState": "Unmanaged"}),
        ] {
            let mut other = answering.clone();
            other.spec = serde_json::from_value(spec.clone()).unwrap();
            assert!(!collects(&other), "{spec}");
        }
    }
}
