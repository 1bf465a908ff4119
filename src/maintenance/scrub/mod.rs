//! Looking at everything that is stored: one scrub at a time, in a task of its own, with a report that can be asked for.
//!
//! What is looked at, and how it is mended, is the storage's ([`crate::storage::Inspection`]); here is who asks for it,
//! and what it said.

mod report;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info};

use crate::api::wire::{FindingPage, ScrubRequest, ScrubState, ScrubStatus};
use crate::storage::{Catalog, Clock, Inspection, InspectionMode, InspectionProgress, with_causes};

use super::Error;

use report::Report;

/// A week: longer than any push takes, its retries and a weekend included.
const ABANDONED_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many findings may wait to be noted.
const QUEUE: usize = 64;

/// The scrubs of one registry.
#[derive(Debug, Clone)]
pub struct Scrubs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    current: Mutex<Option<Report>>,
    ended: watch::Sender<u64>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Scrubs {
    /// Of a registry that was not scrubbed yet.
    #[must_use]
    pub fn new(catalog: Catalog, clock: Arc<dyn Clock>) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let inner = Inner { catalog, clock, current: Mutex::default(), ended: watch::channel(0).0, tasks, stop };
        Self { inner: Arc::new(inner) }
    }

    /// Begins a scrub, which then goes on by itself.
    ///
    /// # Errors
    /// [`Error::Scrubbing`] while another one runs, [`Error::Storage`].
    pub async fn start(&self, request: &ScrubRequest) -> Result<ScrubStatus, Error> {
        let inner = &self.inner;
        let mode = if request.repair { InspectionMode::Repair } else { InspectionMode::Report };
        let abandoned = request.uploads_older_than.as_ref().map_or(ABANDONED_AFTER, crate::api::Duration::as_std);
        let progress = Arc::new(InspectionProgress::default());
        let (findings, found) = mpsc::channel(QUEUE);
        let inspection = Inspection::new(&inner.catalog, mode, abandoned, Arc::clone(&progress), findings).await;
        let inspection = inspection.map_err(|source| Error::Storage { action: "begin a scrub", source })?;
        let status = {
            let mut current = inner.current();
            if let Some(running) = current.as_ref().filter(|report| report.is_running()) {
                return Err(Error::Scrubbing { since: running.started_at() });
            }
            let report = Report::begin(request.repair, inner.clock.now(), progress);
            current.insert(report).status()
        };
        let inner = Arc::clone(inner);
        self.inner.tasks.spawn(async move { inner.scrub(inspection, found).await });
        Ok(status)
    }

    /// The scrub that runs, or the last one.
    ///
    /// # Errors
    /// [`Error::NeverScrubbed`].
    pub fn status(&self) -> Result<ScrubStatus, Error> {
        self.inner.current().as_ref().map(Report::status).ok_or(Error::NeverScrubbed)
    }

    /// At most `limit` of its findings, after that of number `after`.
    ///
    /// # Errors
    /// [`Error::NeverScrubbed`].
    pub fn findings(&self, after: Option<usize>, limit: usize) -> Result<FindingPage, Error> {
        self.inner.current().as_ref().map(|report| report.page(after, limit)).ok_or(Error::NeverScrubbed)
    }

    /// Waits until none runs; what the last one says.
    ///
    /// # Errors
    /// [`Error::NeverScrubbed`].
    pub async fn settled(&self) -> Result<ScrubStatus, Error> {
        let mut ended = self.inner.ended.subscribe();
        loop {
            let status = self.status()?;
            if status.state != ScrubState::Running {
                return Ok(status);
            }
            // The sender lives as long as this value.
            let _ = ended.changed().await;
        }
    }

    /// Stops the one that runs. What it mended stays so.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    async fn scrub(&self, inspection: Inspection, mut found: mpsc::Receiver<crate::storage::Finding>) {
        let looking = async {
            let result = inspection.run().await;
            // Ends the list of findings.
            drop(inspection);
            result
        };
        let noting = async {
            while let Some(finding) = found.recv().await {
                if let Some(report) = self.current().as_mut() {
                    report.note(&finding);
                }
            }
        };
        let result = tokio::select! {
            () = self.stop.cancelled() => None,
            (result, ()) = async { tokio::join!(looking, noting) } => Some(result),
        };
        let now = self.clock.now();
        if let Some(report) = self.current().as_mut() {
            match result {
                None => report.end(ScrubState::Interrupted, now, None),
                Some(Ok(())) => report.end(ScrubState::Finished, now, None),
                Some(Err(failure)) => {
                    error!(error = &failure as &dyn std::error::Error, "a scrub failed");
                    report.end(ScrubState::Failed, now, Some(with_causes(&failure)));
                }
            }
            let status = report.status();
            info!(state = ?status.state, blobs = status.progress.blobs, damage = status.damage, "a scrub ended");
        }
        self.ended.send_modify(|ended| *ended += 1);
    }

    fn current(&self) -> MutexGuard<'_, Option<Report>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
