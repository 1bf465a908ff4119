//! What is to be done about a policy now. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::v1alpha1::{PlanStatus, RetentionPolicy};
use crate::oci::{Algorithm, Digest};
use crate::retention::{Due, Schedule};

/// The annotation that asks for a run: each new value is one.
pub const RUN_AT: &str = "lagan.dev/run-at";

/// The annotation that approves the plan whose hash it has.
pub const APPROVE: &str = "lagan.dev/approve";

/// The bound of `status.lastHandledRunAt` and of `status.lastHandledApproval`, in characters.
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
    /// The run whose plan waits is applied: its hash was approved.
    Approve {
        /// Its hash.
        hash: String,
    },
    /// The plan that waits can be approved no more.
    Void {
        /// Its run.
        run: String,
        /// Why, in words.
        words: String,
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
/// A plan that waits is approved, becomes void, or is replaced by a run that is asked for; the schedule rests meanwhile.
/// A run that was asked for with the annotation begins even while the policy is suspended, as a Job made from a
/// suspended `CronJob` does: `suspend` stops the schedule. Of the times that were missed only the last one counts,
/// and not beyond `startingDeadline`.
#[must_use]
pub fn decide(policy: &RetentionPolicy, schedule: &Schedule, now: Timestamp) -> Step {
    if let Some(step) = unfinished(policy, now) {
        return step;
    }
    let waits = waiting(policy);
    if let Some(plan) = waits.filter(|plan| unhandled_approval(policy).as_ref() == Some(&plan.hash)) {
        return Step::Approve { hash: plan.hash.clone() };
    }
    let status = policy.status.as_ref();
    let handled = status.and_then(|status| status.last_handled_run_at.as_deref());
    if let Some(value) = value_of(policy, RUN_AT).filter(|value| Some(value.as_str()) != handled) {
        return Step::Start(Trigger::Annotation(value));
    }
    if policy.spec.suspend || waits.is_some() {
        return Step::Wait;
    }
    let last = status.and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
    let since = last.or_else(|| policy.creation_timestamp().map(|time| time.0)).unwrap_or(now);
    match schedule.due(since, now, policy.spec.starting_deadline.as_std()) {
        Due::Now(time) => Step::Start(Trigger::Schedule(time)),
        Due::At(_) | Due::Never => Step::Wait,
    }
}

/// What is to be done about a run that has begun or whose plan waits, whether or not another could begin.
#[must_use]
pub fn unfinished(policy: &RetentionPolicy, now: Timestamp) -> Option<Step> {
    let status = policy.status.as_ref()?;
    if let Some(run) = status.last_run.as_ref().filter(|run| run.completion_time.is_none()) {
        return Some(Step::Continue { run: run.run.clone() });
    }
    let plan = waiting(policy)?;
    let void = |words: String| Some(Step::Void { run: plan.run.clone(), words });
    if status.observed_generation != policy.metadata.generation {
        return void("the policy was changed, so nobody can approve its plan any more".to_owned());
    }
    let expires_at = plan.expires_at.as_ref()?.0;
    if expires_at <= now {
        return void(format!("nobody approved the plan until {expires_at:.0}"));
    }
    None
}

/// The plan that waits for approval.
#[must_use]
pub fn waiting(policy: &RetentionPolicy) -> Option<&PlanStatus> {
    policy.status.as_ref()?.plan.as_ref().filter(|plan| plan.expires_at.is_some())
}

/// The value of the annotation that approves, unless it has been acted on.
#[must_use]
pub fn unhandled_approval(policy: &RetentionPolicy) -> Option<String> {
    let handled = policy.status.as_ref().and_then(|status| status.last_handled_approval.as_ref());
    value_of(policy, APPROVE).filter(|value| Some(value) != handled)
}

/// The value of an annotation, if it has one.
fn value_of(policy: &RetentionPolicy, annotation: &str) -> Option<String> {
    let value = policy.annotations().get(annotation)?;
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

    /// A policy of generation 2 whose plan `h` waits until noon of the second.
    fn waiting_for(
        generation: i64,
        approve: Option<&str>,
        run_at: Option<&str>,
        handled: Option<&str>,
    ) -> RetentionPolicy {
        let plan = json!({"hash": "h", "run": "u-1.7", "createdAt": "2026-06-25T12:00:00Z", "tagsInScope": 9, "deletes": 3,
            "keeps": 6, "protectedInUse": 0, "reclaimableBytes": 0, "expiresAt": "2026-07-02T12:00:00Z"});
        let last = json!({"run": "u-1.7", "mode": "Enforce", "startTime": "2026-06-25T12:00:00Z",
            "completionTime": "2026-06-25T12:01:00Z", "result": "LimitExceeded"});
        let mut status = json!({"observedGeneration": 2, "plan": plan, "lastRun": last});
        if let Some(handled) = handled {
            status["lastHandledApproval"] = json!(handled);
        }
        let mut policy = policy(&json!({}), run_at, &status);
        policy.metadata.generation = Some(generation);
        let annotations = policy.metadata.annotations.get_or_insert_default();
        annotations.extend(approve.map(|value| (APPROVE.to_owned(), value.to_owned())));
        policy
    }

    #[test]
    fn plan_that_waits_is_approved_once_with_its_hash_while_its_time_lasts() {
        let approve = Step::Approve { hash: "h".to_owned() };
        let noon = "2026-07-01T12:00:00Z";
        let three = "2026-07-01T03:00:00Z";
        for (approval, run_at, handled, now, expected) in [
            (None, None, None, noon, Step::Wait),
            // The schedule does not replace it.
            (None, None, None, three, Step::Wait),
            (Some("h"), None, None, noon, approve.clone()),
            (Some("H"), None, None, noon, Step::Wait),
            (Some(""), None, None, noon, Step::Wait),
            (Some("h"), None, Some("h"), noon, Step::Wait),
            (Some("h"), None, Some("earlier"), noon, approve.clone()),
            // A run by hand does; what was approved goes first.
            (None, Some("now"), None, noon, asked("now")),
            (Some("other"), Some("now"), None, noon, asked("now")),
            (Some("h"), Some("now"), None, noon, approve),
        ] {
            let policy = waiting_for(2, approval, run_at, handled);
            let step = decide(&policy, &policy.spec.compile_schedule().unwrap(), now.parse().unwrap());
            assert_eq!(step, expected, "{approval:?} {run_at:?} {handled:?} at {now}");
        }
    }

    #[test]
    fn plan_is_void_once_the_policy_was_changed_or_its_time_is_over() {
        for (generation, now, words) in [(3, "2026-07-01T12:00:00Z", "changed"), (2, "2026-07-02T12:00:00Z", "nobody")]
        {
            let policy = waiting_for(generation, Some("h"), Some("now"), None);
            let step = decide(&policy, &policy.spec.compile_schedule().unwrap(), now.parse().unwrap());
            let Step::Void { run, words: said } = step else { panic!("{step:?}") };
            assert!(run == "u-1.7" && said.contains(words), "{run} {said}");
        }
    }
}
