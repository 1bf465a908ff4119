//! One epoch: what replicas touch while it is open stays (docs/protocol.md, *Collection*, 2 and 4).

use std::{collections::BTreeSet, sync::Arc};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use ulid::Ulid;

use crate::storage::{Error, replicas::Roll, store::Store};

use super::{
    CollectionProgress, Marked,
    sweep::{Batch, BatchEnd},
};

/// How many addresses are frozen at once: the more, the fewer rounds of asking, and the longer somebody who comes for one
/// of them waits.
const BATCH: usize = 100;

/// How a sweep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepEnd {
    /// All of it was dealt with.
    Done,
    /// A replica went without telling what it had touched. The epoch is over; another one may begin.
    ReplicaLost,
    /// It was asked to stop.
    Stopped,
}

/// An epoch that has begun. It has to be [closed](Self::close); one that is dropped is closed by another replica later.
#[derive(Debug)]
pub struct Epoch {
    here: Arc<EpochHere>,
    roll: Roll,
    batches: u32,
}

/// An epoch in this process: what was touched is remembered until this is dropped, also by a batch that outlives who
/// waited for it.
#[derive(Debug)]
pub(super) struct EpochHere {
    /// With the lease of the term in which the epoch began.
    pub(super) store: Arc<Store>,
    pub(super) id: Ulid,
}

impl Drop for EpochHere {
    fn drop(&mut self) {
        self.store.guard.close_epochs(&BTreeSet::from([self.id]), &BTreeSet::new());
        self.store.changes.ended(self.id);
    }
}

impl Epoch {
    /// Writes that it begins, then asks everyone to note what they touch.
    pub(super) async fn open(store: &Arc<Store>) -> Result<Self, Error> {
        let store = store.for_change()?;
        let id = store.ids.next(store.clock.now());
        store.changes.began(id);
        let here = Arc::new(EpochHere { store: Arc::clone(&store), id });
        if let Some(fence) = &store.fence {
            store.put_opening(id, fence.term().id()).await?;
        }
        let begun = Self { here, roll: Roll::default(), batches: 0 };
        match store.begin_everywhere(id).await {
            Ok(roll) => {
                info!(epoch = %id, ?roll, "a collection has begun");
                Ok(Self { roll, ..begun })
            }
            Err(error) => {
                // Where that fails as well, it is closed when nobody was at it for long enough.
                let _ = begun.close(&CancellationToken::new()).await;
                Err(error)
            }
        }
    }

    /// Removes what nothing needs and nobody has touched, batch by batch.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`], [`Error::Corrupt`]. The batch it was at is closed, if that could be done.
    ///
    /// # Cancel safety
    /// The batch that was begun is ended all the same.
    pub async fn sweep(
        &mut self,
        marked: &Marked,
        progress: &Arc<CollectionProgress>,
        stop: &CancellationToken,
    ) -> Result<SweepEnd, Error> {
        progress.enter("sweep");
        let mut from = 0;
        loop {
            let garbage = marked.take(&mut from, BATCH);
            if garbage.is_empty() {
                return Ok(SweepEnd::Done);
            }
            if stop.is_cancelled() {
                return Ok(SweepEnd::Stopped);
            }
            self.batches += 1;
            let batch = Batch::new(&self.here, self.batches, garbage, marked.old_until(), progress, stop);
            let roll = std::mem::take(&mut self.roll);
            let changes = &self.here.store.changes;
            let (roll, ended) = changes.run(async move { batch.sweep(roll).await }).await;
            self.roll = roll;
            if ended? == BatchEnd::ReplicaLost {
                return Ok(SweepEnd::ReplicaLost);
            }
        }
    }

    /// Says that it is over, once nothing that was sent for it can land any more.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`]; another replica, or this one, says it later then.
    pub async fn close(self, stop: &CancellationToken) -> Result<(), Error> {
        let EpochHere { store, id } = &*self.here;
        let Some(fence) = &store.fence else { return Ok(()) };
        if !fence.certainty(stop).await {
            return Err(Error::NoLease);
        }
        store.close_epoch(*id).await.inspect_err(|error| {
            warn!(epoch = %id, error = error as &dyn std::error::Error, "a collection could not be closed");
        })
    }
}
