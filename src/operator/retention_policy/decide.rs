//! What is to be done about a policy now. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::v1alpha1::RetentionPolicy;
use crate::oci::{Algorithm, Digest};
use crate::retention::{Due, Schedule};

/// The annotation that asks for a run: each new value is one.
pub const RUN_AT: &str = "lagan.dev/run-at";

/// The bound of `status.lastHandledRunAt`, in characters.
const MAX_VALUE_CHARS: usize = 256;

/// So much of a hash tells annotations apart, in hexadecimal characters.
const HASH_CHARS: usize = 16;

/// What is to be done about a policy's runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// A run begins.
    Start(Trigger),
    /// The run that has begun goes on.
    Continue {
        /// Its id.
        run: String,
    },
}

/// Why a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// This time of the schedule has come.
    Schedule(Timestamp),
    /// The annotation has this value, and had it not before.
    Annotation(String),
}

impl Trigger {
    /// The id of the run. The same for whoever asks, until the status says that the run has begun.
    #[must_use]
    pub fn run_id(&self, policy: &RetentionPolicy) -> String {
        let uid = policy.uid().unwrap_or_default();
        match self {
            Self::Schedule(time) => format!("{uid}.{}", time.as_second()),
            Self::Annotation(value) => {
                // With the run before it: a value that comes back later asks for another run.
                let last = policy.status.as_ref().and_then(|status| status.last_run.as_ref());
                let last = last.map_or("", |last| last.run.as_str());
                let hash = Digest::of(Algorithm::Sha256, format!("{last}\n{value}").as_bytes());
                format!("{uid}.at-{}", hash.hex().get(..HASH_CHARS).unwrap_or_default())
            }
        }
    }
}

/// What is to be done at `now`.
///
/// A run that was asked for with the annotation begins even while the policy is suspended, as a Job made from a
/// suspended `CronJob` does: `suspend` stops the schedule. Of the times that were missed only the last one counts,
/// and not beyond `startingDeadline`.
#[must_use]
pub fn decide(policy: &RetentionPolicy, schedule: &Schedule, now: Timestamp) -> Step {
    let status = policy.status.as_ref();
    if let Some(run) = status.and_then(|status| status.last_run.as_ref()).filter(|run| run.completion_time.is_none()) {
        return Step::Continue { run: run.run.clone() };
    }
    let handled = status.and_then(|status| status.last_handled_run_at.as_deref());
    if let Some(value) = asked_for(policy).filter(|value| Some(value.as_str()) != handled) {
        return Step::Start(Trigger::Annotation(value));
    }
    if policy.spec.suspend {
        return Step::Wait;
    }
    let last = status.and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
    let since = last.or_else(|| policy.creation_timestamp().map(|time| time.0)).unwrap_or(now);
    match schedule.due(since, now, policy.spec.starting_deadline.as_std()) {
        Due::Now(time) => Step::Start(Trigger::Schedule(time)),
        Due::At(_) | Due::Never => Step::Wait,
    }
}

/// The value of the annotation, if it has one.
fn asked_for(policy: &RetentionPolicy) -> Option<String> {
    let value = policy.annotations().get(RUN_AT)?;
    (!value.is_empty()).then(|| value.chars().take(MAX_VALUE_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(spec: &Value, annotation: Option<&str>, status: &Value) -> RetentionPolicy {
        let mut full = json!({"registryRef": {"name": "main"}, "schedule": "0 3 * * *"});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let annotations = annotation.map_or(json!({}), |value| json!({RUN_AT: value}));
        serde_json::from_value(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "RetentionPolicy", "spec": full, "status": status,
            "metadata": {"name": "p", "uid": "u-1", "creationTimestamp": "2026-06-30T12:00:00Z", "annotations": annotations},
        }))
        .unwrap()
    }

    fn step(spec: &Value, annotation: Option<&str>, status: &Value, now: &str) -> Step {
        let policy = policy(spec, annotation, status);
        decide(&policy, &policy.spec.compile_schedule().unwrap(), now.parse().unwrap())
    }

    fn three() -> Step {
        Step::Start(Trigger::Schedule("2026-07-01T03:00:00Z".parse().unwrap()))
    }

    fn asked(value: &str) -> Step {
        Step::Start(Trigger::Annotation(value.to_owned()))
    }

    #[test]
    fn schedule_starts_each_run_once_and_in_time() {
        let done = json!({"lastScheduleTime": "2026-07-01T03:00:00Z"});
        let before = json!({"lastScheduleTime": "2026-06-29T03:00:00Z"});
        for (status, now, expected) in [
            (json!({}), "2026-07-01T02:59:59Z", Step::Wait),
            (json!({}), "2026-07-01T03:00:00Z", three()),
            (json!({}), "2026-07-01T03:59:59Z", three()),
            // Beyond the deadline it is skipped.
            (json!({}), "2026-07-01T04:00:00Z", Step::Wait),
            (done, "2026-07-01T03:00:01Z", Step::Wait),
            // Of those that were missed, the last.
            (before, "2026-07-01T03:10:00Z", three()),
            // Made after three, so it waits for the next day.
            (json!({}), "2026-06-30T12:00:01Z", Step::Wait),
        ] {
            assert_eq!(step(&json!({}), None, &status, now), expected, "{status} at {now}");
        }
    }

    #[test]
    fn suspension_stops_the_schedule_and_not_what_is_asked_for() {
        let suspended = json!({"suspend": true});
        assert_eq!(step(&suspended, None, &json!({}), "2026-07-01T03:00:00Z"), Step::Wait);
        assert_eq!(step(&suspended, Some("now"), &json!({}), "2026-07-01T03:00:00Z"), asked("now"));
    }

    #[test]
    fn each_new_value_of_the_annotation_is_one_run() {
        let handled = json!({"lastHandledRunAt": "a"});
        let now = "2026-07-01T12:00:00Z";
        assert_eq!(step(&json!({}), Some("a"), &handled, now), Step::Wait);
        assert_eq!(step(&json!({}), Some("b"), &handled, now), asked("b"));
        assert_eq!(step(&json!({}), Some(""), &handled, now), Step::Wait);
        let long = "x".repeat(300);
        let clipped = "x".repeat(256);
        assert_eq!(step(&json!({}), Some(&long), &handled, now), asked(&clipped));
        assert_eq!(step(&json!({}), Some(&long), &json!({"lastHandledRunAt": clipped}), now), Step::Wait);
    }

    #[test]
    fn run_that_has_not_ended_goes_on_whatever_else_there_is() {
        let running = json!({"lastRun": {"run": "u-1.7", "mode": "Enforce", "startTime": "2026-06-30T12:00:00Z"}});
        let expected = Step::Continue { run: "u-1.7".to_owned() };
        assert_eq!(step(&json!({"suspend": true}), Some("b"), &running, "2026-07-01T03:00:00Z"), expected);
    }

    #[test]
    fn id_of_a_run_follows_from_its_trigger() {
        let first = policy(&json!({}), None, &json!({}));
        let time = Trigger::Schedule("2026-07-01T03:00:00Z".parse().unwrap());
        assert_eq!(time.run_id(&first), "u-1.1782874800");

        let again = Trigger::Annotation("again".to_owned());
        let id = again.run_id(&first);
        assert!(id.starts_with("u-1.at-") && id.len() == "u-1.at-".len() + HASH_CHARS, "{id}");
        assert_eq!(again.run_id(&first), id);
        let ran = json!({"lastRun": {"run": id, "mode": "Enforce", "startTime": "2026-06-30T12:00:00Z"}});
        assert_ne!(again.run_id(&policy(&json!({}), None, &ran)), id);
    }
}
