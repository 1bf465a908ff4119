//! A plan without a trace: what a run of a policy would do now, if nothing was in use.

use std::collections::BTreeMap;

use crate::api::v1alpha1::PlanDecision;
use crate::api::wire::{AskedOfUse, PlanReport, PlanRequest, PlanSummary};

use super::course::mode_of;
use super::excerpt::Excerpt;
use super::planner::{PlanBounds, PlanLines};
use super::summary::summary;
use super::{Error, RetentionRuns};

/// What a plan is named after that belongs to no run.
const NO_RUN: &str = "";

impl RetentionRuns {
    /// Plans a policy as a run of it would begin, with at most `limit` lines: what goes first, then what stays; with
    /// `only`, those of this decision. Nothing is deleted or remembered, and nothing of it is written down, so that a
    /// registry whose deletion is disabled answers, too.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`], [`Error::Forecasting`], [`Error::Storage`].
    ///
    /// # Cancel safety
    /// A call that is dropped reads no further.
    pub async fn forecast(
        &self,
        request: &PlanRequest,
        limit: usize,
        only: Option<PlanDecision>,
    ) -> Result<PlanReport, Error> {
        let inner = &self.inner;
        // A plan takes memory in proportion to what it deletes.
        let _turn = inner.forecasting.try_acquire().map_err(|_| Error::Forecasting)?;
        let planner = inner.planner_of(&request.policy, &request.policies)?;
        let now = inner.clock.now();
        let bounds = PlanBounds { usage: &BTreeMap::new(), allowed: None, unpulled_since: None };
        let mut excerpt = Excerpt::new(limit, only);
        let lines = PlanLines::Excerpt(&mut excerpt);
        let plan = planner.plan(&inner.catalog, NO_RUN, now, &bounds, lines, None).await?;
        let policy = planner.running()?;
        let over = plan.check_limits().err().map(|over| format!("a run would wait for approval: {over}"));
        let said: Vec<String> = over.into_iter().chain(plan.remark().map(|remark| remark.to_string())).collect();
        let (lines, more) = excerpt.finish();
        Ok(PlanReport {
            policy: policy.id.to_string(),
            mode: mode_of(policy),
            // Nobody can approve what is not stored.
            plan: PlanSummary { hash: String::new(), ..summary(&plan, now) },
            in_use: AskedOfUse::Nobody,
            message: (!said.is_empty()).then(|| said.join("; ")),
            lines,
            more,
        })
    }
}
