//! What a policy's status says. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::v1alpha1::{
    LastRun, Mode, PlanSample, PlanStatus, PreventedDeletions, RetentionPolicy, RetentionPolicyStatus, RunOutcome,
    conditions::{self, ConditionStatus, ConditionType, Finding, Reason},
};
use crate::api::wire::{PlanLine, PlanSummary, PreventedLine};

use super::{assess::Assessment, decide::Trigger, run::Ending};

/// The bound of every text in words in the status, in characters.
const MAX_WORDS: usize = 1024;
/// The bound of a reference and of a rule's name, in characters.
const MAX_NAME: usize = 512;
/// The bound of the history.
const MAX_HISTORY: usize = 100;
/// The bound of the sample.
const MAX_SAMPLE: usize = 20;

/// As much of a text as a status takes.
#[must_use]
pub fn clip(text: &str) -> String {
    text.chars().take(MAX_WORDS).collect()
}

/// A run begins. From here on its id stands in the status, and whoever reads that goes on with it.
pub fn begin(status: &mut RetentionPolicyStatus, trigger: &Trigger, run: String, mode: Mode, now: Timestamp) {
    set_aside(status, &format!("run {run} replaced the plan"));
    match trigger {
        Trigger::Schedule(time) => status.last_schedule_time = Some(Time(*time)),
        Trigger::Annotation(value) => status.last_handled_run_at = Some(value.clone()),
    }
    status.last_run = Some(LastRun {
        run,
        mode,
        start_time: Time(now),
        accepted_time: None,
        completion_time: None,
        result: None,
        message: None,
        deleted_tags: 0,
        deleted_manifests: 0,
        changed_since_planned: 0,
        failed: 0,
        bytes: 0,
    });
}

/// The registry knows the run in progress.
pub fn accept(status: &mut RetentionPolicyStatus, now: Timestamp) {
    if let Some(run) = &mut status.last_run {
        run.accepted_time.get_or_insert(Time(now));
    }
}

/// The plan that waits was approved: its run goes on. From here on that stands in the status, and whoever reads it goes
/// on with it.
pub fn approve(status: &mut RetentionPolicyStatus, hash: &str, now: Timestamp) {
    status.last_handled_approval = Some(hash.to_owned());
    if let Some(plan) = &mut status.plan {
        plan.expires_at = None;
    }
    if let Some(run) = &mut status.last_run {
        run.start_time = Time(now);
        run.accepted_time = Some(Time(now));
        run.completion_time = None;
        run.result = None;
        run.message = None;
    }
}

/// The plan that waits, if one does, can be approved no more.
pub fn set_aside(status: &mut RetentionPolicyStatus, words: &str) {
    let Some(plan) = status.plan.as_mut().filter(|plan| plan.expires_at.is_some()) else { return };
    plan.expires_at = None;
    let waited = |run: &&mut LastRun| run.run == plan.run;
    let ended = status.last_run.iter_mut().chain(&mut status.history).filter(waited);
    for run in ended {
        run.result = Some(RunOutcome::Interrupted);
        run.message = Some(clip(words));
    }
}

/// The run goes on, or would but for something in its way: what that is called if it lasts, and in words.
pub fn go_on(status: &mut RetentionPolicyStatus, in_the_way: Option<RunOutcome>, words: Option<&str>) {
    let Some(run) = &mut status.last_run else { return };
    run.result = in_the_way;
    run.message = words.map(clip);
}

/// Since when the run in progress could not be told what is in use, if that is what is in its way.
#[must_use]
pub fn failing_since(status: &RetentionPolicyStatus) -> Option<Timestamp> {
    let run = status.last_run.as_ref().filter(|run| run.completion_time.is_none())?;
    let is_unknown = matches!(run.result, Some(RunOutcome::InUseUnknown | RunOutcome::PoliciesUnknown));
    let is_of_run = |known: &&Condition| known.type_ == ConditionType::LastRunSucceeded.as_str();
    let condition = status.conditions.iter().find(is_of_run).filter(|_| is_unknown)?;
    Some(condition.last_transition_time.0)
}

/// The run has ended.
pub fn end(status: &mut RetentionPolicyStatus, ending: &Ending, now: Timestamp) {
    let Some(run) = &mut status.last_run else { return };
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    run.completion_time = Some(Time(now));
    run.result = Some(ending.outcome);
    run.message = ending.message.as_deref().map(clip);
    run.deleted_tags = signed(ending.result.deleted_tags);
    run.deleted_manifests = signed(ending.result.deleted_manifests);
    run.changed_since_planned = signed(ending.result.changed_since_planned);
    run.failed = signed(ending.result.failed);
    run.bytes = signed(ending.result.bytes);
    status.history.retain(|known| known.run != run.run);
    status.history.insert(0, run.clone());
    if let Some(plan) = &ending.plan {
        status.plan = Some(plan_status(plan, &run.run));
    }
    if let Some(plan) = status.plan.as_mut().filter(|plan| plan.run == run.run) {
        plan.expires_at = ending.awaits.map(|awaits| Time(awaits.expires_at));
    }
    if ending.outcome == RunOutcome::Completed {
        status.last_successful_time = Some(Time(now));
    }
}

fn plan_status(plan: &PlanSummary, run: &str) -> PlanStatus {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    PlanStatus {
        hash: plan.hash.clone(),
        run: run.to_owned(),
        created_at: Time(plan.created_at),
        expires_at: None,
        tags_in_scope: signed(plan.tags_in_scope),
        deletes: signed(plan.deletes),
        keeps: signed(plan.keeps),
        protected_in_use: signed(plan.protected_in_use),
        reclaimable_bytes: signed(plan.reclaimable_bytes),
        prevented: plan.prevented.iter().take(MAX_SAMPLE).map(prevented).collect(),
        sample: plan.sample.iter().take(MAX_SAMPLE).map(sample).collect(),
    }
}

/// The bound of a sample of what another policy prevents.
const MAX_PREVENTED: usize = 5;

fn prevented(line: &PreventedLine) -> PreventedDeletions {
    let name = |text: &String| text.chars().take(MAX_NAME).collect::<String>();
    PreventedDeletions {
        policy: name(&line.policy),
        count: i64::try_from(line.count).unwrap_or(i64::MAX),
        sample: line.sample.iter().take(MAX_PREVENTED).map(name).collect(),
    }
}

fn sample(line: &PlanLine) -> PlanSample {
    let name = |text: &str| text.chars().take(MAX_NAME).collect::<String>();
    PlanSample {
        reference: name(&line.reference),
        decision: line.decision,
        rule: line.rule.as_deref().map(name),
        reason: clip(&line.reason),
    }
}

/// Puts what follows from the rest into a status: the generation, the next time, the conditions.
///
/// While a run is in progress, the generation stays the one that it began with.
#[must_use]
pub fn conclude(
    policy: &RetentionPolicy,
    mut status: RetentionPolicyStatus,
    assessment: &Assessment,
    now: Timestamp,
) -> RetentionPolicyStatus {
    let before = policy.status.as_ref();
    let goes_on = |status: &RetentionPolicyStatus| {
        status.last_run.as_ref().filter(|run| run.completion_time.is_none()).map(|run| run.run.clone())
    };
    let same_run = goes_on(&status).is_some() && before.and_then(goes_on) == goes_on(&status);
    if !same_run {
        status.observed_generation = policy.metadata.generation;
    }
    let remembered = usize::try_from(policy.spec.history_limit).unwrap_or(usize::MAX);
    status.history.truncate(remembered.min(MAX_HISTORY));
    status.next_schedule_time = assessment.next.map(Time);
    let mut findings = vec![assessment.ready.clone()];
    findings.extend(status.last_run.as_ref().map(last_run_succeeded));
    let known = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    status.conditions = conditions::update(known, findings, status.observed_generation, now);
    status
}

fn last_run_succeeded(run: &LastRun) -> Finding {
    let (status, reason) = match run.result {
        None => (ConditionStatus::Unknown, Reason::Running),
        Some(RunOutcome::Completed) => (ConditionStatus::True, Reason::Completed),
        Some(RunOutcome::InUseUnknown) => (ConditionStatus::False, Reason::InUseUnknown),
        Some(RunOutcome::LimitExceeded) => (ConditionStatus::False, Reason::LimitExceeded),
        Some(RunOutcome::AwaitingApproval) => (ConditionStatus::Unknown, Reason::AwaitingApproval),
        Some(RunOutcome::PoliciesUnknown) => (ConditionStatus::False, Reason::PoliciesUnknown),
        Some(RunOutcome::DeletionUnavailable) => (ConditionStatus::False, Reason::DeletionUnavailable),
        Some(RunOutcome::RegistryUnavailable) => (ConditionStatus::False, Reason::RegistryUnavailable),
        Some(RunOutcome::Interrupted) => (ConditionStatus::False, Reason::Interrupted),
        Some(RunOutcome::Failed) => (ConditionStatus::False, Reason::Failed),
    };
    let message = match (&run.message, reason) {
        (Some(message), Reason::Completed) => format!("{}; {message}", in_words(run)),
        (Some(message), _) => message.clone(),
        (None, Reason::Running) => "the run goes on".to_owned(),
        (None, _) => in_words(run),
    };
    Finding { type_: ConditionType::LastRunSucceeded, status, reason, message }
}

/// What a run did, for an Event and a condition.
#[must_use]
pub fn in_words(run: &LastRun) -> String {
    let LastRun { deleted_tags, deleted_manifests, changed_since_planned, failed, .. } = run;
    if run.mode == Mode::DryRun {
        return "planned only: mode is DryRun".to_owned();
    }
    let mut words = format!("{deleted_tags} tags and {deleted_manifests} manifests went to the trash");
    if *changed_since_planned > 0 {
        words = format!("{words}, {changed_since_planned} had changed and stayed");
    }
    if *failed > 0 {
        words = format!("{words}, {failed} could not be deleted");
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::wire::{AwaitedApproval, Brake, RunResult};

    use super::*;
    use crate::operator::retention_policy::decide::Step;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn policy(generation: i64, status: RetentionPolicyStatus) -> RetentionPolicy {
        let spec = serde_json::from_value(json!({"registryRef": {"name": "main"}})).unwrap();
        let mut policy = RetentionPolicy::new("p", spec);
        policy.metadata.generation = Some(generation);
        policy.status = Some(status);
        policy
    }

    fn assessment() -> Assessment {
        let message = "the next run is at four".to_owned();
        let (type_, status, reason) = (ConditionType::Ready, ConditionStatus::True, Reason::Scheduled);
        let ready = Finding { type_, status, reason, message };
        Assessment {
            ready,
            next: Some(at(4)),
            step: Step::Wait,
            stop: None,
            holds: Vec::new(),
            holds_are_due: false,
            hold_ends: None,
            deletion_unavailable: None,
        }
    }

    fn reason_of<'a>(status: &'a RetentionPolicyStatus, type_: &str) -> (&'a str, &'a str) {
        let condition = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
        (&condition.status, &condition.reason)
    }

    fn begun() -> RetentionPolicyStatus {
        let mut status = RetentionPolicyStatus::default();
        begin(&mut status, &Trigger::Annotation("now".to_owned()), "u.1".to_owned(), Mode::Enforce, at(1));
        conclude(&policy(1, RetentionPolicyStatus::default()), status, &assessment(), at(1))
    }

    #[test]
    fn status_of_a_run_says_first_that_it_goes_on_and_then_how_it_ended() {
        let running = begun();
        assert_eq!(running.last_handled_run_at.as_deref(), Some("now"));
        assert_eq!(reason_of(&running, "LastRunSucceeded"), ("Unknown", "Running"));

        let mut waiting = running.clone();
        go_on(&mut waiting, Some(RunOutcome::RegistryUnavailable), Some("no answer"));
        let waiting = conclude(&policy(1, running.clone()), waiting, &assessment(), at(2));
        assert_eq!(reason_of(&waiting, "LastRunSucceeded"), ("False", "RegistryUnavailable"));
        assert!(waiting.last_run.as_ref().unwrap().completion_time.is_none());

        let mut ended = waiting.clone();
        go_on(&mut ended, None, None);
        let outcome = RunOutcome::Completed;
        end(
            &mut ended,
            &Ending { outcome, message: None, plan: None, result: RunResult::default(), awaits: None },
            at(3),
        );
        let ended = conclude(&policy(1, waiting), ended, &assessment(), at(3));
        assert_eq!(reason_of(&ended, "LastRunSucceeded"), ("True", "Completed"));
        assert_eq!(ended.last_successful_time, Some(Time(at(3))));
        assert_eq!(reason_of(&ended, "Ready"), ("True", "Scheduled"));
    }

    #[test]
    fn generation_stays_the_runs_until_it_has_ended() {
        let running = begun();
        let later = conclude(&policy(2, running.clone()), running.clone(), &assessment(), at(2));
        assert_eq!(later.observed_generation, Some(1));
        let mut ended = later;
        end(&mut ended, &Ending::early(RunOutcome::Interrupted, "changed"), at(3));
        let ended = conclude(&policy(2, running), ended, &assessment(), at(3));
        assert_eq!(ended.observed_generation, Some(2));
    }

    #[test]
    fn steady_state_changes_nothing() {
        let mut ended = begun();
        end(&mut ended, &Ending::early(RunOutcome::LimitExceeded, "too much"), at(3));
        let first = conclude(&policy(1, begun()), ended, &assessment(), at(3));
        let again = conclude(&policy(1, first.clone()), first.clone(), &assessment(), at(99));
        assert_eq!(again, first);
    }

    #[test]
    fn plan_is_shown_with_at_most_twenty_lines() {
        let line = json!({"reference": "a:1", "decision": "Delete", "reason": "x".repeat(2000)});
        let plan = json!({"hash": "h", "createdAt": at(1), "tagsInScope": 30, "deletes": 25, "keeps": 5,
            "protectedInUse": 1, "reclaimableBytes": u64::MAX, "sample": vec![line; 25]});
        let plan: PlanSummary = serde_json::from_value(plan).unwrap();
        let mut status = begun();
        let (outcome, message) = (RunOutcome::LimitExceeded, Some("over".to_owned()));
        end(
            &mut status,
            &Ending { outcome, message, plan: Some(plan), result: RunResult::default(), awaits: None },
            at(3),
        );
        let shown = status.plan.unwrap();
        assert_eq!((shown.sample.len(), shown.run.as_str(), shown.reclaimable_bytes), (20, "u.1", i64::MAX));
        assert_eq!(shown.sample[0].reason.len(), 1024);
    }

    /// A run whose plan `h` waits.
    fn waiting() -> RetentionPolicyStatus {
        let plan = json!({"hash": "h", "createdAt": at(1), "tagsInScope": 30, "deletes": 25, "keeps": 5,
            "protectedInUse": 1, "reclaimableBytes": 7});
        let awaits = AwaitedApproval { brake: Brake::Manual, expires_at: at(100) };
        let mut status = begun();
        let ending = Ending {
            outcome: RunOutcome::AwaitingApproval,
            message: Some("it waits".to_owned()),
            plan: Some(serde_json::from_value(plan).unwrap()),
            result: RunResult::default(),
            awaits: Some(awaits),
        };
        end(&mut status, &ending, at(3));
        conclude(&policy(1, begun()), status, &assessment(), at(3))
    }

    #[test]
    fn approved_run_goes_on_and_stands_in_the_history_once() {
        let waiting = waiting();
        assert_eq!(reason_of(&waiting, "LastRunSucceeded"), ("Unknown", "AwaitingApproval"));
        assert_eq!(waiting.plan.as_ref().unwrap().expires_at, Some(Time(at(100))));
        assert_eq!(waiting.history.len(), 1);

        let mut approved = waiting.clone();
        approve(&mut approved, "h", at(5));
        let run = approved.last_run.clone().unwrap();
        assert_eq!((run.start_time.0, run.completion_time, run.result), (at(5), None, None));
        assert_eq!(approved.last_handled_approval.as_deref(), Some("h"));
        let (outcome, result) = (RunOutcome::Completed, RunResult { deleted_tags: 25, ..RunResult::default() });
        end(&mut approved, &Ending { outcome, message: None, plan: None, result, awaits: None }, at(6));
        let done = conclude(&policy(1, waiting), approved, &assessment(), at(6));
        assert_eq!(done.plan.unwrap().expires_at, None);
        let told: Vec<_> = done.history.iter().map(|run| (run.result, run.deleted_tags)).collect();
        assert_eq!(told, [(Some(RunOutcome::Completed), 25)]);
    }

    #[test]
    fn plan_that_is_set_aside_ends_its_run() {
        let mut status = waiting();
        set_aside(&mut status, "nobody approved it");
        assert_eq!(status.plan.as_ref().unwrap().expires_at, None);
        for run in status.history.iter().chain(&status.last_run) {
            assert_eq!(
                (run.result, run.message.as_deref()),
                (Some(RunOutcome::Interrupted), Some("nobody approved it"))
            );
        }
        let before = status.clone();
        set_aside(&mut status, "again");
        assert_eq!(status, before);
    }

    #[test]
    fn history_has_as_many_runs_as_the_policy_says_the_newest_first() {
        let mut status = RetentionPolicyStatus::default();
        for number in 0..5 {
            begin(&mut status, &Trigger::Schedule(at(number)), format!("u.{number}"), Mode::Enforce, at(number));
            end(&mut status, &Ending::early(RunOutcome::InUseUnknown, "no list"), at(number));
        }
        let mut limited = policy(1, RetentionPolicyStatus::default());
        limited.spec.history_limit = 2;
        let told = conclude(&limited, status.clone(), &assessment(), at(9));
        assert_eq!(told.history.iter().map(|run| run.run.as_str()).collect::<Vec<_>>(), ["u.4", "u.3"]);
        limited.spec.history_limit = 0;
        assert!(conclude(&limited, status, &assessment(), at(9)).history.is_empty());
    }
}
