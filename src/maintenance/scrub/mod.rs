//! Looking at everything that is stored: one scrub at a time, in a task of its own, with a report that can be asked for.
//!
//! What is looked at, and how it is mended, is the storage's ([`crate::storage::Inspection`]); here is who asks for it,
//! and what it said. In a store that several processes serve, the [`records`] let each of them tell of a scrub of
//! another; [`Sightings`] say whether that one lives.

mod records;
mod report;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};
use ulid::Ulid;

use crate::api::wire::{FindingPage, ScrubRequest, ScrubState, ScrubStatus};
use crate::storage::{
    Catalog, Clock, Finding, Inspection, InspectionMode, InspectionProgress, Sightings, random_bits, with_causes,
};

use super::Error;

use records::{Records, Sign};
use report::{Report, page};

/// A week: longer than any push takes, its retries and a weekend included.
const ABANDONED_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many findings may wait to be noted.
const QUEUE: usize = 64;

/// How often a process notes how far its scrub is, for the others that serve the store: who watches one through another
/// process sees something happen.
const BEAT: Duration = Duration::from_secs(3);

/// How many beats may fail to come before a process counts as gone. A second scrub that begins beside one whose process
/// was away for so long makes the first one stop, and harms nothing.
const MISSED_BEATS: u32 = 5;

/// The scrubs of one registry.
#[derive(Debug, Clone)]
pub struct Scrubs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    /// Where other processes look, if there are any.
    records: Option<Records>,
    sightings: Sightings<u64>,
    beat: Duration,
    /// Held by who begins a scrub here.
    beginning: tokio::sync::Mutex<()>,
    current: Mutex<Option<Report>>,
    ended: watch::Sender<u64>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The scrub that there is something to say of.
enum Latest {
    /// This process's.
    Own,
    /// Another's.
    Noted(Ulid, Box<ScrubStatus>),
}

impl Scrubs {
    /// Of a registry, with what other processes noted that serve its store.
    #[must_use]
    pub fn new(catalog: Catalog, clock: Arc<dyn Clock>) -> Self {
        Self::with_beat(catalog, clock, BEAT)
    }

    fn with_beat(catalog: Catalog, clock: Arc<dyn Clock>, beat: Duration) -> Self {
        let inner = Inner {
            records: Records::of(&catalog),
            sightings: Sightings::new(beat * MISSED_BEATS),
            beat,
            catalog,
            clock,
            beginning: tokio::sync::Mutex::default(),
            current: Mutex::default(),
            ended: watch::channel(0).0,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Begins a scrub, which then goes on by itself. Where one is noted of which it is not known whether its process
    /// lives, it waits until that is.
    ///
    /// # Errors
    /// [`Error::Scrubbing`] while another one runs, here or in another process; [`Error::Storage`].
    pub async fn start(&self, request: &ScrubRequest) -> Result<ScrubStatus, Error> {
        let inner = &self.inner;
        let _alone = inner.beginning.lock().await;
        inner.check_idle().await?;
        let mode = if request.repair { InspectionMode::Repair } else { InspectionMode::Report };
        let abandoned = request.uploads_older_than.as_ref().map_or(ABANDONED_AFTER, crate::api::Duration::as_std);
        let progress = Arc::new(InspectionProgress::default());
        let (findings, found) = mpsc::channel(QUEUE);
        let inspection = Inspection::new(&inner.catalog, mode, abandoned, Arc::clone(&progress), findings).await;
        let inspection = inspection.map_err(|source| Error::Storage { action: "begin a scrub", source })?;
        let now = inner.clock.now();
        let id = Ulid::from_parts(now.as_millisecond().unsigned_abs(), random_bits());
        let report = Report::begin(id, request.repair, now, progress);
        let status = report.status();
        inner.announce(id, &status).await?;
        *inner.current() = Some(report);
        let inner = Arc::clone(inner);
        self.inner.tasks.spawn(async move { inner.scrub(id, inspection, found).await });
        Ok(status)
    }

    /// The scrub that runs, or the last one.
    ///
    /// # Errors
    /// [`Error::NeverScrubbed`], [`Error::Storage`].
    pub async fn status(&self) -> Result<ScrubStatus, Error> {
        match self.inner.latest().await? {
            Latest::Own => self.inner.current().as_ref().map(Report::status).ok_or(Error::NeverScrubbed),
            Latest::Noted(_, status) => Ok(*status),
        }
    }

    /// At most `limit` of its findings, after that of number `after`. Those of another process's are known once it has
    /// ended.
    ///
    /// # Errors
    /// [`Error::NeverScrubbed`], [`Error::Storage`].
    pub async fn findings(&self, after: Option<usize>, limit: usize) -> Result<FindingPage, Error> {
        let inner = &self.inner;
        if let (Latest::Noted(id, _), Some(records)) = (inner.latest().await?, &inner.records) {
            return Ok(page(&records.findings(id).await?, after, limit));
        }
        let current = inner.current();
        let own = current.as_ref().ok_or(Error::NeverScrubbed)?;
        Ok(page(own.findings(), after, limit))
    }

    /// Waits until none runs in this process; what the last one here says.
    ///
    /// # Errors
    /// [`Error::NeverScrubbed`].
    pub async fn settled(&self) -> Result<ScrubStatus, Error> {
        let mut ended = self.inner.ended.subscribe();
        loop {
            let status = self.inner.current().as_ref().map(Report::status).ok_or(Error::NeverScrubbed)?;
            if status.state != ScrubState::Running {
                return Ok(status);
            }
            // The sender lives as long as this value.
            let _ = ended.changed().await;
        }
    }

    /// Stops the one that runs here. What it mended stays so.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    async fn scrub(&self, id: Ulid, inspection: Inspection, mut found: mpsc::Receiver<Finding>) {
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
            biased;
            () = self.stop.cancelled() => None,
            () = self.give_signs(id) => None,
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
        self.note_end(id).await;
        self.ended.send_modify(|ended| *ended += 1);
    }

    /// Fails while a scrub runs, here or where another process lives.
    async fn check_idle(&self) -> Result<(), Error> {
        if let Some(running) = self.current().as_ref().filter(|report| report.is_running()) {
            return Err(scrubbing(running.id(), &running.status()));
        }
        let Some(records) = &self.records else { return Ok(()) };
        for (id, sign) in records.all().await? {
            if sign.is_running() && self.lives(records, id, &sign).await? {
                return Err(scrubbing(id, &sign.status));
            }
        }
        Ok(())
    }

    /// Whether another process is at a scrub still: waits for its next sign, or until it should have come.
    async fn lives(&self, records: &Records, id: Ulid, first: &Sign) -> Result<bool, Error> {
        loop {
            match records.get(id).await? {
                Some(sign) if !sign.is_running() => return Ok(false),
                Some(sign) if sign.beat != first.beat => return Ok(true),
                Some(sign) if self.sightings.is_gone(id, sign.beat, self.clock.boot_time()) => return Ok(false),
                Some(_) => self.clock.sleep(self.beat / 4).await,
                None => return Ok(false),
            }
        }
    }

    /// Tells the others of a scrub that is about to begin, unless one of them has just done the same: of two that do,
    /// one sees the other's, or both do and neither begins.
    async fn announce(&self, id: Ulid, status: &ScrubStatus) -> Result<(), Error> {
        let Some(records) = &self.records else { return Ok(()) };
        records.put(id, &Sign { beat: 0, status: status.clone() }).await?;
        let all = records.all().await?;
        let now = self.clock.boot_time();
        let rival = all
            .iter()
            .find(|(other, sign)| *other != id && sign.is_running() && !self.sightings.is_gone(*other, sign.beat, now));
        if let Some((rival, sign)) = rival {
            records.remove(id).await?;
            return Err(scrubbing(*rival, &sign.status));
        }
        for (other, _) in all.iter().filter(|(other, _)| *other != id) {
            records.remove(*other).await?;
        }
        self.sightings.retain(|_| false);
        Ok(())
    }

    /// Notes how far this process's scrub is, for as long as others do not think that it is gone. Where there are no
    /// others, for ever.
    async fn give_signs(&self, id: Ulid) {
        let Some(records) = &self.records else { return std::future::pending().await };
        for beat in 1.. {
            self.clock.sleep(self.beat).await;
            let Some(status) = self.current().as_ref().map(Report::status) else { return };
            // A store that is away for a moment is the scrub's own matter.
            match records.get(id).await {
                Ok(None) => {
                    warn!(scrub = %id, "another scrub began, because this one gave no sign of life: it stops");
                    return;
                }
                Ok(Some(_)) => warn_of(records.put(id, &Sign { beat, status }).await),
                Err(error) => warn_of(Err(error)),
            }
        }
    }

    async fn note_end(&self, id: Ulid) {
        let Some(records) = &self.records else { return };
        let (status, findings) = match self.current().as_ref() {
            Some(report) => (report.status(), report.findings().to_vec()),
            None => return,
        };
        // Whoever sees that it has ended finds all of it.
        match records.get(id).await {
            Ok(None) => {}
            Ok(Some(_)) => match records.put_findings(id, &findings).await {
                Ok(()) => warn_of(records.put(id, &Sign { beat: u64::MAX, status }).await),
                failed => warn_of(failed),
            },
            Err(error) => warn_of(Err(error)),
        }
    }

    /// Which scrub there is something to say of: one that runs, or else the one that began last. One of this process that
    /// is not noted any more was followed by another's.
    async fn latest(&self) -> Result<Latest, Error> {
        let own = self.current().as_ref().map(|report| (report.id(), report.is_running()));
        let Some(records) = &self.records else { return Ok(Latest::Own) };
        if own.is_some_and(|(_, is_running)| is_running) {
            return Ok(Latest::Own);
        }
        let now = self.clock.boot_time();
        let mut noted = records.all().await?;
        for (id, sign) in &mut noted {
            if sign.is_running() && self.sightings.is_gone(*id, sign.beat, now) {
                sign.status.state = ScrubState::Interrupted;
            }
        }
        let last = noted.into_iter().max_by_key(|(_, sign)| (sign.is_running(), sign.status.started_at));
        Ok(match last {
            Some((id, sign)) if own.is_none_or(|(own, _)| own != id) => Latest::Noted(id, Box::new(sign.status)),
            _ => Latest::Own,
        })
    }

    fn current(&self) -> MutexGuard<'_, Option<Report>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn scrubbing(id: Ulid, status: &ScrubStatus) -> Error {
    Error::Scrubbing { id: id.to_string(), since: status.started_at }
}

/// What others are not told costs them the report, and the scrub nothing.
fn warn_of(noted: Result<(), Error>) {
    if let Err(error) = noted {
        warn!(error = &error as &dyn std::error::Error, "could not note how far a scrub is");
    }
}
