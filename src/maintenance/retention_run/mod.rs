//! The runs of a registry's policies.
//!
//! [`RetentionRuns`] is the way in: it keeps the [`ledger`] and owns the tasks that plan and apply, whose course the
//! [`course`] is; whose [`turn`] it is, also among replicas, is decided before. The [`planner`] reads the registry and asks
//! the engine; the [`candidate_list`] is what the first plan named; the [`applier`] deletes. What was planned is a
//! [`stored_plan`], for people, and what of it was not deleted is [`left_out`]; if it waits for approval, its tags are among the [`waiting_plans`]. The [`explanation`] is
//! about one image. A [`forecast`] is a plan that belongs to no run. What this process runs by itself is [`declared`].

mod applier;
mod candidate_list;
mod course;
mod declared;
mod excerpt;
mod explanation;
mod forecast;
mod ledger;
mod left_out;
mod planner;
mod records;
mod snapshot;
mod stored_plan;
mod summary;
mod turn;
mod waiting_plans;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, info_span, warn};

use crate::api::v1alpha1::{AccessMode, PlanDecision};
use crate::api::wire::{ApplyRequest, CandidatePage, PlanPage, RunRequest, RunState, RunStatus};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::retention::ImmutableTags;
use crate::storage::{Catalog, Clock};

use super::{Error, RunId};

use declared::Declared;
use ledger::Ledger;
use stored_plan::StoredPlan;
use turn::{Asked, Begun, waits, waits_for};
use waiting_plans::WaitingPlans;

pub use declared::RunWish;
pub use explanation::Explained;

/// How often a replica looks for plans that wait at another one. Who pulls a tag of one is warned that much later.
const LOOK_AROUND: Duration = Duration::from_secs(60);

/// The runs of a registry's policies: one at a time, each known by its id for as long as its records are kept.
///
/// # Guarantees
/// - The same id is the same run, asked for once or often, before and after a restart, at whichever replica.
/// - Of several replicas one is at a run at a time. What was begun at one is gone on with at another one when it is asked,
///   once the first one is gone, and nothing that it wrote can land any more.
/// - Nothing is deleted that the run's first plan did not name, that is in use, or that has changed since.
/// - A run that was cut off goes on where it was, with a new list of what is in use.
/// - A plan that is over a limit, or whose policy's approval is Manual, deletes nothing before its hash was approved; and
///   then nothing that its stored plan did not name.
#[derive(Debug, Clone)]
pub struct RetentionRuns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    access: AccessMode,
    immutable: Arc<ImmutableTags>,
    clock: Arc<dyn Clock>,
    ledger: Ledger,
    waiting: WaitingPlans,
    /// One explanation at a time: each reads a whole repository, and who may pull may ask.
    explaining: Semaphore,
    /// One plan without a trace at a time.
    forecasting: Semaphore,
    declared: Declared,
    policy_changes: AtomicU64,
    /// Held by who begins something: whether this process is at a run is decided once.
    beginning: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl RetentionRuns {
    /// Opens the records of earlier runs. `immutable` tags are deleted by none.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn open(
        catalog: Catalog,
        access: AccessMode,
        immutable: Arc<ImmutableTags>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let ledger = Ledger::open(catalog.clone()).await?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let inner = Inner {
            catalog,
            access,
            immutable,
            clock,
            ledger,
            waiting: WaitingPlans::default(),
            explaining: Semaphore::new(1),
            forecasting: Semaphore::new(1),
            declared: Declared::default(),
            policy_changes: AtomicU64::new(0),
            beginning: tokio::sync::Mutex::default(),
            tasks,
            stop,
        };
        inner.note_waiting().await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Begins to look for the plans that wait at other replicas, until [`Self::shutdown`]; nothing to do where there are
    /// none.
    pub fn begin(&self) {
        if !self.inner.catalog.is_shared() {
            return;
        }
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = inner.stop.cancelled() => return,
                    () = inner.clock.sleep(LOOK_AROUND) => {}
                }
                if let Err(error) = inner.look_around().await {
                    warn!(error = &error as &dyn std::error::Error, "could not look for plans that wait for approval");
                }
            }
        });
    }

    /// Starts a run, which then plans on its own; of a run that is known already, the status.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`], [`Error::DeletionUnavailable`], [`Error::Busy`], [`Error::Storage`].
    pub async fn start(&self, request: RunRequest) -> Result<RunStatus, Error> {
        let run: RunId =
            request.run.parse().map_err(|error| Error::InvalidRequest { reason: format!("run: {error}") })?;
        let inner = &self.inner;
        inner.ledger.look_for(&run).await?;
        if let Ok(known) = inner.ledger.status(&run) {
            return Ok(known);
        }
        inner.check_deletion()?;
        let planner = inner.planner(&request)?;
        let _alone = inner.beginning.lock().await;
        let claim = match inner.claim(&run).await {
            // Another replica was asked for the same just now.
            Err(Error::Busy { active }) if active == run => {
                inner.ledger.look_for(&run).await?;
                return inner.ledger.status(&run).map_err(|_| Error::Busy { active });
            }
            claimed => claimed?,
        };
        let begun = inner.begin_run(&run, &request, &planner, &claim).await;
        let status = match begun {
            Ok(Begun::Here(status)) => status,
            Ok(Begun::Known(status)) => {
                inner.catalog.release_run(claim).await;
                return Ok(*status);
            }
            Err(error) => {
                inner.catalog.release_run(claim).await;
                return Err(error);
            }
        };
        let (inner, begun) = (Arc::clone(inner), status.clone());
        let span = info_span!(parent: None, "retention_run", step = "plan", %run);
        let work = async move {
            inner.plan(&run, planner, begun, &claim).await;
            inner.end(&run, claim).await;
        };
        self.inner.tasks.spawn(work.instrument(span));
        Ok(status)
    }

    /// How far a run is.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::Storage`], [`Error::Corrupt`].
    pub async fn status(&self, run: &RunId) -> Result<RunStatus, Error> {
        self.inner.ledger.look_for(run).await?;
        Ok(self.inner.unless_expired(run, self.inner.ledger.status(run)?))
    }

    /// All runs that are remembered, the newest first.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`].
    pub async fn all(&self) -> Result<Vec<RunStatus>, Error> {
        self.inner.look_around().await?;
        Ok(self.inner.all_by_now())
    }

    /// At most `limit` lines of a run's stored plan after the one of number `after`; with `only`, those of this decision.
    /// There may be fewer, although more follow.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::PlanUnknown`], [`Error::Storage`], [`Error::Corrupt`].
    pub async fn plan(
        &self,
        run: &RunId,
        after: Option<u64>,
        limit: usize,
        only: Option<PlanDecision>,
    ) -> Result<PlanPage, Error> {
        let lines = self.status(run).await?.plan_lines.ok_or_else(|| Error::PlanUnknown { run: run.clone() })?;
        StoredPlan { catalog: &self.inner.catalog, run, lines }.page(after, limit, only).await
    }

    /// The policies whose plans wait for approval to delete this tag, as `namespace/name`.
    #[must_use]
    pub fn awaiting_approval(&self, repository: &RepositoryName, tag: &Tag, digest: &Digest) -> Vec<String> {
        self.inner.waiting.naming(repository, tag, digest, || self.inner.clock.now())
    }

    /// At most `limit` of what a run would delete, after the candidate of index `after`.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::NotReady`] while it plans, [`Error::Storage`], [`Error::Corrupt`].
    pub async fn candidates(&self, run: &RunId, after: Option<u32>, limit: usize) -> Result<CandidatePage, Error> {
        let status = self.status(run).await?;
        if status.state == RunState::Planning {
            return Err(Error::NotReady { run: run.clone(), state: "planning" });
        }
        let (candidates, more) = self.inner.candidates(run, &status).await?.page(after, limit);
        let next = candidates.last().map(|last| last.index).filter(|_| more);
        Ok(CandidatePage { candidates, next, list: status.list })
    }

    /// Applies a run's plan, less what is in use; a dry run stores that, and so does a run that has to wait for approval.
    /// One that waits is applied with its hash. Of a run that is past that, or waits, the status.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::NotReady`] while it plans, [`Error::InvalidRequest`] for another hash, too,
    /// [`Error::ListReplaced`], [`Error::DeletionUnavailable`], [`Error::Busy`], [`Error::Storage`].
    pub async fn apply(&self, run: &RunId, request: ApplyRequest) -> Result<RunStatus, Error> {
        let inner = &self.inner;
        let deadline = inner.deadline(request.listing_seconds)?;
        let asked = Asked { deadline, planned_with: inner.policy_changes.load(Ordering::Acquire) };
        let status = self.status(run).await?;
        if status.state == RunState::Planning {
            return Err(Error::NotReady { run: run.clone(), state: "planning" });
        }
        if !waits_for(&status, &request) {
            return Ok(status);
        }
        let _alone = inner.beginning.lock().await;
        let claim = inner.claim(run).await?;
        let application = match inner.begin_application(run, request, asked, &claim).await {
            Ok(Begun::Here(application)) => application,
            Ok(Begun::Known(status)) => {
                inner.catalog.release_run(claim).await;
                return Ok(*status);
            }
            Err(error) => {
                inner.catalog.release_run(claim).await;
                return Err(error);
            }
        };
        let status = inner.ledger.status(run);
        let (inner, run) = (Arc::clone(inner), run.clone());
        let span = info_span!(parent: None, "retention_run", step = "apply", %run);
        let work = async move {
            inner.apply(&run, application, &claim).await;
            inner.end(&run, claim).await;
        };
        self.inner.tasks.spawn(work.instrument(span));
        status
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
    /// [`Error::RunUnknown`], [`Error::Busy`] while another replica begins to apply it, [`Error::Storage`].
    pub async fn interrupt(&self, run: &RunId, reason: &str) -> Result<RunStatus, Error> {
        let status = self.status(run).await?;
        if !waits(&status) {
            return Ok(status);
        }
        let _alone = self.inner.beginning.lock().await;
        let claim = self.inner.claim_alone(run).await?;
        let interrupted = self.inner.interrupt_claimed(run, reason, &claim).await;
        self.inner.catalog.release_run(claim).await;
        interrupted
    }

    /// Waits until this process neither plans nor applies a run.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::Storage`], [`Error::Corrupt`].
    pub async fn settled(&self, run: &RunId) -> Result<RunStatus, Error> {
        self.inner.ledger.rested(run).await;
        self.status(run).await
    }

    /// Lets the step in hand finish, and stops. What is left of a run goes on after the next start.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}
