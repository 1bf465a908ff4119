//! One collection, from its gate to its report.

use std::{pin::pin, sync::Arc};

use futures::future::{self, Either};
use tracing::{error, info, warn};
use ulid::Ulid;

use crate::api::wire::{CollectionHalt, CollectionState};
use crate::storage::{self, Collection, CollectionOutcome, CollectionProgress, Epoch, SweepEnd, with_causes};

use super::{
    Inner, Report,
    gate::{self, Counts, Passed},
    warn_of,
};

/// How often an epoch begins anew because a replica went without telling what it relied on. Replicas that go again and
/// again have to be looked at first.
const MAX_EPOCHS: u32 = 5;

/// How a collection ended.
enum Ending {
    Finished,
    Halted(CollectionHalt),
    Interrupted(&'static str),
}

const STOPPED: Ending = Ending::Interrupted("the process stops");

impl Inner {
    pub(super) async fn run(&self, id: Ulid, dry_run: bool, passed: Passed, progress: Arc<CollectionProgress>) {
        let collection = Collection::new(&self.catalog, Arc::clone(&progress));
        let ending = {
            let collecting = pin!(self.collect(&collection, &progress, dry_run, &passed));
            let signs = pin!(self.give_signs(id, dry_run));
            match future::select(collecting, signs).await {
                Either::Left((ending, _)) => ending,
                Either::Right((never, _)) => match never {},
            }
        };
        collection.ended(self.note_end(ending));
        self.keep_report(id, dry_run).await;
        self.ended.send_modify(|ended| *ended += 1);
    }

    async fn collect(
        &self,
        collection: &Collection,
        progress: &Arc<CollectionProgress>,
        dry_run: bool,
        passed: &Passed,
    ) -> Result<Ending, storage::Error> {
        let brake = gate::brake(collection, self.clock.now()).await?;
        if dry_run {
            return self.look(collection, brake, passed).await;
        }
        let brake = match brake {
            None => gate::store_brake(collection).await?,
            halted => halted,
        };
        if let Some(halt) = brake {
            return Ok(Ending::Halted(halt));
        }
        for _ in 0..MAX_EPOCHS {
            let Some(epoch) = self.unless_stopped(collection.open_epoch()).await else { return Ok(STOPPED) };
            if let Some(ending) = self.epoch(collection, epoch?, progress, passed).await? {
                return Ok(ending);
            }
        }
        Ok(Ending::Interrupted("replicas went again and again without telling what they relied on"))
    }

    /// A dry run: what would go, and what would stop it.
    async fn look(
        &self,
        collection: &Collection,
        brake: Option<CollectionHalt>,
        passed: &Passed,
    ) -> Result<Ending, storage::Error> {
        let Some(marked) = self.unless_stopped(collection.mark()).await else { return Ok(STOPPED) };
        let marked = marked?;
        let before = self.repositories_before().await?;
        let halt = brake.or_else(|| Counts::of(&marked).brake(before, passed));
        self.update(|report| {
            report.marked(&marked, collection.grace());
            report.halt = halt;
        });
        Ok(Ending::Finished)
    }

    /// One epoch; `None` where another one has to begin.
    async fn epoch(
        &self,
        collection: &Collection,
        mut epoch: Epoch,
        progress: &Arc<CollectionProgress>,
        passed: &Passed,
    ) -> Result<Option<Ending>, storage::Error> {
        let swept = self.mark_and_sweep(collection, &mut epoch, progress, passed).await;
        // Also where it failed: what was touched need not be remembered any more.
        let closed = epoch.close(&self.stop).await;
        let ending = match swept? {
            Ok(SweepEnd::Done) => {
                closed?;
                self.tidy(collection).await?;
                Some(Ending::Finished)
            }
            Ok(SweepEnd::Stopped) => Some(STOPPED),
            Ok(SweepEnd::ReplicaLost) => {
                closed?;
                None
            }
            Err(halt) => Some(Ending::Halted(halt)),
        };
        Ok(ending)
    }

    async fn mark_and_sweep(
        &self,
        collection: &Collection,
        epoch: &mut Epoch,
        progress: &Arc<CollectionProgress>,
        passed: &Passed,
    ) -> Result<Result<SweepEnd, CollectionHalt>, storage::Error> {
        let Some(marked) = self.unless_stopped(collection.mark()).await else { return Ok(Ok(SweepEnd::Stopped)) };
        let marked = marked?;
        let before = self.repositories_before().await?;
        self.update(|report| report.marked(&marked, collection.grace()));
        if let Some(halt) = Counts::of(&marked).brake(before, passed) {
            return Ok(Err(halt));
        }
        epoch.sweep(&marked, progress, &self.stop).await.map(Ok)
    }

    /// What goes with the garbage.
    async fn tidy(&self, collection: &Collection) -> Result<(), storage::Error> {
        let Some(cleaned) = self.unless_stopped(collection.clean()).await else { return Ok(()) };
        cleaned?;
        match self.unless_stopped(self.uploads.run()).await {
            Some(Ok(purged)) => self.update(|report| report.uploads_purged = purged.removed),
            // What stays of uploads is no garbage yet: the next purge tries again.
            Some(Err(error)) => warn!(error = &error as &dyn std::error::Error, "could not purge uploads"),
            None => {}
        }
        Ok(())
    }

    /// How many repositories there were when the last collection finished; `None` before the first one.
    pub(super) async fn repositories_before(&self) -> Result<Option<u64>, storage::Error> {
        let all = self.records.all().await?;
        let is_finished = |state| state == CollectionState::Finished;
        let last = all.into_iter().rfind(|(_, record)| is_finished(record.status.state) && !record.status.dry_run);
        Ok(last.and_then(|(_, record)| record.repositories))
    }

    /// What a future yields; `None` where the process stops before. Only for what may be cut off anywhere.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match future::select(pin!(work), pin!(self.stop.cancelled())).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    fn update(&self, change: impl FnOnce(&mut Report)) {
        if let Some(report) = self.current().as_mut() {
            change(report);
        }
    }

    fn note_end(&self, ending: Result<Ending, storage::Error>) -> CollectionOutcome {
        let now = self.clock.now();
        let (outcome, state, halt, message) = match ending {
            Ok(Ending::Finished) => (CollectionOutcome::Finished, CollectionState::Finished, None, None),
            Ok(Ending::Halted(halt)) => {
                warn!(brake = ?halt.brake, message = halt.message, "a brake stopped a collection");
                (CollectionOutcome::Halted, CollectionState::Halted, Some(halt), None)
            }
            Ok(Ending::Interrupted(why)) => {
                (CollectionOutcome::Interrupted, CollectionState::Interrupted, None, Some(why.to_owned()))
            }
            Err(storage::Error::NoLease) => {
                let message = with_causes(&storage::Error::NoLease);
                (CollectionOutcome::Interrupted, CollectionState::Interrupted, None, Some(message))
            }
            Err(failure) => {
                error!(error = &failure as &dyn std::error::Error, "a collection failed");
                (CollectionOutcome::Failed, CollectionState::Failed, None, Some(with_causes(&failure)))
            }
        };
        self.update(|report| {
            report.halt = halt.or(report.halt.take());
            report.end(state, now, message);
            let status = report.status();
            let (blobs, bytes) = (status.removed.blobs, status.removed.bytes);
            info!(id = status.id, ?state, dry_run = status.dry_run, blobs, bytes, "a collection ended");
        });
        outcome
    }

    /// Notes how far this process's collection is, for as long as it runs.
    async fn give_signs(&self, id: Ulid, dry_run: bool) -> std::convert::Infallible {
        let mut beat = 0;
        loop {
            self.clock.sleep(self.beat).await;
            beat += 1;
            let record = self.current().as_ref().map(|report| report.record(beat));
            if let Some(record) = record.filter(|_| self.catalog.is_shared() && self.is_noted(dry_run)) {
                warn_of(self.records.put(id, &record).await);
            }
        }
    }

    async fn keep_report(&self, id: Ulid, dry_run: bool) {
        let record = self.current().as_ref().map(|report| report.record(u64::MAX));
        if let Some(record) = record.filter(|_| self.is_noted(dry_run)) {
            warn_of(self.records.put_end(id, &record).await);
            warn_of(self.records.prune().await);
        }
    }
}
