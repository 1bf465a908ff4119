//! Who is at a policy's run: of several replicas, one at a time.
//!
//! A claim is a key, `running/<ulid>`. Whoever wants to begin writes one, then lists them all: of two who do so at the same
//! time at least one sees the other, and gives way. What is written under a claim asks for the lease of the term in which
//! it was made, and may land for as long as Q after that. So the claim of a replica that died or stands still counts until
//! Q after the replica is gone, and a replica that is done removes its own only once nothing can land late any more: whoever
//! has the next claim reads what the one before left, and nothing changes that behind its back.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use ulid::Ulid;

use crate::storage::{
    Catalog, Error,
    driver::{Durability, PathComponent},
    layout::PathSpec,
    store::Store,
};

use super::{Fence, Membership, promise::check};

/// What a claim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claimed {
    /// Who is at it.
    replica: Ulid,
    /// At what.
    run: String,
}

/// The claims of this process's present term that it holds. One of these whose removal failed is not among them, nor is one
/// of an earlier term: for those this process is like any other.
#[derive(Debug, Default)]
pub(super) struct HeldClaims(Mutex<BTreeSet<Ulid>>);

impl HeldClaims {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Ulid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That this process is at a run, and nobody else. It has to be [released](Catalog::release_run); one that is only
/// dropped is removed when this process looks for claims next.
#[derive(Debug)]
pub struct RunClaim(Option<Held>);

#[derive(Debug)]
struct Held {
    id: Ulid,
    fence: Arc<Fence>,
    /// What is recorded goes through this.
    store: Arc<Store>,
    replicas: Arc<Membership>,
    /// Ends every wait.
    stop: CancellationToken,
}

impl Held {
    /// Waits until nothing can land any more that was recorded.
    async fn certainty(&self) -> Result<(), Error> {
        let is_certain = self.fence.certainty(&self.stop).await;
        if is_certain { check(Some(self.fence.term())) } else { Err(Error::NoLease) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Otherwise it counts for as long as that of a replica that is gone.
        if !self.fence.is_uncertain() {
            self.replicas.held_claims().lock().remove(&self.id);
        }
    }
}

impl RunClaim {
    /// A name that nobody else has; `None` where there is nobody else.
    #[must_use]
    pub fn id(&self) -> Option<Ulid> {
        self.0.as_ref().map(|held| held.id)
    }
}

/// What came of a claim.
#[derive(Debug)]
pub enum Claiming {
    /// It stands.
    Held(RunClaim),
    /// Another replica is at this run.
    Taken(String),
}

impl Catalog {
    /// Claims a run for this process, unless another replica is at one that is `in_the_way`. What runs in this process is
    /// for the caller to know. With `stop` nothing that belongs to the claim is waited for any more.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`], [`Error::Corrupt`].
    pub async fn claim_run(
        &self,
        run: &PathComponent,
        stop: &CancellationToken,
        in_the_way: impl Fn(&str) -> bool + Send,
    ) -> Result<Claiming, Error> {
        let (Some(term), Some(replicas)) = (self.store.term()?, &self.store.replicas) else {
            return Ok(Claiming::Held(RunClaim(None)));
        };
        let claimed = Claimed { replica: term.id(), run: run.to_string() };
        let (store, fence) = self.store.fenced_by(term);
        let (id, stop) = (store.ids.next(store.clock.now()), stop.clone());
        replicas.held_claims().lock().insert(id);
        let held = Held { id, fence, store, replicas: Arc::clone(replicas), stop };
        held.store.put_record(PathSpec::RunClaim(id), &claimed, Durability::Visible).await?;
        let others = self.store.standing_claims(replicas).await;
        let rival = others.map(|all| all.into_iter().find(|(other, claim)| *other != id && in_the_way(&claim.run)));
        let outcome = match rival {
            Ok(None) => match check(Some(held.fence.term())) {
                Ok(()) => return Ok(Claiming::Held(RunClaim(Some(held)))),
                Err(error) => Err(error),
            },
            Ok(Some((_, rival))) => Ok(Claiming::Taken(rival.run)),
            Err(error) => Err(error),
        };
        self.release_run(RunClaim(Some(held))).await;
        outcome
    }

    /// Says that this process is done with a run, once nothing that was recorded can land any more. Where that cannot be
    /// awaited, the claim counts for as long as that of a replica that is gone.
    pub async fn release_run(&self, claim: RunClaim) {
        let Some(held) = claim.0 else { return };
        if !held.fence.certainty(&held.stop).await {
            return;
        }
        if let Err(error) = self.store.remove_record(PathSpec::RunClaim(held.id)).await {
            let error = &error as &dyn std::error::Error;
            warn!(claim = %held.id, error, "could not say that a retention run is over; trying again later");
        }
    }

    /// The runs that other replicas are at. What is left of claims that nobody holds is removed. Where there is one process
    /// alone, it knows itself.
    ///
    /// # Errors
    /// [`Error::Driver`], [`Error::Corrupt`].
    pub async fn claimed_elsewhere(&self) -> Result<Vec<String>, Error> {
        let Some(replicas) = &self.store.replicas else { return Ok(Vec::new()) };
        let standing = self.store.standing_claims(replicas).await?;
        let own = replicas.held_claims().lock().clone();
        Ok(standing.into_iter().filter(|(id, _)| !own.contains(id)).map(|(_, claim)| claim.run).collect())
    }

    /// The same catalog for what is recorded under a claim, as soon as nothing can land any more that was recorded under it
    /// before: a record that is written twice is what was written last.
    ///
    /// # Errors
    /// [`Error::NoLease`] once others may take this process for one that is gone.
    pub async fn recording(&self, claim: &RunClaim) -> Result<Self, Error> {
        let Some(held) = &claim.0 else { return Ok(self.clone()) };
        held.certainty().await?;
        Ok(Self { store: Arc::clone(&held.store) })
    }

    /// The same catalog for deletions under a claim: each ends with the lease of the term in which that was made.
    ///
    /// # Errors
    /// [`Error::NoLease`] once that is over.
    pub fn deleting(&self, claim: &RunClaim) -> Result<Self, Error> {
        let Some(held) = &claim.0 else { return Ok(self.clone()) };
        check(Some(held.fence.term()))?;
        Ok(Self { store: self.store.fenced_by(Arc::clone(held.fence.term())).0 })
    }
}

impl Store {
    /// The claims that count. The others are removed: of replicas of which nothing can land any more, and of this process
    /// where it holds them no more.
    async fn standing_claims(&self, replicas: &Membership) -> Result<Vec<(Ulid, Claimed)>, Error> {
        let mut standing = Vec::new();
        for id in self.ids_in(PathSpec::RunClaims).await? {
            // One that is gone by now is over.
            let Some(claim) = self.record::<Claimed>(PathSpec::RunClaim(id)).await? else { continue };
            if self.is_standing(replicas, id, &claim).await? {
                standing.push((id, claim));
            } else {
                debug!(claim = %id, replica = %claim.replica, run = claim.run, "nobody is at this run any more");
                self.remove_record(PathSpec::RunClaim(id)).await?;
                self.forget_gone(Some(claim.replica)).await;
            }
        }
        Ok(standing)
    }

    async fn is_standing(&self, replicas: &Membership, id: Ulid, claim: &Claimed) -> Result<bool, Error> {
        if replicas.term().is_some_and(|term| term.id() == claim.replica) {
            return Ok(replicas.held_claims().lock().contains(&id));
        }
        replicas.observe(self, claim.replica).await?;
        Ok(!self.is_past(claim.replica).await?)
    }
}
