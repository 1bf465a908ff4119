//! Which runs there are, and how far each is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tracing::warn;

use crate::api::wire::{RunState, RunStatus};
use crate::storage::Catalog;

use super::records::{self, Record};
use super::{Error, RunId};

/// How many runs are remembered. A policy that runs every hour has its last four days; each is a few kilobytes.
const MAX_RUNS: usize = 100;

/// The runs of a registry, in memory and on the medium. One at a time is active.
#[derive(Debug)]
pub(super) struct Ledger {
    catalog: Catalog,
    runs: Mutex<BTreeMap<RunId, RunStatus>>,
    changed: watch::Sender<()>,
}

/// Whether a run is doing something. One that waits for what is in use holds nobody up: the operator may never come
/// back to it.
fn is_active(status: &RunStatus) -> bool {
    matches!(status.state, RunState::Planning | RunState::Applying)
}

impl Ledger {
    /// Reads the records of earlier runs.
    ///
    /// A run that was cut off while it planned left no trace worth keeping, and is forgotten: asked for again, it
    /// starts again. One that was cut off while it applied waits for a new list of what is in use, and goes on with
    /// what is left.
    ///
    /// # Errors
    /// [`Error::Storage`]. A record that cannot be read is dropped with its run, and logged.
    pub(super) async fn open(catalog: Catalog) -> Result<Self, Error> {
        let mut runs = BTreeMap::new();
        for run in records::ids(&catalog).await? {
            match records::read::<RunStatus>(&catalog, &run, Record::Status).await {
                Ok(Some(status)) if status.state != RunState::Planning => {
                    runs.insert(run, after_restart(status));
                }
                // Another replica may be planning it now.
                Ok(Some(_)) if catalog.is_shared() => {}
                Ok(_) => records::remove(&catalog, &run).await?,
                Err(Error::Corrupt { .. }) => {
                    warn!(%run, "forgetting a retention run whose record cannot be read");
                    records::remove(&catalog, &run).await?;
                }
                Err(error) => return Err(error),
            }
        }
        let (changed, _) = watch::channel(());
        Ok(Self { catalog, runs: Mutex::new(runs), changed })
    }

    /// Looks on the medium for a run that is not known, or not to its end: another replica may be at it.
    ///
    /// One that the other left while it applied goes on here with a new list of what is in use; if the other is still at
    /// it, each deletion is decided once all the same. One that is being planned is not known before it is.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`].
    pub(super) async fn look_for(&self, run: &RunId) -> Result<(), Error> {
        // What is active in memory is so here.
        let is_certain = |known: &RunStatus| known.state.is_over() || is_active(known);
        if !self.catalog.is_shared() || self.lock().get(run).is_some_and(is_certain) {
            return Ok(());
        }
        let found = records::read::<RunStatus>(&self.catalog, run, Record::Status).await?;
        if let Some(status) = found.filter(|status| status.state != RunState::Planning) {
            let mut runs = self.lock();
            if !runs.get(run).is_some_and(is_certain) {
                runs.insert(run.clone(), after_restart(status));
            }
        }
        Ok(())
    }

    /// Looks on the medium for what other replicas have begun, or gone on with.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`].
    pub(super) async fn look_for_all(&self) -> Result<(), Error> {
        if !self.catalog.is_shared() {
            return Ok(());
        }
        let ids = records::ids(&self.catalog).await?;
        for run in &ids {
            self.look_for(run).await?;
        }
        // What another replica has forgotten.
        self.lock().retain(|run, known| is_active(known) || ids.contains(run));
        Ok(())
    }

    /// All runs, the newest first.
    pub(super) fn all(&self) -> Vec<RunStatus> {
        let mut all: Vec<RunStatus> = self.lock().values().cloned().collect();
        all.sort_by(|a, b| (b.created_at, &b.run).cmp(&(a.created_at, &a.run)));
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, RunStatus>> {
        // Every change is one insertion or removal, so what a panic left behind is whole.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far a run is.
    ///
    /// # Errors
    /// [`Error::RunUnknown`].
    pub(super) fn status(&self, run: &RunId) -> Result<RunStatus, Error> {
        self.lock().get(run).cloned().ok_or_else(|| Error::RunUnknown { run: run.clone() })
    }

    /// That no run is in progress.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(super) fn check_idle(&self) -> Result<(), Error> {
        check_idle(&self.lock())
    }

    /// Makes a new run known; of one that is known already, the status.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(super) fn begin(&self, run: &RunId, status: RunStatus) -> Result<Option<RunStatus>, Error> {
        let mut runs = self.lock();
        if let Some(known) = runs.get(run) {
            return Ok(Some(known.clone()));
        }
        check_idle(&runs)?;
        runs.insert(run.clone(), status);
        Ok(None)
    }

    /// Turns a run that waits into one that applies; of one that does not wait, the status. With `approved`, one that
    /// waits for approval; else one that waits to be told what is in use.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::NotReady`] while it plans, [`Error::Busy`].
    pub(super) fn begin_applying(&self, run: &RunId, approved: bool) -> Result<Option<RunStatus>, Error> {
        let mut runs = self.lock();
        let state = runs.get(run).map(|status| status.state);
        match state.ok_or_else(|| Error::RunUnknown { run: run.clone() })? {
            RunState::Planning => return Err(Error::NotReady { run: run.clone(), state: "planning" }),
            RunState::AwaitingApproval if approved => check_idle(&runs)?,
            RunState::AwaitingUsage if !approved => check_idle(&runs)?,
            RunState::AwaitingUsage
            | RunState::AwaitingApproval
            | RunState::Applying
            | RunState::Completed
            | RunState::LimitExceeded
            | RunState::Interrupted
            | RunState::Failed => {
                return Ok(runs.get(run).cloned());
            }
        }
        if let Some(status) = runs.get_mut(run) {
            status.state = RunState::Applying;
            status.message = None;
            status.awaits = None;
            status.approved |= approved;
        }
        Ok(None)
    }

    /// Records how far a run is, on the medium first.
    ///
    /// # Errors
    /// [`Error::Storage`]; in memory the change is made all the same, so that nobody waits for it in vain.
    pub(super) async fn update(&self, run: &RunId, status: RunStatus) -> Result<(), Error> {
        let written = records::write(&self.catalog, run, Record::Status, &status).await;
        self.lock().insert(run.clone(), status);
        self.changed.send_replace(());
        written
    }

    /// Forgets a run that could not be recorded.
    pub(super) fn withdraw(&self, run: &RunId) {
        self.lock().remove(run);
        self.changed.send_replace(());
    }

    /// Waits until a run is doing nothing.
    ///
    /// # Errors
    /// [`Error::RunUnknown`].
    pub(super) async fn settled(&self, run: &RunId) -> Result<RunStatus, Error> {
        let mut changes = self.changed.subscribe();
        loop {
            let status = self.status(run)?;
            if !is_active(&status) {
                return Ok(status);
            }
            if changes.changed().await.is_err() {
                return Ok(status);
            }
        }
    }

    /// Forgets the oldest runs over [`MAX_RUNS`], but none whose plan waits for approval.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn prune(&self) -> Result<(), Error> {
        let surplus: Vec<RunId> = {
            let runs = self.lock();
            let waits = |status: &RunStatus| is_active(status) || status.state == RunState::AwaitingApproval;
            let mut idle: Vec<_> = runs.iter().filter(|(_, status)| !waits(status)).collect();
            idle.sort_by_key(|(_, status)| status.created_at);
            let surplus = runs.len().saturating_sub(MAX_RUNS);
            idle.into_iter().take(surplus).map(|(run, _)| run.clone()).collect()
        };
        for run in surplus {
            records::remove(&self.catalog, &run).await?;
            self.lock().remove(&run);
        }
        Ok(())
    }
}

fn check_idle(runs: &BTreeMap<RunId, RunStatus>) -> Result<(), Error> {
    match runs.iter().find(|(_, status)| is_active(status)) {
        Some((active, _)) => Err(Error::Busy { active: active.clone() }),
        None => Ok(()),
    }
}

fn after_restart(mut status: RunStatus) -> RunStatus {
    if status.state == RunState::Applying {
        status.state = RunState::AwaitingUsage;
        status.message = Some("the registry was restarted during the application; the rest waits".into());
    }
    status
}
