//! Whether a policy can run, and why not: the step *validate*. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::v1alpha1::{
    AccessMode, DeletionMode, HoldState, Registry, RetentionPolicy,
    conditions::{ConditionStatus, ConditionType, Finding, Reason},
};
use crate::api::wire::PolicySource;
use crate::retention;

use super::{
    decide::{Step, decide},
    holds,
};

/// What a policy is to do, and whether it can.
#[derive(Debug, Clone)]
pub struct Assessment {
    /// The condition Ready.
    pub ready: Finding,
    /// When the next run is due.
    pub next: Option<Timestamp>,
    /// What is to be done about runs.
    pub step: Step,
    /// Why the run in progress must not be applied, in words.
    pub stop: Option<String>,
    /// What is held.
    pub holds: Vec<retention::Hold>,
    /// Whether the status does not say yet what has become of that.
    pub holds_are_due: bool,
    /// Why the Registry deletes nothing, in words.
    pub deletion_unavailable: Option<&'static str>,
}

impl Assessment {
    /// Whether there is more to do than to write the status.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.step != Step::Wait || self.holds_are_due
    }
}

/// The policy as the registry is told about it.
#[must_use]
pub fn source(policy: &RetentionPolicy) -> PolicySource {
    PolicySource {
        namespace: policy.namespace().unwrap_or_default(),
        name: policy.name_any(),
        uid: policy.uid().unwrap_or_default(),
        generation: policy.metadata.generation.unwrap_or_default(),
        spec: policy.spec.clone(),
    }
}

/// Looks at a policy, its Registry, and the policies of the same Registry, itself among them or not.
#[must_use]
pub fn assess<'a>(
    policy: &RetentionPolicy,
    registry: Option<&Registry>,
    siblings: impl IntoIterator<Item = &'a RetentionPolicy>,
    now: Timestamp,
) -> Assessment {
    let compiled = retention::Policy::try_from(&source(policy)).map_err(|invalid| invalid.to_string());
    let schedule = policy.spec.compile_schedule().map_err(|error| error.to_string());
    let (compiled, schedule) = match (compiled, schedule) {
        (Ok(compiled), Ok(schedule)) => (compiled, schedule),
        (Err(words), _) | (_, Err(words)) => return unusable(policy, Reason::InvalidPolicy, words),
    };
    let Some(registry) = registry else {
        let name = &policy.spec.registry_ref.name;
        let words = format!("there is no Registry {name} in this namespace: make it, or delete this policy");
        return unusable(policy, Reason::RegistryNotFound, words);
    };
    let holds = compiled.holds;
    let holds_are_due = holds_are_due(policy, &holds, now);
    let deletion_unavailable = deletion_unavailable(registry);
    if let Some(words) = invalid_sibling(policy, siblings) {
        let ready = not_ready(Reason::BlockedByInvalidPolicy, words.clone());
        let step = running(policy);
        return Assessment { ready, next: None, step, stop: Some(words), holds, holds_are_due, deletion_unavailable };
    }
    let step = decide(policy, &schedule, now);
    let next = if policy.spec.suspend { None } else { schedule.next_after(now) };
    Assessment { ready: scheduled(policy, next), next, step, stop: None, holds, holds_are_due, deletion_unavailable }
}

/// A policy that cannot do anything. What it holds is not known, or nowhere.
fn unusable(policy: &RetentionPolicy, reason: Reason, words: String) -> Assessment {
    let (ready, step) = (not_ready(reason, words.clone()), running(policy));
    Assessment {
        ready,
        next: None,
        step,
        stop: Some(words),
        holds: Vec::new(),
        holds_are_due: false,
        deletion_unavailable: None,
    }
}

/// The run in progress, if there is one.
fn running(policy: &RetentionPolicy) -> Step {
    let last = policy.status.as_ref().and_then(|status| status.last_run.as_ref());
    match last.filter(|last| last.completion_time.is_none()) {
        Some(last) => Step::Continue { run: last.run.clone() },
        None => Step::Wait,
    }
}

fn not_ready(reason: Reason, message: String) -> Finding {
    Finding { type_: ConditionType::Ready, status: ConditionStatus::False, reason, message }
}

fn scheduled(policy: &RetentionPolicy, next: Option<Timestamp>) -> Finding {
    if policy.spec.suspend {
        let message = "suspend is true: no run starts by itself; what is kept and held stays so";
        return not_ready(Reason::Suspended, message.to_owned());
    }
    let message = match next {
        Some(next) => format!("the next run is at {}", next.strftime("%Y-%m-%dT%H:%M:%SZ")),
        None => "the schedule has no further time".to_owned(),
    };
    Finding { type_: ConditionType::Ready, status: ConditionStatus::True, reason: Reason::Scheduled, message }
}

/// What an invalid policy would keep is not known, so nothing may be deleted in its Registry.
pub(super) fn invalid_sibling<'a>(
    policy: &RetentionPolicy,
    siblings: impl IntoIterator<Item = &'a RetentionPolicy>,
) -> Option<String> {
    let others = siblings.into_iter().filter(|other| other.uid() != policy.uid());
    others.filter(|other| other.metadata.deletion_timestamp.is_none()).find_map(|other| {
        let invalid = retention::Policy::try_from(&source(other)).err()?;
        let name = other.name_any();
        Some(format!("nothing is deleted while RetentionPolicy {name} of the same Registry is invalid: {invalid}"))
    })
}

fn deletion_unavailable(registry: &Registry) -> Option<&'static str> {
    if registry.spec.deletion.mode == DeletionMode::Disabled {
        return Some("deletion.mode of the Registry is Disabled: nothing was planned");
    }
    (registry.spec.access_mode == AccessMode::ReadOnly)
        .then_some("accessMode of the Registry is ReadOnly: nothing was planned")
}

/// Whether the status does not say yet what has become of each hold.
fn holds_are_due(policy: &RetentionPolicy, holds: &[retention::Hold], now: Timestamp) -> bool {
    let Some(status) = policy.status.as_ref() else { return !holds.is_empty() };
    if status.observed_generation != policy.metadata.generation || status.holds.len() != holds.len() {
        return !(holds.is_empty() && status.holds.is_empty());
    }
    holds.iter().zip(&status.holds).any(|(hold, known)| {
        let expired = holds::is_over(hold, now) && known.state != HoldState::Expired;
        expired || known.state == HoldState::Unknown
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(name: &str, spec: &Value, status: &Value) -> RetentionPolicy {
        let mut full = json!({"registryRef": {"name": "main"}});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "RetentionPolicy", "spec": full, "status": status,
            "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 2,
                "creationTimestamp": "2026-06-30T12:00:00Z"},
        }))
        .unwrap()
    }

    fn registry(spec: &Value) -> Registry {
        Registry::new("main", serde_json::from_value(spec.clone()).unwrap())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn assessed(policy: &RetentionPolicy, siblings: &[RetentionPolicy]) -> Assessment {
        assess(policy, Some(&registry(&json!({}))), siblings, at("2026-07-01T12:00:00Z"))
    }

    #[test]
    fn ready_says_when_the_next_run_is_or_why_there_is_none() {
        let fine = policy("p", &json!({}), &json!({}));
        let ready = assessed(&fine, &[]);
        assert_eq!((ready.ready.status, ready.ready.reason), (ConditionStatus::True, Reason::Scheduled));
        assert_eq!(ready.ready.message, "the next run is at 2026-07-02T03:00:00Z");
        assert_eq!(ready.next, Some(at("2026-07-02T03:00:00Z")));

        let suspended = policy("p", &json!({"suspend": true}), &json!({}));
        let broken = policy("broken", &json!({"schedule": "now and then"}), &json!({}));
        let nowhere = assess(&fine, None, [], at("2026-07-01T12:00:00Z"));
        for (assessment, reason, words) in [
            (assessed(&suspended, &[]), Reason::Suspended, "suspend"),
            (assessed(&broken, &[]), Reason::InvalidPolicy, "spec.schedule"),
            (assessed(&fine, std::slice::from_ref(&broken)), Reason::BlockedByInvalidPolicy, "broken"),
            (nowhere, Reason::RegistryNotFound, "main"),
        ] {
            let Assessment { ready, next, step, .. } = assessment;
            assert_eq!((ready.status, ready.reason, next), (ConditionStatus::False, reason, None));
            assert!(ready.message.contains(words), "{}", ready.message);
            assert_eq!(step, Step::Wait);
        }
    }

    #[test]
    fn run_in_progress_is_stopped_where_the_policy_can_no_longer_run() {
        let running = json!({"lastRun": {"run": "r", "mode": "Enforce", "startTime": "2026-07-01T11:00:00Z"}});
        let broken = policy("broken", &json!({"timeZone": "Mars"}), &running);
        let fine = policy("p", &json!({}), &running);
        for assessment in [assessed(&broken, &[]), assessed(&fine, std::slice::from_ref(&broken))] {
            assert_eq!(assessment.step, Step::Continue { run: "r".to_owned() });
            assert!(assessment.stop.is_some());
        }
        assert_eq!(assessed(&fine, &[]).stop, None);
    }

    #[test]
    fn registry_that_deletes_nothing_says_why() {
        let fine = policy("p", &json!({}), &json!({}));
        for (spec, words) in [
            (json!({"deletion": {"mode": "Disabled"}}), Some("deletion.mode")),
            (json!({"accessMode": "ReadOnly"}), Some("accessMode")),
            (json!({}), None),
        ] {
            let assessment = assess(&fine, Some(&registry(&spec)), [], at("2026-07-01T12:00:00Z"));
            let said = assessment.deletion_unavailable;
            assert_eq!(said.map(|said| said.split(' ').next().unwrap()), words, "{spec}");
        }
    }

    #[test]
    fn holds_are_looked_at_when_the_spec_changed_or_something_is_open() {
        let hold = json!({"holds": [{"repository": "app", "reference": "v1", "until": "2026-08-01T00:00:00Z"}]});
        let status = |generation: i64, state: &str| json!({"observedGeneration": generation, "holds": [{"reference": "app:v1", "state": state}]});
        for (spec, status, now, due) in [
            (&hold, json!({}), "2026-07-01T12:00:00Z", true),
            (&hold, status(1, "Held"), "2026-07-01T12:00:00Z", true),
            (&hold, status(2, "Held"), "2026-07-01T12:00:00Z", false),
            (&hold, status(2, "Unknown"), "2026-07-01T12:00:00Z", true),
            (&hold, status(2, "Held"), "2026-08-01T00:00:00Z", true),
            (&hold, status(2, "Expired"), "2026-08-01T00:00:00Z", false),
            // The last hold was taken away: its state must go, too.
            (&json!({}), status(1, "Held"), "2026-07-01T12:00:00Z", true),
            (&json!({}), json!({"observedGeneration": 1}), "2026-07-01T12:00:00Z", false),
        ] {
            let policy = policy("p", spec, &status);
            let assessment = assess(&policy, Some(&registry(&json!({}))), [], at(now));
            assert_eq!(assessment.holds_are_due, due, "{spec} {status} at {now}");
        }
    }
}
