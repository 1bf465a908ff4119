//! Who is at a policy's run: of several replicas, one at a time.
//!
//! A claim is a key, `running/<ulid>`. Whoever wants to begin writes one, then lists them all: of two who do so at the same
//! time at least one sees the other, and gives way. A claim counts until its replica is gone, and what is written under it
//! asks for the lease of the term in which it was made. So a replica that stood still writes nothing more once another one
//! may have gone on in its place.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tracing::{debug, warn};
use ulid::Ulid;

use crate::storage::{
    Catalog, Error,
    driver::{Durability, PathComponent},
    layout::PathSpec,
    store::Store,
};

use super::{Membership, Term, promise::check};

/// What a claim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claimed {
    /// Who is at it.
    replica: Ulid,
    /// At what.
    run: String,
}

/// The claims that this process holds: one of an earlier term, or one whose removal failed, is not among them.
#[derive(Debug, Default)]
pub(super) struct HeldClaims(Mutex<BTreeSet<Ulid>>);

impl HeldClaims {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Ulid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That this process is at a run, and nobody else. It has to be [released](Catalog::release_run); one that is only
/// dropped is removed when somebody looks for claims next.
#[derive(Debug)]
pub struct RunClaim(Option<Held>);

#[derive(Debug)]
struct Held {
    id: Ulid,
    term: Arc<Term>,
    replicas: Arc<Membership>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.replicas.held_claims().lock().remove(&self.id);
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
    /// for the caller to know.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`], [`Error::Corrupt`].
    pub async fn claim_run(
        &self,
        run: &PathComponent,
        in_the_way: impl Fn(&str) -> bool + Send,
    ) -> Result<Claiming, Error> {
        let store = &self.store;
        let (Some(term), Some(replicas)) = (store.term()?, &store.replicas) else {
            return Ok(Claiming::Held(RunClaim(None)));
        };
        let id = store.ids.next(store.clock.now());
        replicas.held_claims().lock().insert(id);
        let held = Held { id, term: Arc::clone(&term), replicas: Arc::clone(replicas) };
        let claimed = Claimed { replica: term.id(), run: run.to_string() };
        store.put_record(PathSpec::RunClaim(id), &claimed, Durability::Visible).await?;
        let others = store.standing_claims(replicas).await;
        let rival = others.map(|all| all.into_iter().find(|(other, claim)| *other != id && in_the_way(&claim.run)));
        match rival {
            Ok(None) => {
                check(Some(&term))?;
                Ok(Claiming::Held(RunClaim(Some(held))))
            }
            Ok(Some((_, rival))) => {
                self.release_run(RunClaim(Some(held))).await;
                Ok(Claiming::Taken(rival.run))
            }
            Err(error) => {
                self.release_run(RunClaim(Some(held))).await;
                Err(error)
            }
        }
    }

    /// Says that this process is done with a run.
    pub async fn release_run(&self, claim: RunClaim) {
        let Some(held) = claim.0 else { return };
        if let Err(error) = self.store.remove_record(PathSpec::RunClaim(held.id)).await {
            let error = &error as &dyn std::error::Error;
            warn!(claim = %held.id, error, "could not say that a retention run is over; trying again later");
        }
    }

    /// The runs that some replica is at, and what was left of those that none is at is removed. Where there is one process
    /// alone, it knows itself.
    ///
    /// # Errors
    /// [`Error::Driver`], [`Error::Corrupt`].
    pub async fn claimed_runs(&self) -> Result<Vec<String>, Error> {
        let Some(replicas) = &self.store.replicas else { return Ok(Vec::new()) };
        let standing = self.store.standing_claims(replicas).await?;
        Ok(standing.into_iter().map(|(_, claim)| claim.run).collect())
    }

    /// The same catalog for changes that belong to a claim: each ends with the lease of the term in which it was made.
    ///
    /// # Errors
    /// [`Error::NoLease`] once that is over.
    pub fn under(&self, claim: &RunClaim) -> Result<Self, Error> {
        let Some(held) = &claim.0 else { return Ok(self.clone()) };
        check(Some(&held.term))?;
        Ok(Self { store: self.store.for_change_in(Arc::clone(&held.term)) })
    }
}

impl Store {
    /// The claims of replicas that are not gone. Of others, and of this process where it holds them no more, they are
    /// removed.
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
            }
        }
        Ok(standing)
    }

    async fn is_standing(&self, replicas: &Membership, id: Ulid, claim: &Claimed) -> Result<bool, Error> {
        if replicas.held_claims().lock().contains(&id) {
            return Ok(true);
        }
        if replicas.term().is_some_and(|term| term.id() == claim.replica) {
            return Ok(false);
        }
        Ok(replicas.observe(self, claim.replica).await?.1.is_none())
    }
}
