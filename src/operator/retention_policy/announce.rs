//! What those who watch a policy are told: Events, and the count of runs.

use kube::{Resource, runtime::events::EventType};

use crate::api::v1alpha1::{
    HoldState, Mode, RetentionPolicy, RetentionPolicyStatus, RunOutcome, conditions::ConditionType,
};
use crate::api::wire::RunResult;
use crate::operator::context::Context;

use super::{assess::REFUSED, run::Ending, status::in_words};

/// A run has ended, and the status says so.
pub async fn run_ended(context: &Context, policy: &RetentionPolicy, status: &RetentionPolicyStatus, ending: &Ending) {
    let Some(run) = &status.last_run else { return };
    let Some(outcome) = run.result else { return };
    context.metrics.run_ended(&format!("{outcome:?}"));
    let RunResult { deleted_tags, deleted_manifests, bytes, .. } = ending.result;
    context.metrics.retention_deleted(deleted_tags, deleted_manifests, bytes);
    // What an approved plan protects was counted when it began to wait.
    let was_approved =
        ending.plan.as_ref().is_some_and(|plan| Some(&plan.hash) == status.last_handled_approval.as_ref());
    for (reason, count) in ending.plan.iter().filter(|_| !was_approved).flat_map(|plan| &plan.keeps_by_reason) {
        context.metrics.retention_protected(reason, *count);
    }
    let planned = status.plan.as_ref().filter(|plan| plan.run == run.run);
    let counts = planned.map(|plan| {
        format!("{} to delete, {} to keep, {} of them in use", plan.deletes, plan.keeps, plan.protected_in_use)
    });
    let (type_, reason) = match (outcome, run.mode) {
        (RunOutcome::Completed, Mode::DryRun) | (RunOutcome::AwaitingApproval, _) => {
            (EventType::Normal, "Planned".to_owned())
        }
        (RunOutcome::Completed, Mode::Enforce) => (EventType::Normal, "Applied".to_owned()),
        (outcome, _) => (EventType::Warning, format!("{outcome:?}")),
    };
    let did = (outcome == RunOutcome::Completed && run.mode == Mode::Enforce).then(|| in_words(run));
    let note: Vec<String> = run.message.clone().into_iter().chain(did).chain(counts).collect();
    context.record(&policy.object_ref(&()), type_, &reason, &note.join("; ")).await;
}

/// A plan that waited can be approved no more.
pub async fn plan_is_void(context: &Context, policy: &RetentionPolicy, words: &str) {
    context.record(&policy.object_ref(&()), EventType::Warning, "PlanVoid", words).await;
}

/// A status was written over that of `before`.
pub async fn changes(context: &Context, before: &RetentionPolicy, status: &RetentionPolicyStatus) {
    let known = before.status.clone().unwrap_or_default();
    let about = before.object_ref(&());
    let ready = |status: &RetentionPolicyStatus| {
        status.conditions.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str()).cloned()
    };
    let refusal = |status| ready(status).and_then(|now| now.message.split_once(REFUSED).map(|(_, why)| why.to_owned()));
    if let Some(why) = refusal(status).filter(|why| refusal(&known).as_ref() != Some(why)) {
        context.record(&about, EventType::Warning, "ApprovalRefused", &format!("{REFUSED}{why}")).await;
    }
    if let Some(now) = ready(status)
        && ready(&known).is_none_or(|was| was.reason != now.reason)
    {
        let type_ = if now.status == "True" { EventType::Normal } else { EventType::Warning };
        context.record(&about, type_, &now.reason, &now.message).await;
    }
    let was = |reference: &str| known.holds.iter().find(|hold| hold.reference == reference).map(|hold| hold.state);
    for hold in &status.holds {
        let (type_, reason) = match hold.state {
            HoldState::Restored => (EventType::Normal, "Restored"),
            HoldState::Missing => (EventType::Warning, "HoldMissing"),
            HoldState::Conflict => (EventType::Warning, "HoldConflict"),
            HoldState::Held | HoldState::Expired | HoldState::Unknown => continue,
        };
        if was(&hold.reference) != Some(hold.state) {
            let words = hold.message.as_deref().unwrap_or_default();
            context.record(&about, type_, reason, &format!("{}: {words}", hold.reference)).await;
        }
    }
}
