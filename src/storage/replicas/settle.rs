//! Ending what dead replicas left half-done.

use std::{collections::BTreeSet, sync::Arc};

use tracing::{info, warn};
use ulid::Ulid;

use crate::storage::{Error, changes::Settled, layout::PathSpec, pending::Pending, store::Store};

use super::Holder;

impl Store {
    /// Ends the changes of replicas that have been gone for so long that none of their writes can land any more, and those
    /// of this process that got stuck.
    pub(super) async fn settle_the_dead(self: &Arc<Self>, pendings: Vec<(Ulid, Pending)>) {
        self.settle_stuck().await;
        let resumed: BTreeSet<Ulid> = pendings.iter().filter_map(|(_, pending)| pending.resumes).collect();
        for (id, pending) in pendings {
            // Somebody is at it; should that one die, its own record is dropped first.
            if resumed.contains(&id) || !self.is_orphaned(id, &pending) {
                continue;
            }
            let this = Arc::clone(self);
            match self.changes.run(async move { this.settle_orphan(id, &pending).await }).await {
                Ok(settled) => info!(%id, ?settled, "ended the change of a replica that is gone"),
                // Somebody else is settling it, or pushing what a freeze must wait for.
                Err(Error::Frozen { .. }) => {}
                Err(error) => {
                    warn!(%id, error = &error as &dyn std::error::Error, "could not end a dead replica's change");
                }
            }
        }
    }

    fn is_orphaned(&self, id: Ulid, pending: &Pending) -> bool {
        let Some(replicas) = &self.replicas else { return false };
        if self.changes.is_running(id) {
            return false;
        }
        let own = replicas.term().map(|term| term.id());
        let since = match pending.replica {
            // Its write failed, and landed all the same.
            Some(owner) if Some(owner) == own => self.changes.stray_since(id, self.clock.boot_time()),
            Some(owner) => match replicas.observer().gone_since(owner) {
                Some(since) => since,
                None => return false,
            },
            None => self.changes.stray_since(id, self.clock.boot_time()),
        };
        self.clock.boot_time() >= since + self.timing.removal_bound
    }

    async fn settle_orphan(self: &Arc<Self>, id: Ulid, pending: &Pending) -> Result<Settled, Error> {
        let store = self.for_change()?;
        if !store.is_buried(id, pending).await? {
            store.remove_pending(id).await?;
            store.thaw_everywhere(Holder::Pending(id)).await;
            return Ok(Settled::Dropped);
        }
        let resumption = Pending { replica: None, resumes: Some(id), ..pending.clone() };
        let change = store.begin(store.ids.next(store.clock.now()), resumption).await?;
        if store.age(PathSpec::Pending(id)).await?.is_none() {
            // Another one has finished it while this one waited for its freeze.
            store.undo(change).await;
            return Ok(Settled::Dropped);
        }
        store.settle_or_park(change).await.ok_or(Error::NoLease)
    }
}
