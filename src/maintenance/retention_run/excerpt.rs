//! Some lines of a plan that is not stored.

use crate::api::v1alpha1::PlanDecision;
use crate::api::wire::PlanLine;
use crate::retention::RepositoryPlan;

use super::stored_plan::lines;

/// The first lines of each decision: memory does not grow with the plan.
#[derive(Debug)]
pub(super) struct Excerpt {
    limit: usize,
    only: Option<PlanDecision>,
    deletions: Vec<PlanLine>,
    kept: Vec<PlanLine>,
    count: usize,
}

impl Excerpt {
    /// Of at most `limit` lines; with `only`, those of this decision.
    pub(super) fn new(limit: usize, only: Option<PlanDecision>) -> Self {
        Self { limit, only, deletions: Vec::new(), kept: Vec::new(), count: 0 }
    }

    /// Adds a repository, which comes after all that were added before.
    pub(super) fn add(&mut self, plan: &RepositoryPlan) {
        let wanted = |line: &PlanLine| self.only.is_none_or(|only| only == line.decision);
        for line in lines(plan, &[]).into_iter().map(|(_, line)| line).filter(wanted) {
            self.count += 1;
            let of_decision = match line.decision {
                PlanDecision::Delete => &mut self.deletions,
                PlanDecision::Keep => &mut self.kept,
            };
            if of_decision.len() < self.limit {
                of_decision.push(line);
            }
        }
    }

    /// The lines, and whether the plan has more of them.
    pub(super) fn finish(self) -> (Vec<PlanLine>, bool) {
        let Self { limit, deletions: mut lines, kept, count, .. } = self;
        lines.extend(kept);
        lines.truncate(limit);
        let more = count > lines.len();
        (lines, more)
    }
}
