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
    runs: Mutex<Runs>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Runs {
    known: BTreeMap<RunId, RunStatus>,
    /// The run that this process is at.
    here: Option<RunId>,
}

impl Runs {
    /// Whether the medium cannot say more of a run.
    fn is_certain(&self, run: &RunId) -> bool {
        self.known.get(run).is_some_and(|known| known.state.is_over() || self.here.as_ref() == Some(run))
    }

    fn check_idle(&self) -> Result<(), Error> {
        self.here.as_ref().map_or(Ok(()), |active| Err(Error::Busy { active: active.clone() }))
    }
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
        let ledger = Self { catalog, runs: Mutex::default(), changed: watch::channel(()).0 };
        for run in records::ids(&ledger.catalog).await? {
            match ledger.read(&run).await {
                Ok(Some(status)) => {
                    ledger.lock().known.insert(run, status);
                }
                // Another replica may be about to begin it.
                Ok(None) if ledger.catalog.is_shared() => {}
                Ok(None) => records::remove(&ledger.catalog, &run).await?,
                Err(Error::Corrupt { .. }) => {
                    warn!(%run, "forgetting a retention run whose record cannot be read");
                    records::remove(&ledger.catalog, &run).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ledger)
    }

    /// What the medium says of a run that this process is not at. `None`: nothing, or that it was cut off while it planned.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`].
    async fn read(&self, run: &RunId) -> Result<Option<RunStatus>, Error> {
        let read = || records::read::<RunStatus>(&self.catalog, run, Record::Status);
        let first = read().await?;
        if !first.as_ref().is_some_and(is_active) || self.is_elsewhere(run).await? {
            return Ok(first);
        }
        // Whoever was at it may have come to its end just now.
        match read().await? {
            second if second == first => Ok(second.and_then(cut_off)),
            second => Ok(second),
        }
    }

    /// Whether another replica is at a run.
    async fn is_elsewhere(&self, run: &RunId) -> Result<bool, Error> {
        Ok(self.claimed().await?.iter().any(|claimed| claimed == run.as_str()))
    }

    /// The runs that other replicas are at.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn claimed(&self) -> Result<Vec<String>, Error> {
        let claimed = self.catalog.claimed_elsewhere().await;
        claimed.map_err(|source| Error::Storage { action: "look who is at a run", source })
    }

    /// Looks on the medium for a run that is not known, or not to its end: another replica may be at it, or may have been.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`].
    pub(super) async fn look_for(&self, run: &RunId) -> Result<(), Error> {
        if !self.catalog.is_shared() || self.lock().is_certain(run) {
            return Ok(());
        }
        let found = self.read(run).await?;
        let mut runs = self.lock();
        if !runs.is_certain(run) {
            match found {
                Some(status) => runs.known.insert(run.clone(), status),
                None => runs.known.remove(run),
            };
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
        let mut runs = self.lock();
        let here = runs.here.clone();
        runs.known.retain(|run, _| here.as_ref() == Some(run) || ids.contains(run));
        Ok(())
    }

    /// Removes what is left of runs that were cut off while they planned, for whoever has claimed the next one.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn forget_leftovers(&self, catalog: &Catalog) -> Result<(), Error> {
        if !self.catalog.is_shared() {
            return Ok(());
        }
        for run in records::ids(catalog).await? {
            if !self.lock().known.contains_key(&run) {
                records::remove(catalog, &run).await?;
            }
        }
        Ok(())
    }

    /// All runs, the newest first.
    pub(super) fn all(&self) -> Vec<RunStatus> {
        let mut all: Vec<RunStatus> = self.lock().known.values().cloned().collect();
        all.sort_by(|a, b| (b.created_at, &b.run).cmp(&(a.created_at, &a.run)));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        // Every change is an insertion or removal, so what a panic left behind is whole.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far a run is.
    ///
    /// # Errors
    /// [`Error::RunUnknown`].
    pub(super) fn status(&self, run: &RunId) -> Result<RunStatus, Error> {
        self.lock().known.get(run).cloned().ok_or_else(|| Error::RunUnknown { run: run.clone() })
    }

    /// That this process is at no run.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(super) fn check_idle(&self) -> Result<(), Error> {
        self.lock().check_idle()
    }

    /// Makes a new run known, which this process is at from now on; of one that is known already, the status.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(super) fn begin(&self, run: &RunId, status: RunStatus) -> Result<Option<RunStatus>, Error> {
        let mut runs = self.lock();
        if let Some(known) = runs.known.get(run) {
            return Ok(Some(known.clone()));
        }
        runs.check_idle()?;
        runs.known.insert(run.clone(), status);
        runs.here = Some(run.clone());
        Ok(None)
    }

    /// Turns a run that waits into one that this process applies; of one that does not wait, the status. With `approved`,
    /// one that waits for approval; else one that waits to be told what is in use.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::Busy`].
    pub(super) fn begin_applying(&self, run: &RunId, approved: bool) -> Result<Option<RunStatus>, Error> {
        let mut runs = self.lock();
        let idle = runs.check_idle();
        let status = runs.known.get_mut(run).ok_or_else(|| Error::RunUnknown { run: run.clone() })?;
        let waited_for = if approved { RunState::AwaitingApproval } else { RunState::AwaitingUsage };
        if status.state != waited_for {
            return Ok(Some(status.clone()));
        }
        idle?;
        status.state = RunState::Applying;
        status.message = None;
        status.awaits = None;
        status.approved |= approved;
        runs.here = Some(run.clone());
        Ok(None)
    }

    /// Records how far a run is, on the medium first.
    ///
    /// # Errors
    /// [`Error::Storage`]. In memory the change is made all the same, so that nobody waits for it in vain; but of several
    /// replicas another one may go on with the run, so there the medium is asked again.
    pub(super) async fn update(&self, catalog: &Catalog, run: &RunId, status: RunStatus) -> Result<(), Error> {
        let written = records::write(catalog, run, Record::Status, &status).await;
        if written.is_err() && self.catalog.is_shared() {
            self.forget(run);
        } else {
            self.note(run, status);
        }
        written
    }

    /// Notes how far a run is, in memory alone.
    pub(super) fn note(&self, run: &RunId, status: RunStatus) {
        self.lock().known.insert(run.clone(), status);
        self.changed.send_replace(());
    }

    /// Forgets in memory how far a run is.
    pub(super) fn forget(&self, run: &RunId) {
        self.lock().known.remove(run);
        self.changed.send_replace(());
    }

    /// This process is at a run no more.
    pub(super) fn ended(&self, run: &RunId) {
        self.lock().here.take_if(|here| here == run);
        self.changed.send_replace(());
    }

    /// Waits until this process is not at a run.
    pub(super) async fn rested(&self, run: &RunId) {
        let mut changes = self.changed.subscribe();
        while self.lock().here.as_ref() == Some(run) {
            // The sender lives as long as this.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Forgets the oldest runs over [`MAX_RUNS`], but none whose plan waits for approval.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn prune(&self, catalog: &Catalog) -> Result<(), Error> {
        let surplus: Vec<RunId> = {
            let runs = self.lock();
            let waits = |status: &RunStatus| is_active(status) || status.state == RunState::AwaitingApproval;
            let mut idle: Vec<_> = runs.known.iter().filter(|(_, status)| !waits(status)).collect();
            idle.sort_by_key(|(_, status)| status.created_at);
            let surplus = runs.known.len().saturating_sub(MAX_RUNS);
            idle.into_iter().take(surplus).map(|(run, _)| run.clone()).collect()
        };
        for run in surplus {
            records::remove(catalog, &run).await?;
            self.lock().known.remove(&run);
        }
        Ok(())
    }
}

/// What is left of a run that nobody is at any more, although it says so: nothing of one that planned.
fn cut_off(mut status: RunStatus) -> Option<RunStatus> {
    if status.state == RunState::Planning {
        return None;
    }
    status.state = RunState::AwaitingUsage;
    status.message = Some("the registry was restarted during the application; the rest waits".into());
    Some(status)
}
