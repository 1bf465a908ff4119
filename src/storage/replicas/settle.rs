//! Ending what dead replicas left half-done.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tracing::{info, warn};
use ulid::Ulid;

use crate::storage::{
    Error,
    driver::Durability,
    guard::{changes::Settled, pending::Pending},
    layout::PathSpec,
    store::Store,
};

use super::Holder;

/// How much longer than Q has to have passed by the store's own time: twice. Its clocks may differ from each other, or
/// be set, by as much as Q itself then.
const STORE_CLOCK_FACTOR: u32 = 2;

impl Store {
    /// Ends the changes of replicas that have been gone for so long that none of their writes can land any more, and those
    /// of this process that got stuck.
    pub(super) async fn settle_the_dead(self: &Arc<Self>, pendings: Vec<(Ulid, Pending)>) {
        self.settle_stuck().await;
        let resumed: BTreeSet<Ulid> = pendings.iter().filter_map(|(_, pending)| pending.resumes).collect();
        for (id, pending) in pendings {
            // Somebody is at it; should that one die, its own record is dropped first.
            if resumed.contains(&id) {
                continue;
            }
            match self.is_orphaned(id, pending.replica).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(%id, error, "could not tell for how long a replica has been gone");
                    continue;
                }
            }
            let owner = pending.replica;
            let this = Arc::clone(self);
            match self.changes.run(async move { this.settle_orphan(id, &pending).await }).await {
                Ok(settled) => {
                    info!(%id, ?settled, "ended the change of a replica that is gone");
                    self.forget_gone(owner).await;
                }
                // Somebody else is settling it, or pushing what a freeze must wait for.
                Err(Error::Frozen { .. }) => {}
                Err(error) => {
                    warn!(%id, error = &error as &dyn std::error::Error, "could not end a dead replica's change");
                }
            }
        }
    }

    /// Whether nobody is at something that `owner` began, and nothing that was sent for it can land any more.
    pub(super) async fn is_orphaned(&self, id: Ulid, owner: Option<Ulid>) -> Result<bool, Error> {
        let Some(replicas) = &self.replicas else { return Ok(false) };
        if self.changes.is_running(id) {
            return Ok(false);
        }
        let own = replicas.term().map(|term| term.id());
        match owner {
            Some(owner) if Some(owner) != own => self.is_past(owner).await,
            // Its write failed, and landed all the same.
            _ => Ok(self.can_land_no_more(self.changes.stray_since(id, self.clock.boot_time()))),
        }
    }

    /// Whether a replica was [seen](super::Membership::observe) to be gone, and nothing that it sent can land any more.
    pub(super) async fn is_past(&self, replica: Ulid) -> Result<bool, Error> {
        let Some(replicas) = &self.replicas else { return Ok(false) };
        let Some(since) = replicas.observer().gone_since(replica) else { return Ok(false) };
        Ok(self.is_long_gone(replica).await? || self.can_land_no_more(since))
    }

    /// Whether what was sent until then has landed, or never will.
    fn can_land_no_more(&self, since: Duration) -> bool {
        self.clock.boot_time() >= since + self.timing.removal_bound
    }

    /// Whether somebody, perhaps a process that is gone itself, wrote down long ago that a replica is gone. How long ago,
    /// the store says: by how much later it saw this replica's own sign of life.
    async fn is_long_gone(&self, gone: Ulid) -> Result<bool, Error> {
        let Some(own) = self.replicas.as_ref().and_then(|replicas| replicas.term()) else { return Ok(false) };
        let Some(since) = self.age(PathSpec::Gone(gone)).await? else {
            self.put_record(PathSpec::Gone(gone), &(), Durability::Visible).await?;
            return Ok(false);
        };
        let Some(now) = self.age(PathSpec::Replica(own.id())).await? else { return Ok(false) };
        let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        Ok(passed >= self.timing.removal_bound * STORE_CLOCK_FACTOR)
    }

    /// What it was needed for is over; should another change of the same replica be left, it is written again.
    pub(super) async fn forget_gone(&self, gone: Option<Ulid>) {
        let Some(gone) = gone else { return };
        if let Err(error) = self.remove_record(PathSpec::Gone(gone)).await {
            warn!(%gone, error = &error as &dyn std::error::Error, "could not remove the marker of a replica that is gone");
        }
    }

    async fn settle_orphan(self: &Arc<Self>, id: Ulid, pending: &Pending) -> Result<Settled, Error> {
        let store = self.for_change()?;
        if !store.is_buried(id, pending).await? {
            store.unlist_dropped(id, pending).await;
            store.remove_pending(id).await?;
            store.thaw_everywhere(Holder::Pending(id)).await;
            return Ok(Settled::Dropped);
        }
        let resumption = Pending { replica: None, resumes: Some(id), ..pending.clone() };
        let change = store.begin(store.ids.next(store.clock.now()), resumption).await?;
        match store.age(PathSpec::Pending(id)).await {
            Ok(Some(_)) => store.settle_or_park(change).await.ok_or(Error::NoLease),
            Ok(None) => {
                // Another one has finished it while this one waited for its freeze.
                store.undo(change).await;
                Ok(Settled::Dropped)
            }
            Err(error) => {
                store.undo(change).await;
                Err(error)
            }
        }
    }
}
