//! What a run of a policy did, in words.

use crate::api::v1alpha1::{Mode, PlanDecision};
use crate::api::wire::{RunState, RunStatus};

use super::output::counted;

/// What applies a plan of `lagan up` that waits.
pub(super) const ANNOTATION: &str = "the annotation lagan.dev/approve:";

/// A run in one line, and what it would delete where it deletes nothing, or did not delete. `approved_with` is what applies a plan that waits,
/// if it is followed by the plan's hash.
pub(super) fn outcome(status: &RunStatus, approved_with: &str) -> String {
    let message = status.message.as_deref().map(|message| format!(" ({message})")).unwrap_or_default();
    if let (Some(plan), RunState::AwaitingApproval) = (&status.plan, status.state) {
        return format!(
            "would delete {} and keep {}{message}; `lagan retention plan {}` shows all of it, and \
             {approved_with} {} applies it",
            plan.deletes, plan.keeps, status.policy, plan.hash
        );
    }
    let (Some(plan), RunState::Completed) = (&status.plan, status.state) else {
        let deleted = status.result.map(|result| {
            let (tags, manifests) = (result.deleted_tags, result.deleted_manifests);
            format!(", after it deleted {} and {}", counted(tags, "tag"), counted(manifests, "manifest"))
        });
        return format!("{:?}{}{message}{}", status.state, deleted.unwrap_or_default(), left_out(status));
    };
    if let (Mode::Enforce, Some(result)) = (status.mode, status.result) {
        let (tags, manifests) = (result.deleted_tags, result.deleted_manifests);
        let where_to_look = if tags + manifests > 0 { "; `lagan trash list` shows what" } else { "" };
        let deleted = format!("{} and {}", counted(tags, "tag"), counted(manifests, "manifest"));
        let changed = match result.changed_since_planned {
            0 => String::new(),
            changed => format!(", {changed} had changed and stayed"),
        };
        let failed = match result.failed {
            0 => String::new(),
            failed => format!(", {failed} could not be deleted and stayed"),
        };
        let left_out = left_out(status);
        return format!("deleted {deleted}, kept {}{changed}{failed}{message}{where_to_look}{left_out}", plan.keeps);
    }
    let lines = plan.sample.iter().filter(|line| line.decision == PlanDecision::Delete);
    let lines: Vec<String> = lines.map(|line| format!("\n  {}: {}", line.reference, line.reason)).collect();
    format!("would delete {} and keep {}{message}{}", plan.deletes, plan.keeps, lines.concat())
}

/// What a run was to delete and did not, a line each.
fn left_out(status: &RunStatus) -> String {
    let lines = status.left_out.iter().map(|left| format!("\n  {} stayed: {}", left.reference, left.reason));
    lines.collect()
}
