//! The runs of a registry's policies.
//!
//! [`RetentionRuns`] is the way in: it keeps the [`ledger`] and owns the tasks that plan and apply. The [`planner`]
//! reads the registry and asks the engine; the [`candidate_list`] is what the first plan named; the [`applier`]
//! deletes.

mod applier;
mod candidate_list;
mod ledger;
mod planner;
mod records;
mod snapshot;
mod summary;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, error, info_span};

use crate::api::v1alpha1::{AccessMode, Mode};
use crate::api::wire::{ApplyRequest, CandidatePage, PolicySource, RunRequest, RunResult, RunState, RunStatus};
use crate::retention::{self, ImmutableTags, Plan};
use crate::storage::{Catalog, Clock, DeletionMode, with_causes};

use super::{Error, RunId};

use applier::{Applier, Ended};
use candidate_list::CandidateList;
use ledger::Ledger;
use planner::Planner;
use records::Record;
use summary::summary;

/// How old the list of what is in use may be when something is deleted (RESOURCES.md, *A run*).
const LISTING_LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// The runs of a registry's policies: one at a time, each known by its id for as long as its records are kept.
///
/// # Guarantees
/// - The same id is the same run, asked for once or often, before and after a restart.
/// - Nothing is deleted that the run's first plan did not name, that is in use, or that has changed since.
/// - A run that was cut off goes on where it was, with a new list of what is in use.
#[derive(Debug, Clone)]
pub struct RetentionRuns {
    inner: Arc<Inner>,
}

/// For how long an application may go on deleting.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// When the list of what is in use is too old.
    deadline: Timestamp,
    /// How often policies had changed before.
    planned_with: u64,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    access: AccessMode,
    immutable: Arc<ImmutableTags>,
    clock: Arc<dyn Clock>,
    ledger: Ledger,
    policy_changes: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl RetentionRuns {
    /// Opens the records of earlier runs.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn open(catalog: Catalog, access: AccessMode, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::open_with_immutable(catalog, access, Arc::default(), clock).await
    }

    /// As [`Self::open`], of a registry some of whose tags are immutable.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn open_with_immutable(
        catalog: Catalog,
        access: AccessMode,
        immutable: Arc<ImmutableTags>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let ledger = Ledger::open(catalog.clone()).await?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let policy_changes = AtomicU64::new(0);
        Ok(Self { inner: Arc::new(Inner { catalog, access, immutable, clock, ledger, policy_changes, tasks, stop }) })
    }

    /// Starts a run, which then plans on its own; of a run that is known already, the status.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`], [`Error::DeletionUnavailable`], [`Error::Busy`], [`Error::Storage`].
    pub async fn start(&self, request: RunRequest) -> Result<RunStatus, Error> {
        let run: RunId =
            request.run.parse().map_err(|error| Error::InvalidRequest { reason: format!("run: {error}") })?;
        self.inner.ledger.look_for(&run).await?;
        if let Ok(known) = self.inner.ledger.status(&run) {
            return Ok(known);
        }
        self.inner.check_deletion()?;
        let planner = self.inner.planner(&request)?;
        let status = self.inner.first_status(&run, &planner)?;
        if let Some(known) = self.inner.ledger.begin(&run, status.clone())? {
            return Ok(known);
        }
        if let Err(error) = self.inner.record_start(&run, &request, &status).await {
            self.inner.ledger.withdraw(&run);
            return Err(error);
        }
        let inner = Arc::clone(&self.inner);
        let begun = status.clone();
        let span = info_span!(parent: None, "retention_run", step = "plan", %run);
        self.inner.tasks.spawn(async move { inner.plan(run, planner, begun).await }.instrument(span));
        Ok(status)
    }

    /// How far a run is.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::Storage`], [`Error::Corrupt`].
    pub async fn status(&self, run: &RunId) -> Result<RunStatus, Error> {
        self.inner.ledger.look_for(run).await?;
        self.inner.ledger.status(run)
    }

    /// At most `limit` of what a run would delete, after the candidate of index `after`.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::NotReady`] while it plans, [`Error::Storage`], [`Error::Corrupt`].
    pub async fn candidates(&self, run: &RunId, after: Option<u32>, limit: usize) -> Result<CandidatePage, Error> {
        if self.status(run).await?.state == RunState::Planning {
            return Err(Error::NotReady { run: run.clone(), state: "planning" });
        }
        let (candidates, more) = self.inner.candidates(run).await?.page(after, limit);
        let next = candidates.last().map(|last| last.index).filter(|_| more);
        Ok(CandidatePage { candidates, next })
    }

    /// Applies a run's plan, less what is in use; a dry run stores that. Of a run that is past that, the status.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::NotReady`] while it plans, [`Error::InvalidRequest`],
    /// [`Error::DeletionUnavailable`], [`Error::Busy`], [`Error::Storage`].
    pub async fn apply(&self, run: &RunId, request: ApplyRequest) -> Result<RunStatus, Error> {
        let deadline = self.inner.deadline(request.listing_seconds)?;
        let planned_with = self.inner.policy_changes.load(Ordering::Acquire);
        let status = self.status(run).await?;
        if status.state != RunState::AwaitingUsage {
            return self.inner.ledger.begin_applying(run).map(|known| known.unwrap_or(status));
        }
        self.inner.check_deletion()?;
        let candidates = self.inner.candidates(run).await?;
        candidates
            .usage(&request.in_use)
            .map_err(|index| Error::InvalidRequest { reason: format!("inUse: run {run} has no candidate {index}") })?;
        let original: Option<RunRequest> = records::read(&self.inner.catalog, run, Record::Request).await?;
        let original = original.ok_or_else(|| Error::RunUnknown { run: run.clone() })?;
        let planner = self.inner.planner(&by_now(original, &request)?)?;
        if let Some(known) = self.inner.ledger.begin_applying(run)? {
            return Ok(known);
        }
        let inner = Arc::clone(&self.inner);
        let applied = run.clone();
        let span = info_span!(parent: None, "retention_run", step = "apply", run = %applied);
        let bounds = Bounds { deadline, planned_with };
        let work = async move { inner.apply(applied, planner, candidates, request, bounds).await };
        self.inner.tasks.spawn(work.instrument(span));
        self.inner.ledger.status(run)
    }

    /// Says that the policies have changed: an application in hand deletes nothing more with those that it began with.
    /// It waits, as with a list of what is in use that became too old, until it is applied with those of now, or
    /// [interrupted](Self::interrupt).
    pub fn policies_changed(&self) {
        self.inner.policy_changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends a run that waits, for a reason; of one that does not wait, the status.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::Storage`].
    pub async fn interrupt(&self, run: &RunId, reason: &str) -> Result<RunStatus, Error> {
        let status = self.status(run).await?;
        if status.state != RunState::AwaitingUsage {
            return Ok(status);
        }
        let status = RunStatus { state: RunState::Interrupted, message: Some(reason.to_owned()), ..status };
        self.inner.ledger.update(run, status.clone()).await?;
        Ok(status)
    }

    /// Waits until a run neither plans nor applies.
    ///
    /// # Errors
    /// [`Error::RunUnknown`].
    pub async fn settled(&self, run: &RunId) -> Result<RunStatus, Error> {
        self.inner.ledger.settled(run).await
    }

    /// Lets the step in hand finish, and stops. What is left of a run goes on after the next start.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    fn check_deletion(&self) -> Result<(), Error> {
        if self.catalog.options().deletion == DeletionMode::Disabled {
            return Err(Error::DeletionUnavailable { reason: "deletion.mode is Disabled" });
        }
        if self.access == AccessMode::ReadOnly {
            return Err(Error::DeletionUnavailable { reason: "accessMode is ReadOnly" });
        }
        Ok(())
    }

    fn planner(&self, request: &RunRequest) -> Result<Planner, Error> {
        Planner::new(request, self.catalog.options().restore_window, Arc::clone(&self.immutable))
    }

    fn first_status(&self, run: &RunId, planner: &Planner) -> Result<RunStatus, Error> {
        let policy = planner.running().ok_or_else(|| Error::RunUnknown { run: run.clone() })?;
        let mode = match policy.mode {
            retention::Mode::DryRun => Mode::DryRun,
            retention::Mode::Enforce => Mode::Enforce,
        };
        Ok(RunStatus {
            run: run.to_string(),
            policy: policy.id.to_string(),
            mode,
            state: RunState::Planning,
            created_at: self.clock.now(),
            plan: None,
            result: None,
            message: None,
        })
    }

    async fn record_start(&self, run: &RunId, request: &RunRequest, status: &RunStatus) -> Result<(), Error> {
        self.ledger.prune().await?;
        records::write(&self.catalog, run, Record::Request, request).await?;
        records::write(&self.catalog, run, Record::Status, status).await
    }

    async fn candidates(&self, run: &RunId) -> Result<CandidateList, Error> {
        Ok(records::read(&self.catalog, run, Record::Candidates).await?.unwrap_or_default())
    }

    /// When the list of what is in use, which took `seconds`, is too old.
    fn deadline(&self, seconds: f64) -> Result<Timestamp, Error> {
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

    async fn plan(&self, run: RunId, planner: Planner, begun: RunStatus) {
        let outcome = tokio::select! {
            biased;
            // Nothing was written but the start, which the next start of the process forgets.
            () = self.stop.cancelled() => return,
            outcome = self.try_plan(&run, &planner, &begun) => outcome,
        };
        let status = outcome.unwrap_or_else(|error| failed(&run, &begun, &error));
        self.record(&run, status).await;
    }

    async fn try_plan(&self, run: &RunId, planner: &Planner, begun: &RunStatus) -> Result<RunStatus, Error> {
        let now = self.clock.now();
        let plan = planner.plan(&self.catalog, run.as_str(), now, &BTreeMap::new(), |_| {}).await?;
        records::write(&self.catalog, run, Record::Candidates, &CandidateList::of(&plan)).await?;
        let message = plan.remark().map(|remark| remark.to_string());
        Ok(RunStatus { state: RunState::AwaitingUsage, plan: Some(summary(&plan, now)), message, ..begun.clone() })
    }

    async fn apply(
        &self,
        run: RunId,
        planner: Planner,
        candidates: CandidateList,
        request: ApplyRequest,
        bounds: Bounds,
    ) {
        let Ok(begun) = self.ledger.status(&run) else { return };
        let applied = self.try_apply(&run, &planner, &candidates, &request, bounds, &begun).await;
        let status = applied.unwrap_or_else(|error| failed(&run, &begun, &error));
        self.record(&run, status).await;
    }

    async fn try_apply(
        &self,
        run: &RunId,
        planner: &Planner,
        candidates: &CandidateList,
        request: &ApplyRequest,
        bounds: Bounds,
        begun: &RunStatus,
    ) -> Result<RunStatus, Error> {
        // On the medium before the first tombstone: after a crash the run is known to have begun applying.
        self.ledger.update(run, begun.clone()).await?;
        let usage = candidates
            .usage(&request.in_use)
            .map_err(|index| Error::InvalidRequest { reason: format!("inUse: no candidate {index}") })?;
        let now = self.clock.now();
        let allowed = candidates.allowed();
        let plan = planner.plan(&self.catalog, run.as_str(), now, &usage, |plan| allowed.restrict(plan)).await?;
        let (state, message, result) = self.carry_out(run, &plan, now, bounds, begun).await;
        let result = result.map(|result| with_changes(result, allowed.len(), &plan, begun));
        Ok(RunStatus { state, plan: Some(summary(&plan, now)), result, message, ..begun.clone() })
    }

    async fn carry_out(
        &self,
        run: &RunId,
        plan: &Plan,
        planned_at: Timestamp,
        bounds: Bounds,
        begun: &RunStatus,
    ) -> (RunState, Option<String>, Option<RunResult>) {
        let remark = plan.remark().map(|remark| remark.to_string());
        if begun.mode == Mode::DryRun {
            let over = plan.check_limits().err().map(|over| format!("with mode Enforce nothing would go: {over}"));
            let said: Vec<String> = over.into_iter().chain(remark).collect();
            return (RunState::Completed, (!said.is_empty()).then(|| said.join("; ")), None);
        }
        if let Err(over) = plan.check_limits() {
            return (RunState::LimitExceeded, Some(over.to_string()), None);
        }
        let applier = Applier {
            catalog: &self.catalog,
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
        let (state, message) = match applier.apply(plan, &mut result).await {
            Ok(Ended::Completed) => (RunState::Completed, remark),
            Ok(Ended::ListingTooOld) => (RunState::AwaitingUsage, Some("the list of what is in use is too old".into())),
            Ok(Ended::PoliciesChanged) => (RunState::AwaitingUsage, Some("policies have changed".into())),
            Ok(Ended::Stopped) => (RunState::AwaitingUsage, Some("the registry is stopping".into())),
            Err(error) => (RunState::Failed, Some(with_causes(&error))),
        };
        (state, message, Some(result))
    }

    async fn record(&self, run: &RunId, status: RunStatus) {
        if let Err(failure) = self.ledger.update(run, status).await {
            let failure = &failure as &(dyn std::error::Error + 'static);
            error!(%run, error = failure, "could not record how far a retention run is");
        }
    }
}

/// A run with the policies as they stand when it is applied. The one that runs must be the same still.
fn by_now(original: RunRequest, request: &ApplyRequest) -> Result<RunRequest, Error> {
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
