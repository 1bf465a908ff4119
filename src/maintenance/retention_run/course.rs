//! The course of a run: planned, applied, or put aside until somebody approves it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tracing::{error, warn};

use crate::api::v1alpha1::{AccessMode, Mode};
use crate::api::wire::{
    ApplyRequest, AwaitedApproval, Brake, PolicySource, RunRequest, RunResult, RunState, RunStatus,
};
use crate::retention::{self, Plan, Policy};
use crate::storage::{Catalog, DeletionMode, RunClaim, with_causes};

use super::applier::{Applier, Ended};
use super::candidate_list::CandidateList;
use super::left_out::Leavings;
use super::planner::{PlanBounds, PlanLines, Planner};
use super::records::{self, Record};
use super::stored_plan::{PlanWriter, StoredPlan};
use super::summary::summary;
use super::turn::Application;
use super::{Error, Inner, RunId};

/// How old the list of what is in use may be when something is deleted (docs/retention.md).
const LISTING_LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// For how long a plan waits for approval (docs/retention.md).
const APPROVAL_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// For how long an application may go on deleting, and whether it may begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// When the list of what is in use is too old.
    pub(super) deadline: Timestamp,
    /// How often policies had changed before.
    pub(super) planned_with: u64,
    /// Whether what is not approved waits, however little it deletes.
    pub(super) is_manual: bool,
}

impl Inner {
    pub(super) fn check_deletion(&self) -> Result<(), Error> {
        if self.catalog.options().deletion == DeletionMode::Disabled {
            return Err(Error::DeletionUnavailable { reason: "deletion.mode is Disabled" });
        }
        if self.access == AccessMode::ReadOnly {
            return Err(Error::DeletionUnavailable { reason: "accessMode is ReadOnly" });
        }
        Ok(())
    }

    pub(super) fn planner(&self, request: &RunRequest) -> Result<Planner, Error> {
        self.planner_of(&request.policy, &request.policies)
    }

    /// Of these policies, to plan the one with this UID.
    pub(super) fn planner_of(&self, running: &str, policies: &[PolicySource]) -> Result<Planner, Error> {
        Planner::new(running, policies, self.catalog.options().restore_window, Arc::clone(&self.immutable))
    }

    pub(super) fn first_status(&self, run: &RunId, planner: &Planner) -> Result<RunStatus, Error> {
        let policy = planner.running()?;
        Ok(RunStatus {
            run: run.to_string(),
            policy: policy.id.to_string(),
            policy_uid: policy.id.uid.clone(),
            generation: policy.id.generation,
            mode: mode_of(policy),
            state: RunState::Planning,
            created_at: self.clock.now(),
            plan: None,
            plan_lines: None,
            list: None,
            awaits: None,
            approved: false,
            result: None,
            left_out: Vec::new(),
            message: None,
        })
    }

    pub(super) async fn record_start(
        &self,
        catalog: &Catalog,
        run: &RunId,
        request: &RunRequest,
        status: &RunStatus,
    ) -> Result<(), Error> {
        self.ledger.prune(catalog).await?;
        records::write(catalog, run, Record::Request, request).await?;
        records::write(catalog, run, Record::Status, status).await?;
        self.replace_waiting(catalog, run, request).await
    }

    /// The candidates of a run that is as far as this status says.
    pub(super) async fn candidates(&self, run: &RunId, status: &RunStatus) -> Result<CandidateList, Error> {
        let name = status.list.as_ref().and_then(|name| name.parse().ok());
        Ok(records::read(&self.catalog, run, Record::Candidates(name)).await?.unwrap_or_default())
    }

    /// When the list of what is in use, which took `seconds`, is too old.
    pub(super) fn deadline(&self, seconds: f64) -> Result<Timestamp, Error> {
        let took = SignedDuration::try_from_secs_f64(seconds).ok().filter(|took| !took.is_negative());
        let took = took.ok_or_else(|| Error::InvalidRequest {
            reason: format!("listingSeconds: {seconds} is not how long a listing can take"),
        })?;
        if took >= LISTING_LIFETIME {
            return Err(Error::InvalidRequest {
                reason: format!(
                    "listingSeconds: what was in use {seconds} seconds ago may not be all that is; list again"
                ),
            });
        }
        self.clock
            .now()
            .checked_add(LISTING_LIFETIME - took)
            .map_err(|_| Error::InvalidRequest { reason: "listingSeconds: out of range".into() })
    }

    pub(super) async fn plan(&self, run: &RunId, planner: Planner, begun: RunStatus, claim: &RunClaim) {
        let outcome = tokio::select! {
            biased;
            // Nothing was written but the start, which the next start of the process forgets.
            () = self.stop.cancelled() => return,
            outcome = self.try_plan(run, &planner, &begun, claim) => outcome,
        };
        let status = outcome.unwrap_or_else(|error| failed(run, &begun, &error));
        self.record(run, status, claim).await;
    }

    async fn try_plan(
        &self,
        run: &RunId,
        planner: &Planner,
        begun: &RunStatus,
        claim: &RunClaim,
    ) -> Result<RunStatus, Error> {
        let now = self.clock.now();
        let bounds = PlanBounds { usage: &BTreeMap::new(), allowed: None, unpulled_since: None };
        let plan = planner.plan(&self.catalog, run.as_str(), now, &bounds, PlanLines::Dropped, None).await?;
        let list = self.keep_list(run, &CandidateList::of(&plan), claim).await?;
        let message = plan.remark().map(|remark| remark.to_string());
        Ok(RunStatus {
            state: RunState::AwaitingUsage,
            plan: Some(summary(&plan, now)),
            list,
            message,
            ..begun.clone()
        })
    }

    /// Writes a list of candidates; its name.
    async fn keep_list(
        &self,
        run: &RunId,
        candidates: &CandidateList,
        claim: &RunClaim,
    ) -> Result<Option<String>, Error> {
        records::write(&self.under(claim).await?, run, Record::Candidates(claim.id()), candidates).await?;
        Ok(claim.id().map(|name| name.to_string()))
    }

    pub(super) async fn apply(&self, run: &RunId, application: Application, claim: &RunClaim) {
        let Ok(begun) = self.ledger.status(run) else { return };
        let applied = self.try_apply(run, &application, &begun, claim).await;
        let status = applied.unwrap_or_else(|error| failed(run, &begun, &error));
        self.record(run, status, claim).await;
    }

    async fn try_apply(
        &self,
        run: &RunId,
        application: &Application,
        begun: &RunStatus,
        claim: &RunClaim,
    ) -> Result<RunStatus, Error> {
        let Application { planner, candidates, request, bounds } = application;
        let catalog = self.under(claim).await?;
        // On the medium before the first tombstone: after a crash the run is known to have begun applying.
        self.ledger.update(&catalog, run, begun.clone()).await?;
        self.waiting.remove(run);
        let usage = candidates
            .usage(&request.in_use)
            .map_err(|index| Error::InvalidRequest { reason: format!("inUse: no candidate {index}") })?;
        let now = self.clock.now();
        let allowed = candidates.allowed();
        let approved = begun.plan.as_ref().filter(|_| begun.approved);
        let unpulled_since = approved.map(|plan| plan.created_at);
        let plan_bounds = PlanBounds { usage: &usage, allowed: Some(&allowed), unpulled_since };
        // What was planned first is what is read: of a run that goes on, the rest is left.
        let mut writer = begun.plan_lines.is_none().then(|| PlanWriter::new(&catalog, run));
        let lines = writer.as_mut().map_or(PlanLines::Dropped, PlanLines::Stored);
        let mut left_out = Leavings::after(&begun.left_out, begun.result.is_some());
        // Where the plan is stored anew, that tells it.
        let told = begun.approved.then_some(&mut left_out);
        let plan = planner.plan(&self.catalog, run.as_str(), now, &plan_bounds, lines, told).await?;
        let mut begun = begun.clone();
        if let Some(writer) = writer {
            begun.plan_lines = Some(writer.finish().await?);
            self.forget_older_plans(&catalog, run, &begun.policy_uid).await;
            self.ledger.update(&self.under(claim).await?, run, begun.clone()).await?;
        }
        if let Some((brake, words)) = brake(&plan, &begun, bounds.is_manual) {
            return self.wait(run, &plan, now, candidates, brake, &words, begun, claim).await;
        }
        // What was pushed after an approved plan was made stays, too.
        let planned_at = unpulled_since.unwrap_or(now);
        let (state, message, result) =
            self.carry_out(run, &plan, planned_at, *bounds, &begun, &mut left_out, claim).await;
        let result = result.map(|result| with_changes(result, allowed.len(), &plan, &begun));
        let shown = if begun.approved { begun.plan.clone() } else { Some(summary(&plan, now)) };
        Ok(RunStatus { state, plan: shown, result, left_out: left_out.told(), message, ..begun })
    }

    /// Has a plan wait for approval.
    #[expect(clippy::too_many_arguments, reason = "all of it is what was planned, and each is of another type")]
    async fn wait(
        &self,
        run: &RunId,
        plan: &Plan,
        planned_at: Timestamp,
        candidates: &CandidateList,
        brake: Brake,
        words: &str,
        begun: RunStatus,
        claim: &RunClaim,
    ) -> Result<RunStatus, Error> {
        let candidates = candidates.narrowed(plan);
        let list = self.keep_list(run, &candidates, claim).await?;
        let expires_at = planned_at
            .checked_add(APPROVAL_LIFETIME)
            .map_err(|_| Error::InvalidRequest { reason: "the clock is at the end of time".into() })?;
        self.waiting.add(run, &begun.policy, expires_at, &candidates);
        let plan = summary(plan, planned_at);
        let message = Some(format!("{words}: its hash waits for approval until {expires_at:.0}"));
        let awaits = Some(AwaitedApproval { brake, expires_at });
        Ok(RunStatus { state: RunState::AwaitingApproval, plan: Some(plan), list, awaits, message, ..begun })
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is what is applied, and each is of another type")]
    async fn carry_out(
        &self,
        run: &RunId,
        plan: &Plan,
        planned_at: Timestamp,
        bounds: Bounds,
        begun: &RunStatus,
        left_out: &mut Leavings,
        claim: &RunClaim,
    ) -> (RunState, Option<String>, Option<RunResult>) {
        let remark = plan.remark().map(|remark| remark.to_string());
        if begun.mode == Mode::DryRun {
            let over =
                plan.check_limits().err().map(|over| format!("with mode Enforce it would wait for approval: {over}"));
            let said: Vec<String> = over.into_iter().chain(remark).collect();
            return (RunState::Completed, (!said.is_empty()).then(|| said.join("; ")), None);
        }
        let applier = Applier {
            catalog: &self.catalog,
            claim,
            clock: self.clock.as_ref(),
            stop: &self.stop,
            run,
            policy: &begun.policy,
            planned_at,
            planned_with: bounds.planned_with,
            policy_changes: &self.policy_changes,
            deadline: bounds.deadline,
        };
        let mut result = begun.result.unwrap_or_default();
        let (state, message) = match applier.apply(plan, &mut result, left_out).await {
            Ok(Ended::Completed) => (RunState::Completed, remark),
            Ok(Ended::ListingTooOld) => (RunState::AwaitingUsage, Some("the list of what is in use is too old".into())),
            Ok(Ended::PoliciesChanged) => (RunState::AwaitingUsage, Some("policies have changed".into())),
            Ok(Ended::LeaseLost) => (RunState::AwaitingUsage, Some("the registry lost its lease".into())),
            Ok(Ended::Stopped) => (RunState::AwaitingUsage, Some("the registry is stopping".into())),
            Err(error) => (RunState::Failed, Some(with_causes(&error))),
        };
        (state, message, Some(result))
    }

    /// The whole plan is kept of each policy's newest run that has one: it may have a million lines.
    async fn forget_older_plans(&self, catalog: &Catalog, run: &RunId, policy_uid: &str) {
        for older in self.ledger.all() {
            let (Some(lines), Ok(id)) = (older.plan_lines, older.run.parse::<RunId>()) else { continue };
            if older.policy_uid != policy_uid || id == *run {
                continue;
            }
            let forgotten = StoredPlan { catalog, run: &id, lines }.remove().await;
            let forgotten = match forgotten {
                Ok(()) => self.ledger.update(catalog, &id, RunStatus { plan_lines: None, ..older }).await,
                Err(error) => Err(error),
            };
            if let Err(error) = forgotten {
                warn!(run = %id, error = &error as &dyn std::error::Error, "could not forget an older plan");
            }
        }
    }

    /// That a request may apply a run with this status.
    pub(super) fn check_approval(status: &RunStatus, request: &ApplyRequest) -> Result<(), Error> {
        let Some(hash) = &request.approve else { return Ok(()) };
        let waits = status.state == RunState::AwaitingApproval || status.approved;
        if waits && status.plan.as_ref().is_some_and(|plan| plan.hash == *hash) {
            return Ok(());
        }
        Err(Error::InvalidRequest {
            reason: format!("approve: no plan of run {} waits that has this hash", status.run),
        })
    }

    /// The status of a run, whose plan waits no more once its time is over. Every clock sees that by itself, and not all at
    /// the same time, so it is neither written nor remembered before the plan is [replaced](Self::replace_waiting).
    pub(super) fn unless_expired(&self, run: &RunId, status: RunStatus) -> RunStatus {
        match status.awaits {
            Some(awaits) if status.state == RunState::AwaitingApproval && awaits.expires_at <= self.clock.now() => {
                self.waiting.remove(run);
                let words = format!("nobody approved the plan until {:.0}", awaits.expires_at);
                interrupted(status, &words)
            }
            _ => status,
        }
    }

    /// Ends a run.
    pub(super) async fn interrupt(
        &self,
        catalog: &Catalog,
        run: &RunId,
        status: RunStatus,
        reason: &str,
    ) -> Result<RunStatus, Error> {
        let status = interrupted(status, reason);
        self.waiting.remove(run);
        self.ledger.update(catalog, run, status.clone()).await?;
        Ok(status)
    }

    /// A run begins: what it replaces, and what its policies make void, waits no more.
    async fn replace_waiting(&self, catalog: &Catalog, run: &RunId, request: &RunRequest) -> Result<(), Error> {
        let declared = self.declared.policies();
        for status in self.ledger.all().into_iter().filter(|status| status.state == RunState::AwaitingApproval) {
            let Ok(id) = status.run.parse::<RunId>() else { continue };
            let status = self.unless_expired(&id, status);
            if status.state != RunState::AwaitingApproval {
                self.ledger.update(catalog, &id, status).await?;
                continue;
            }
            // What this process runs by itself is what its files say, whoever asks for a run, and with which policies.
            let mut known = declared.iter().chain(&request.policies);
            let known = known.find(|policy| policy.uid == status.policy_uid);
            let reason = match known {
                _ if status.policy_uid == request.policy => format!("run {run} of the same policy replaced the plan"),
                None => format!(
                    "the policy is not among those that run {run} began with: it was deleted, or whoever asked for that run \
                     left it out"
                ),
                Some(policy) if policy.generation != status.generation => {
                    "the policy was changed, so nobody can approve the plan".to_owned()
                }
                Some(_) => continue,
            };
            self.interrupt(catalog, &id, status, &reason).await?;
        }
        Ok(())
    }

    /// All runs as they stand by now, the newest first.
    pub(super) fn all_by_now(&self) -> Vec<RunStatus> {
        let by_now = |status: RunStatus| match status.run.parse() {
            Ok(id) => self.unless_expired(&id, status),
            Err(_) => status,
        };
        self.ledger.all().into_iter().map(by_now).collect()
    }

    /// Takes note of what other replicas do, and removes what is left of claims that nobody holds: what this process could
    /// not remove of its own holds up the others.
    pub(super) async fn look_around(&self) -> Result<(), Error> {
        self.ledger.claimed().await?;
        self.ledger.look_for_all().await?;
        self.note_waiting().await
    }

    /// Makes those plans known as waiting that do, and no others.
    pub(super) async fn note_waiting(&self) -> Result<(), Error> {
        for status in self.all_by_now() {
            let Ok(id) = status.run.parse::<RunId>() else { continue };
            match status.awaits.filter(|_| status.state == RunState::AwaitingApproval) {
                None => self.waiting.remove(&id),
                Some(_) if self.waiting.contains(&id) => {}
                Some(awaits) => {
                    let candidates = self.candidates(&id, &status).await?;
                    self.waiting.add(&id, &status.policy, awaits.expires_at, &candidates);
                }
            }
        }
        Ok(())
    }

    async fn record(&self, run: &RunId, status: RunStatus, claim: &RunClaim) {
        let written = match self.under(claim).await {
            Ok(catalog) => self.ledger.update(&catalog, run, status).await,
            Err(error) => {
                self.ledger.forget(run);
                Err(error)
            }
        };
        if let Err(failure) = written {
            let failure = &failure as &(dyn std::error::Error + 'static);
            error!(%run, error = failure, "could not record how far a retention run is");
        }
    }
}

/// Whether a policy deletes.
pub(super) fn mode_of(policy: &Policy) -> Mode {
    match policy.mode {
        retention::Mode::DryRun => Mode::DryRun,
        retention::Mode::Enforce => Mode::Enforce,
    }
}

/// Why a plan has to wait, if it has to; in words, too.
fn brake(plan: &Plan, begun: &RunStatus, is_manual: bool) -> Option<(Brake, String)> {
    if begun.approved || begun.mode == Mode::DryRun || plan.deletes() == 0 {
        return None;
    }
    match plan.check_limits() {
        Err(over) => Some((Brake::LimitExceeded, over.to_string())),
        Ok(()) => is_manual.then(|| (Brake::Manual, "approval is Manual".to_owned())),
    }
}

/// Whether a run's plan has to wait, however little it deletes.
pub(super) fn is_manual(request: &RunRequest) -> bool {
    let running = request.policies.iter().find(|policy| policy.uid == request.policy);
    !request.approval.is_automatic() || running.is_some_and(|policy| !policy.spec.approval.is_automatic())
}

/// A run with the policies as they stand when it is applied. The one that runs must be the same still.
pub(super) fn by_now(original: RunRequest, request: &ApplyRequest) -> Result<RunRequest, Error> {
    if request.policies.is_empty() {
        return Ok(original);
    }
    let generation = |policies: &[PolicySource]| {
        policies.iter().find(|policy| policy.uid == original.policy).map(|policy| policy.generation)
    };
    if generation(&request.policies) != generation(&original.policies) {
        let reason = "policies: the one that runs has another generation than the run began with".into();
        return Err(Error::InvalidRequest { reason });
    }
    Ok(RunRequest { policies: request.policies.clone(), ..original })
}

fn interrupted(status: RunStatus, reason: &str) -> RunStatus {
    RunStatus { state: RunState::Interrupted, message: Some(reason.to_owned()), awaits: None, ..status }
}

/// The status of a run that an error ended.
fn failed(run: &RunId, begun: &RunStatus, cause: &Error) -> RunStatus {
    error!(%run, error = cause as &(dyn std::error::Error + 'static), "a retention run failed");
    RunStatus { state: RunState::Failed, message: Some(with_causes(cause)), ..begun.clone() }
}

/// Counts what the first plan named and the last one neither deletes nor finds in use.
fn with_changes(mut result: RunResult, named: u64, plan: &Plan, begun: &RunStatus) -> RunResult {
    // What an earlier, cut off application did is gone from the plan, but has not changed.
    let earlier = begun.result.map_or(0, |r| r.deleted_tags.saturating_add(r.deleted_manifests));
    let accounted = plan.deletes().saturating_add(plan.protected_in_use()).saturating_add(earlier);
    result.changed_since_planned += named.saturating_sub(accounted);
    result
}
