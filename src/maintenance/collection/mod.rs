//! Garbage collection: one at a time, in a task of its own, with a report that is kept.
//!
//! What is looked at and removed is the storage's ([`crate::storage::Collection`]); here is who asks for it, what stops it
//! ([`gate`]), and what it said ([`report`]). The [`records`] in the store let every process that serves it tell of a
//! collection of another, and a later one compare itself with the last.

mod gate;
mod records;
mod report;
mod run;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;
use ulid::Ulid;

use crate::api::v1alpha1::CollectionBrake;
use crate::api::wire::{CollectionRequest, CollectionState, CollectionStatus};
use crate::storage::{self, Catalog, Clock, CollectionProgress, Sightings};

use super::{Error, UploadPurges};

use gate::Passed;
use records::{Record, Records};
use report::Report;

/// How often a process notes how far its collection is, for the others that serve the store: who watches one through
/// another process sees something happen.
const BEAT: Duration = Duration::from_secs(3);

/// How many beats may fail to come before a process counts as gone. Two collections at once harm nothing.
const MISSED_BEATS: u32 = 5;

/// The collections of one registry.
#[derive(Debug, Clone)]
pub struct Collections {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    uploads: UploadPurges,
    records: Records,
    sightings: Sightings<u64>,
    beat: Duration,
    /// Held by who begins a collection here.
    beginning: tokio::sync::Mutex<()>,
    current: Mutex<Option<Report>>,
    ended: watch::Sender<u64>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Collections {
    /// Of a registry in which an upload expires when nothing came to it for `uploads_expire_after`.
    ///
    /// # Errors
    /// [`Error::Storage`] where it cannot be read what the last process left.
    pub async fn open(catalog: Catalog, clock: Arc<dyn Clock>, uploads_expire_after: Duration) -> Result<Self, Error> {
        Self::with_beat(catalog, clock, uploads_expire_after, BEAT).await
    }

    async fn with_beat(
        catalog: Catalog,
        clock: Arc<dyn Clock>,
        uploads_expire_after: Duration,
        beat: Duration,
    ) -> Result<Self, Error> {
        let inner = Inner {
            uploads: UploadPurges::new(catalog.clone(), Arc::clone(&clock), uploads_expire_after),
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
        inner.note_interrupted().await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Begins a collection, which then goes on by itself. Where one is noted of which it is not known whether its process
    /// lives, it waits until that is.
    ///
    /// # Errors
    /// [`Error::Collecting`] while another one runs, here or in another process; [`Error::InvalidRequest`] where what is
    /// confirmed is not what a brake stopped last; [`Error::Storage`].
    pub async fn begin(&self, actor: &str, request: CollectionRequest) -> Result<CollectionStatus, Error> {
        let inner = &self.inner;
        let _alone = inner.beginning.lock().await;
        inner.check_idle().await?;
        let progress = Arc::new(CollectionProgress::default());
        let now = inner.clock.now();
        let id = inner.catalog.name_collection();
        let mut report = Report::begin(id, request.dry_run, now, Arc::clone(&progress));
        let mut passed = Passed::default();
        if let Some(confirmed) = &request.confirm {
            passed = inner.confirm(actor, confirmed, request.dry_run).await?;
            report = report.confirmed(actor, passed.brakes().to_vec());
        }
        let status = report.status();
        inner.announce(id, &report.record(0)).await?;
        *inner.current() = Some(report);
        let this = Arc::clone(inner);
        inner.tasks.spawn(async move { this.run(id, request.dry_run, passed, progress).await });
        Ok(status)
    }

    /// The collection that runs, or the last one; `None` where none is known.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn status(&self) -> Result<Option<CollectionStatus>, Error> {
        self.inner.latest().await
    }

    /// Waits until none runs in this process; what the last one here says.
    pub async fn settled(&self) -> Option<CollectionStatus> {
        let mut ended = self.inner.ended.subscribe();
        loop {
            let status = self.inner.current().as_ref().map(Report::status)?;
            if status.state != CollectionState::Running {
                return Some(status);
            }
            // The sender lives as long as this value.
            let _ = ended.changed().await;
        }
    }

    /// Stops the one that runs here, after the batch that it removes. What it removed stays so.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    /// What is noted to run in a store that this process has to itself was cut off with the process before.
    async fn note_interrupted(&self) -> Result<(), Error> {
        if self.catalog.is_shared() {
            return Ok(());
        }
        for (id, mut record) in self.records.all().await.map_err(unread)? {
            if record.is_running() {
                record.status.state = CollectionState::Interrupted;
                record.status.message = Some("the process ended that was at it".to_owned());
                // A medium on which nothing can be written is no reason not to serve it.
                warn_of(self.records.put_end(id, &record).await);
            }
        }
        Ok(())
    }

    /// What somebody lets go on, by the name of its report.
    async fn confirm(&self, actor: &str, confirmed: &str, dry_run: bool) -> Result<Passed, Error> {
        let invalid = |reason: String| Error::InvalidRequest { reason };
        if dry_run {
            return Err(invalid("a dry run needs no confirmation".to_owned()));
        }
        let last = self.records.all().await.map_err(unread)?.into_iter().rfind(|(_, record)| !record.status.dry_run);
        let last = last.filter(|(id, _)| id.to_string().eq_ignore_ascii_case(confirmed));
        let record = last.map(|(_, record)| record).filter(|record| record.status.state == CollectionState::Halted);
        let halted = record.as_ref().and_then(|record| Some((record, record.status.halt.as_ref()?)));
        let Some((record, halt)) = halted else {
            return Err(invalid(format!(
                "{confirmed} is not the last collection, or no brake stopped it: read its report"
            )));
        };
        if !halt.confirmable {
            return Err(invalid(format!("what stopped {confirmed} cannot be confirmed: {}", halt.message)));
        }
        if matches!(halt.brake, CollectionBrake::NotConfirmed | CollectionBrake::ForeignWriter) {
            let noted = self.catalog.confirm_adoption(actor).await;
            noted.map_err(|source| Error::Storage { action: "note that collection was confirmed", source })?;
        }
        Ok(Passed::of(record))
    }

    /// Fails while a collection runs, here or where another process lives.
    async fn check_idle(&self) -> Result<(), Error> {
        if let Some(running) = self.current().as_ref().filter(|report| report.is_running()) {
            return Err(collecting(running.id, &running.status()));
        }
        let noted = self.records.all().await.map_err(unread)?;
        let running: Vec<(Ulid, Record)> = noted.into_iter().filter(|(_, record)| record.is_running()).collect();
        // At the same time: of those that died, each is waited for as long.
        let lives: Vec<_> = running.iter().map(|(id, record)| self.lives(*id, record)).collect();
        let lives = future::try_join_all(lives).await?;
        match running.iter().zip(lives).find(|(_, lives)| *lives) {
            Some(((id, record), _)) => Err(collecting(*id, &record.status)),
            None => Ok(()),
        }
    }

    /// Whether another process is at a collection still: waits for its next sign, or until it should have come.
    async fn lives(&self, id: Ulid, first: &Record) -> Result<bool, Error> {
        loop {
            match self.records.get(id).await.map_err(unread)? {
                Some(record) if !record.is_running() => return Ok(false),
                Some(record) if record.beat != first.beat => return Ok(true),
                Some(record) if self.sightings.is_gone(id, record.beat, self.clock.boot_time()) => return Ok(false),
                Some(_) => self.clock.sleep(self.beat / 4).await,
                None => return Ok(false),
            }
        }
    }

    /// Whether others are to know of a collection. A dry run leaves no trace where nobody else has to be told.
    fn is_noted(&self, dry_run: bool) -> bool {
        !dry_run || self.catalog.is_shared()
    }

    /// Notes a collection that is about to begin, unless another process has just done the same.
    async fn announce(&self, id: Ulid, record: &Record) -> Result<(), Error> {
        if !self.is_noted(record.status.dry_run) {
            return Ok(());
        }
        match self.records.put(id, record).await {
            // Whoever has a full store to itself collects because of that.
            Err(error) if error.is_full() && !self.catalog.is_shared() => warn_of(Err(error)),
            noted => noted.map_err(unwritten)?,
        }
        let now = self.clock.boot_time();
        let is_rival = |(other, record): &(Ulid, Record)| {
            *other != id && record.is_running() && !self.sightings.is_gone(*other, record.beat, now)
        };
        if let Some((rival, record)) = self.records.all().await.map_err(unread)?.iter().find(|noted| is_rival(noted)) {
            self.records.remove(id).await.map_err(unwritten)?;
            return Err(collecting(*rival, &record.status));
        }
        Ok(())
    }

    /// Which collection there is something to say of: one that runs, or else the one that began last.
    async fn latest(&self) -> Result<Option<CollectionStatus>, Error> {
        let own = self.current().as_ref().map(|report| (report.id, report.status()));
        if let Some((_, status)) = own.as_ref().filter(|(_, status)| status.state == CollectionState::Running) {
            return Ok(Some(status.clone()));
        }
        let now = self.clock.boot_time();
        let mut known: Vec<(Ulid, CollectionStatus)> = own.into_iter().collect();
        for (id, mut record) in self.records.all().await.map_err(unread)? {
            if known.iter().any(|(own, _)| *own == id) {
                continue;
            }
            if record.is_running() && self.sightings.is_gone(id, record.beat, now) {
                record.status.state = CollectionState::Interrupted;
                record.status.message = Some("the process gives no sign of life that was at it".to_owned());
            }
            known.push((id, record.status));
        }
        let last = known.into_iter().max_by_key(|(id, status)| (status.state == CollectionState::Running, *id));
        Ok(last.map(|(_, status)| status))
    }

    fn current(&self) -> MutexGuard<'_, Option<Report>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn collecting(id: Ulid, status: &CollectionStatus) -> Error {
    Error::Collecting { id: id.to_string(), since: status.started_at }
}

fn unread(source: storage::Error) -> Error {
    Error::Storage { action: "read the reports of collections", source }
}

fn unwritten(source: storage::Error) -> Error {
    Error::Storage { action: "write the report of a collection", source }
}

/// What is not noted costs the report, and the collection nothing.
fn warn_of(noted: Result<(), storage::Error>) {
    if let Err(error) = noted {
        warn!(error = &error as &dyn std::error::Error, "could not note how far a collection is");
    }
}
