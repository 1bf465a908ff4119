//! Whether a policy can run, and why not: the step *validate*. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::v1alpha1::{
    AccessMode, DeletionMode, HoldState, Mode, PlanStatus, Registry, RetentionPolicy,
    conditions::{ConditionStatus, ConditionType, Finding, Reason},
};
use crate::api::wire::PolicySource;
use crate::retention;

use super::{
    decide::{APPROVE, Step, decide, unfinished, unhandled_approval, waiting},
    holds,
};

/// How a condition says that an annotation approves nothing.
pub(super) const REFUSED: &str = "annotation lagan.dev/approve approves nothing with";

/// So much of a value is shown, in characters: a hash is 64.
const SHOWN_CHARS: usize = 64;

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
    /// When one of them ends next, which the status is to say then.
    pub hold_ends: Option<Timestamp>,
    /// Why the Registry deletes nothing, in words.
    pub deletion_unavailable: Option<&'static str>,
}

impl Assessment {
    /// Whether there is more to do than to write the status.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.step != Step::Wait || self.holds_are_due
    }

    /// Whether no run looks after the holds: the policy is suspended or blocked, or a plan of it waits.
    #[must_use]
    pub fn awaits_no_run(&self) -> bool {
        self.next.is_none() || self.ready.reason == Reason::AwaitingApproval
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
        (Err(words), _) | (_, Err(words)) => return unusable(policy, Reason::InvalidPolicy, words, now),
    };
    let Some(registry) = registry else {
        let name = &policy.spec.registry_ref.name;
        let words = format!("there is no Registry {name} in this namespace: make it, or delete this policy");
        return unusable(policy, Reason::RegistryNotFound, words, now);
    };
    let holds = compiled.holds;
    let (holds_are_due, hold_ends) = (holds_are_due(policy, &holds, now), holds::next_end(&holds, now));
    let deletion_unavailable = deletion_unavailable(registry);
    if let Some(words) = invalid_sibling(policy, siblings) {
        let ready = not_ready(Reason::BlockedByInvalidPolicy, words.clone());
        let step = unfinished(policy, now).unwrap_or(Step::Wait);
        let stop = Some(words);
        return Assessment { ready, next: None, step, stop, holds, holds_are_due, hold_ends, deletion_unavailable };
    }
    let mut step = decide(policy, &schedule, now);
    if deletion_unavailable.is_some() && matches!(step, Step::Approve { .. }) {
        // The plan waits until the Registry deletes again.
        step = Step::Wait;
    }
    let waits = waiting(policy).filter(|_| !matches!(step, Step::Void { .. } | Step::Approve { .. }));
    let rests_until = waits.and_then(|plan| plan.expires_at.as_ref()).map_or(now, |until| until.0.max(now));
    let next = if policy.spec.suspend { None } else { schedule.next_after(rests_until) };
    let ready = match waits {
        Some(plan) => awaiting(policy, plan),
        None => scheduled(policy, next),
    };
    let ready = match step {
        // It is being acted on.
        Step::Approve { .. } => ready,
        _ => with_refusal(policy, waits, deletion_unavailable, ready),
    };
    Assessment { ready, next, step, stop: None, holds, holds_are_due, hold_ends, deletion_unavailable }
}

/// A policy that cannot do anything. What it holds is not known, or nowhere.
fn unusable(policy: &RetentionPolicy, reason: Reason, words: String, now: Timestamp) -> Assessment {
    let (ready, step) = (not_ready(reason, words.clone()), unfinished(policy, now).unwrap_or(Step::Wait));
    Assessment {
        ready,
        next: None,
        step,
        stop: Some(words),
        holds: Vec::new(),
        holds_are_due: false,
        hold_ends: None,
        deletion_unavailable: None,
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

/// A plan waits, and this is how it is approved.
fn awaiting(policy: &RetentionPolicy, plan: &PlanStatus) -> Finding {
    let (name, namespace) = (policy.name_any(), policy.namespace().unwrap_or_default());
    let PlanStatus { hash, deletes, .. } = plan;
    let until = plan.expires_at.as_ref().map(|until| until.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let until = until.unwrap_or_default();
    let words = format!(
        "a plan that deletes {deletes} tags and manifests waits until {until}. `lagan retention plan {namespace}/{name}` \
         shows it; `kubectl annotate retentionpolicy -n {namespace} {name} {APPROVE}={hash} --overwrite` applies it"
    );
    not_ready(Reason::AwaitingApproval, words)
}

/// Says of an annotation that approves nothing that it does not.
fn with_refusal(
    policy: &RetentionPolicy,
    waits: Option<&PlanStatus>,
    unavailable: Option<&str>,
    mut ready: Finding,
) -> Finding {
    let Some(value) = unhandled_approval(policy) else { return ready };
    let why = match (waits, unavailable) {
        (Some(plan), _) if plan.hash != value => "it is not the hash of the plan that waits".to_owned(),
        (Some(_), Some(words)) => words.to_owned(),
        (Some(_), None) => return ready,
        (None, _) if policy.spec.mode == Mode::DryRun => "mode is DryRun, so no plan is ever applied".to_owned(),
        (None, _) => "no plan waits".to_owned(),
    };
    let value: String = value.chars().take(SHOWN_CHARS).collect();
    ready.message = format!("{}; {REFUSED} {value}: {why}", ready.message);
    ready
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
    fn what_no_schema_can_check_is_told_with_its_place_and_reason_and_blocks_the_others() {
        let fine = policy("p", &json!({}), &json!({}));
        let keep = |tags: &str| json!({"keep": [{"name": "all", "tags": [tags], "always": {}}]});
        for (spec, place, reason) in [
            (json!({"timeZone": "Mars/Olympus"}), "spec.timeZone", "Mars/Olympus"),
            (json!({"schedule": "0 25 * * *"}), "spec.schedule", "0 25 * * *"),
            (json!({"schedule": "0 0 30 2 *"}), "spec.schedule", "0 0 30 2 *"),
            (keep("v["), "spec.keep[0].tags", "\"v[\" is no glob"),
            (keep("regex:v("), "spec.keep[0].tags", "unclosed group"),
            (keep("regex:[a-z]{1000}{1000}"), "spec.keep[0].tags", "size limit"),
            (json!({"repositories": {"include": ["{a"]}}), "spec.repositories", "\"{a\" is no glob"),
            (json!({"repositories": {"exclude": ["regex:*"]}}), "spec.repositories", "is no regular expression"),
        ] {
            let broken = policy("broken", &spec, &json!({}));
            let own = assessed(&broken, &[]).ready;
            assert_eq!((own.status, own.reason), (ConditionStatus::False, Reason::InvalidPolicy), "{spec}");
            assert!(own.message.contains(place) && own.message.contains(reason), "{spec}: {}", own.message);
            let blocked = assessed(&fine, std::slice::from_ref(&broken)).ready;
            assert_eq!(blocked.reason, Reason::BlockedByInvalidPolicy, "{spec}");
            assert!(blocked.message.contains(place), "{spec}: {}", blocked.message);
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

    #[test]
    fn plan_that_waits_says_how_to_approve_it_and_what_does_not() {
        let plan = json!({"hash": "abc", "run": "r", "createdAt": "2026-06-25T12:00:00Z", "tagsInScope": 9, "deletes": 3,
            "keeps": 6, "protectedInUse": 0, "reclaimableBytes": 0, "expiresAt": "2026-07-04T12:00:00Z"});
        let status = json!({"observedGeneration": 2, "plan": plan});
        let with = |approve: Option<&str>, spec: &Value, status: &Value| {
            let mut policy = policy("p", spec, status);
            policy.metadata.annotations = approve.map(|value| [(APPROVE.to_owned(), value.to_owned())].into());
            policy
        };
        let waits = assessed(&with(None, &json!({}), &status), &[]);
        assert_eq!((waits.ready.status, waits.ready.reason), (ConditionStatus::False, Reason::AwaitingApproval));
        let line = "kubectl annotate retentionpolicy -n shop p lagan.dev/approve=abc --overwrite";
        assert!(waits.ready.message.contains(line), "{}", waits.ready.message);
        assert!(waits.ready.message.contains("deletes 3") && waits.ready.message.contains("2026-07-04T12:00:00Z"));
        assert_eq!(waits.next, Some(at("2026-07-05T03:00:00Z")), "the schedule rests until then");
        assert!(waits.ready.message.len() < 1024 && !waits.ready.message.contains(REFUSED));

        let wrong = assessed(&with(Some("abd"), &json!({}), &status), &[]);
        assert_eq!(wrong.step, Step::Wait);
        assert!(wrong.ready.message.ends_with("with abd: it is not the hash of the plan that waits"), "{wrong:?}");
        let idle = json!({"observedGeneration": 2});
        let late = assessed(&with(Some("abc"), &json!({"mode": "Enforce"}), &idle), &[]);
        assert!(late.ready.reason == Reason::Scheduled && late.ready.message.ends_with("no plan waits"), "{late:?}");
        let dry = assessed(&with(Some("abc"), &json!({"mode": "DryRun"}), &idle), &[]);
        assert!(dry.ready.message.contains("mode is DryRun"), "{dry:?}");
        let handled = json!({"observedGeneration": 2, "lastHandledApproval": "abc"});
        let done = assessed(&with(Some("abc"), &json!({}), &handled), &[]);
        assert!(!done.ready.message.contains(REFUSED), "{done:?}");

        let right = with(Some("abc"), &json!({}), &status);
        assert_eq!(assessed(&right, &[]).step, Step::Approve { hash: "abc".to_owned() });
        let read_only = registry(&json!({"accessMode": "ReadOnly"}));
        let refused = assess(&right, Some(&read_only), [], at("2026-07-01T12:00:00Z"));
        assert!(refused.step == Step::Wait && refused.ready.message.contains("accessMode"), "{refused:?}");
    }
}
