//! A run's turn: of a registry's runs one is planned or applied at a time, whichever replica is asked.
//!
//! In this process the [`ledger`](super::ledger) knows which one that is; of the others their claims say it, on the medium.
//! How far a run is, is read again once it is claimed: whoever had it before may have gone on with it until then.

use jiff::Timestamp;

use crate::api::wire::{ApplyRequest, RunRequest, RunState, RunStatus};
use crate::storage::{Catalog, Claiming, RunClaim};

use super::candidate_list::CandidateList;
use super::course::{Bounds, by_now, is_manual};
use super::planner::Planner;
use super::records::{self, Record};
use super::{Error, Inner, RunId};

/// What comes of beginning something.
pub(super) enum Begun<T> {
    /// This process is at it now, with this.
    Here(T),
    /// There is nothing to begin: this is how far the run is.
    Known(Box<RunStatus>),
}

/// What an application needs.
pub(super) struct Application {
    pub(super) planner: Planner,
    pub(super) candidates: CandidateList,
    pub(super) request: ApplyRequest,
    pub(super) bounds: Bounds,
}

/// Until when, and since which change of policies, an application that was asked for may delete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) deadline: Timestamp,
    pub(super) planned_with: u64,
}

/// Whether a request to apply a run has anything to do with how far it is.
pub(super) fn waits_for(status: &RunStatus, request: &ApplyRequest) -> bool {
    status.state == RunState::AwaitingUsage || approves(status, request)
}

fn approves(status: &RunStatus, request: &ApplyRequest) -> bool {
    status.state == RunState::AwaitingApproval && request.approve.is_some()
}

/// Whether a run waits for somebody.
pub(super) fn waits(status: &RunStatus) -> bool {
    matches!(status.state, RunState::AwaitingUsage | RunState::AwaitingApproval)
}

impl Inner {
    /// Claims the registry's turn for a run.
    ///
    /// # Errors
    /// [`Error::Busy`] while another replica is at a run, [`Error::Storage`].
    pub(super) async fn claim(&self, run: &RunId) -> Result<RunClaim, Error> {
        self.claim_unless(run, |_| true).await
    }

    /// Claims a run alone: another one may go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Busy`] while another replica is at it, [`Error::Storage`].
    pub(super) async fn claim_alone(&self, run: &RunId) -> Result<RunClaim, Error> {
        self.claim_unless(run, |other| other == run.as_str()).await
    }

    async fn claim_unless(&self, run: &RunId, is_rival: impl Fn(&str) -> bool + Send) -> Result<RunClaim, Error> {
        let claiming = self.catalog.claim_run(&run.folder(), &self.stop, is_rival).await;
        match claiming.map_err(|source| Error::Storage { action: "claim a run", source })? {
            Claiming::Held(claim) => Ok(claim),
            Claiming::Taken(other) => Err(Error::Busy { active: other.parse().unwrap_or_else(|_| run.clone()) }),
        }
    }

    /// The registry, for records that belong to a claim.
    ///
    /// # Errors
    /// [`Error::Storage`] once others may take this process for one that is gone.
    pub(super) async fn under(&self, claim: &RunClaim) -> Result<Catalog, Error> {
        let recording = self.catalog.recording(claim).await;
        recording.map_err(|source| Error::Storage { action: "go on with a run", source })
    }

    /// Ends what this process was at.
    pub(super) async fn end(&self, run: &RunId, claim: RunClaim) {
        self.catalog.release_run(claim).await;
        self.ledger.ended(run);
    }

    /// Records that a claimed run begins.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Storage`], [`Error::Corrupt`].
    pub(super) async fn begin_run(
        &self,
        run: &RunId,
        request: &RunRequest,
        planner: &Planner,
        claim: &RunClaim,
    ) -> Result<Begun<RunStatus>, Error> {
        let catalog = self.under(claim).await?;
        self.ledger.look_for_all().await?;
        self.ledger.forget_leftovers(&catalog).await?;
        let status = self.first_status(run, planner)?;
        if let Some(known) = self.ledger.begin(run, status.clone())? {
            return Ok(Begun::Known(Box::new(known)));
        }
        if let Err(error) = self.record_start(&catalog, run, request, &status).await {
            self.ledger.forget(run);
            self.ledger.ended(run);
            return Err(error);
        }
        Ok(Begun::Here(status))
    }

    /// Makes a claimed run that waits one that is applied.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::InvalidRequest`], [`Error::DeletionUnavailable`], [`Error::ListReplaced`],
    /// [`Error::Busy`], [`Error::Storage`], [`Error::Corrupt`].
    pub(super) async fn begin_application(
        &self,
        run: &RunId,
        request: ApplyRequest,
        asked: Asked,
        claim: &RunClaim,
    ) -> Result<Begun<Application>, Error> {
        self.under(claim).await?;
        self.ledger.look_for_all().await?;
        let status = self.unless_expired(run, self.ledger.status(run)?);
        if !waits_for(&status, &request) {
            return Ok(Begun::Known(Box::new(status)));
        }
        Self::check_approval(&status, &request)?;
        self.check_deletion()?;
        if request.list.is_some() && request.list != status.list {
            return Err(Error::ListReplaced { run: run.clone() });
        }
        let candidates = self.candidates(run, &status).await?;
        candidates
            .usage(&request.in_use)
            .map_err(|index| Error::InvalidRequest { reason: format!("inUse: run {run} has no candidate {index}") })?;
        let original: Option<RunRequest> = records::read(&self.catalog, run, Record::Request).await?;
        let original = original.ok_or_else(|| Error::RunUnknown { run: run.clone() })?;
        let Asked { deadline, planned_with } = asked;
        let bounds = Bounds { deadline, planned_with, is_manual: is_manual(&original) };
        let planner = self.planner(&by_now(original, &request)?)?;
        Ok(match self.ledger.begin_applying(run, approves(&status, &request))? {
            Some(known) => Begun::Known(Box::new(known)),
            None => Begun::Here(Application { planner, candidates, request, bounds }),
        })
    }

    /// Ends a claimed run that waits, for a reason; of one that does not wait, the status.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::Storage`], [`Error::Corrupt`].
    pub(super) async fn interrupt_claimed(
        &self,
        run: &RunId,
        reason: &str,
        claim: &RunClaim,
    ) -> Result<RunStatus, Error> {
        self.ledger.look_for(run).await?;
        let status = self.unless_expired(run, self.ledger.status(run)?);
        if !waits(&status) {
            return Ok(status);
        }
        self.interrupt(&self.under(claim).await?, run, status, reason).await
    }
}
