//! A plan, as it is reported.

use std::cmp::Reverse;

use jiff::Timestamp;

use crate::api::wire::{PlanSummary, PreventedLine};
use crate::retention::Plan;

use super::stored_plan::line;

/// How many decisions a summary shows: what a policy's status has room for.
const SAMPLE: usize = 20;

/// Counts and samples a plan made at `created_at`.
pub(super) fn summary(plan: &Plan, created_at: Timestamp) -> PlanSummary {
    PlanSummary {
        hash: plan.hash(),
        created_at,
        tags_in_scope: plan.tags_in_scope(),
        deletes: plan.deletes(),
        keeps: plan.keeps(),
        protected_in_use: plan.protected_in_use(),
        keeps_by_reason: plan.kept_by_reason().iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
        reclaimable_bytes: plan.unshared_bytes(),
        prevented: prevented(plan),
        sample: plan.sample(SAMPLE).map(|(repository, decision)| line(repository, decision)).collect(),
    }
}

/// The policies that prevent most come first.
fn prevented(plan: &Plan) -> Vec<PreventedLine> {
    let mut lines: Vec<PreventedLine> = plan
        .prevented()
        .iter()
        .map(|(policy, by)| PreventedLine { policy: policy.clone(), count: by.count, sample: by.sample.clone() })
        .collect();
    lines.sort_by_key(|line| Reverse(line.count));
    lines.truncate(SAMPLE);
    lines
}
